package codecs

import (
	"crypto/sha256"
	"encoding/hex"
	"reflect"
	"strings"
	"sync"

	"github.com/seed-9a4e2794/micro/codec"
	"github.com/seed-9a4e2794/micro/codec/json"
	"github.com/seed-9a4e2794/micro/codec/plain"
	"github.com/seed-9a4e2794/micro/errors"
)

// Pair is the codec of a call between two services of this framework whose
// request and response are plain structs. Its name tells the layout of both, so
// that a side whose types are laid out otherwise does not read them: field
// numbers that nobody has written down change with the order of the fields.
type Pair struct {
	plain.Codec
	name string
}

// PairPrefix is what the name of every Pair begins with.
const PairPrefix = "application/micro;"

// Name returns the content type, with the fingerprint of both layouts.
func (p *Pair) Name() string { return p.name }

// Fallback returns the codec for values that have no form in this one, such as
// a string that is not UTF-8 or a nil pointer in a list: see codec.ErrType.
func (p *Pair) Fallback() codec.Codec { return json.Codec{} }

// Pairs reports whether calls may be made in a Pair: it stands for the
// framework's JSON, and is not taken where another codec has that name.
func (t Table) Pairs() bool { return t.lookup(codec.JSON) == codec.Codec(json.Codec{}) }

// pairs caches a *Pair by the types of request and response, nil for types
// without one.
var pairs sync.Map

type pairKey struct{ req, rsp reflect.Type }

// PairOf returns the codec of a pair of struct types, or pointers to them; nil
// when one of them has no form in it.
func PairOf(req, rsp reflect.Type) *Pair {
	key := pairKey{req, rsp}
	if p, ok := pairs.Load(key); ok {
		return p.(*Pair)
	}
	p, _ := pairs.LoadOrStore(key, newPair(req, rsp))
	return p.(*Pair)
}

func newPair(req, rsp reflect.Type) *Pair {
	if req == nil || rsp == nil {
		return nil
	}
	a, err := plain.Of(req)
	if err != nil {
		return nil
	}
	b, err := plain.Of(rsp)
	if err != nil {
		return nil
	}
	sum := sha256.Sum256([]byte(a.Fingerprint() + " " + b.Fingerprint()))
	return &Pair{name: PairPrefix + hex.EncodeToString(sum[:8])}
}

// mismatch is the type of the detail that tells a caller to send JSON.
const mismatch = "micro.SchemaMismatch"

// Mismatch returns the error of a side that cannot read a pair's content type.
// The call has surely not been executed.
func Mismatch(id, endpoint, contentType string) error {
	e := errors.Refuse(id, errors.CodeUnimplemented, "%s: its types are laid out otherwise than %q says: send JSON", endpoint, contentType)
	e.Details = []errors.Detail{{Type: mismatch}}
	return e
}

// IsMismatch reports whether an error is one of Mismatch's.
func IsMismatch(err error) bool {
	e, ok := err.(*errors.Error)
	return ok && e.Refused && len(e.Details) == 1 && strings.HasSuffix(e.Details[0].Type, mismatch)
}

var _ codec.Codec = (*Pair)(nil)
