package mucp

import (
	"fmt"
	"mime"
	"net/http"
	"net/textproto"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/seed-9a4e2794/micro/codec"
	"github.com/seed-9a4e2794/micro/errors"
	"github.com/seed-9a4e2794/micro/metadata"
)

// The Ids of errors that the two sides make.
const (
	serverId = "go.micro.server.transport"
	clientId = "go.micro.client.transport"
)

// endOfStream is the Micro-Error that ends a side of a stream well.
const endOfStream = "EOS"

// refusedKey marks an error of a call that was surely not executed. It is an
// addition of ours, which programs built with go-micro do not look at.
const refusedKey = "Micro-Refused"

// StrictKey names the service that a call is for, and has every other refuse
// it: transport.Method.Strict. It too is an addition of ours.
const StrictKey = "Micro-Strict"

// defines reports whether the protocol defines a Micro-* header, given in
// canonical form without a leading X-.
func defines(key string) bool {
	switch key {
	case "Micro-Service", "Micro-Method", "Micro-Endpoint", "Micro-Id", "Micro-Stream", "Micro-Error",
		"Micro-Protocol", "Micro-Target", "Micro-Topic":
		return true
	}
	return false
}

// reserved reports whether a header, in canonical form, belongs to this
// protocol or to HTTP, and is not metadata.
func reserved(key string) bool {
	if defines(strings.TrimPrefix(key, "X-")) || strings.HasPrefix(key, "Content-") || strings.HasPrefix(key, "Proxy-") {
		return true
	}
	switch key {
	case refusedKey, StrictKey, "Accept", "Accept-Encoding", "Timeout", "Connection", "Keep-Alive", "Transfer-Encoding", "Te", "Trailer",
		"Upgrade", "Http2-Settings", "Host", "Expect", "Grpc-Status", "Grpc-Message", "Date":
		return true
	}
	return false
}

// Defines reports whether a header, in canonical form, is one that this wire
// gives a meaning. On other wires it is neither metadata nor sent: handlers of
// events would pass it on with the calls they make.
func Defines(key string) bool {
	return key == refusedKey || key == StrictKey || defines(strings.TrimPrefix(key, "X-"))
}

// Is reports whether a request is of this wire: a POST to "/" with one of its
// headers. path has no query.
//
// A POST to "/" in JSON, protobuf or raw bytes is taken for a call whose name
// is in its body, as clients before go-micro 1.0 made them: who also serves
// go-micro's HTTP broker looks for its "?id=" first. Servers built with
// go-micro take any path. This one does not: no client of go-micro's sends
// another than "/", and calls of the other protocols may have headers of this
// wire among their metadata, which would lose them.
func Is(h http.Header, method, path string) bool {
	kind := base(h.Get("Content-Type"))
	if method != http.MethodPost || path != "/" || h.Get("Connect-Protocol-Version") != "" || strings.HasPrefix(kind, "application/connect+") {
		return false
	}
	for key := range h {
		if defines(strings.TrimPrefix(key, "X-")) {
			return true
		}
	}
	switch kind {
	case jsonRPC, protoRPC, codec.JSON, codec.Proto, codec.Bytes:
		return true
	}
	return false
}

// ErrorOf returns the error that an answer's header has on this wire, nil when
// it has none.
func ErrorOf(h http.Header) *errors.Error {
	text := either(h, "Micro-Error")
	if text == "" {
		return nil
	}
	e := *parseError(text)
	e.Refused = h.Get(refusedKey) == "true"
	return &e
}

// base strips the parameters of a content type and puts it in lower case.
func base(ctype string) string {
	if b, _, err := mime.ParseMediaType(ctype); err == nil {
		return b
	}
	ctype, _, _ = strings.Cut(ctype, ";")
	return strings.ToLower(strings.TrimSpace(ctype))
}

// either returns a header of the protocol, which old clients send with X-.
func either(h http.Header, key string) string {
	if v := h.Get(key); v != "" {
		return v
	}
	return h.Get("X-" + key)
}

// request is what the header of a message says.
type request struct {
	service, endpoint string
	id, stream        string
	err               string // Micro-Error
	topic             string // of an event
	strict            bool   // service was named by StrictKey
	timeout           time.Duration
	form              form
	named             string // the content type as it came
	head              bool   // the method is HEAD
	last              bool   // the connection ends with the answer
	old               bool   // HTTP/1.0
	raw               http.Header
}

// maxTimeout is the longest Timeout that is a deadline; longer is none.
const maxTimeout = 365 * 24 * time.Hour

func parseRequest(r *http.Request) request {
	h := r.Header
	q := request{
		service: either(h, "Micro-Service"), endpoint: either(h, "Micro-Endpoint"),
		id: either(h, "Micro-Id"), stream: either(h, "Micro-Stream"), err: either(h, "Micro-Error"),
		head: r.Method == http.MethodHead, last: r.Close, old: !r.ProtoAtLeast(1, 1), raw: h,
	}
	if q.endpoint == "" {
		q.endpoint = either(h, "Micro-Method")
	}
	if v := h.Get(StrictKey); v != "" {
		q.service, q.strict = v, true
	}
	// A handler of an event passes the topic on with its own calls: those have
	// an endpoint.
	if q.endpoint == "" {
		q.topic = either(h, "Micro-Topic")
	}
	if n, err := strconv.ParseInt(h.Get("Timeout"), 10, 64); err == nil && n > 0 && time.Duration(n) <= maxTimeout {
		q.timeout = time.Duration(n)
	}
	q.named = h.Get("Content-Type")
	legacy := q.topic == "" && either(h, "Micro-Protocol") == "" &&
		(q.service == "" && q.endpoint == "" || either(h, "Micro-Target") != "")
	q.form = formOf(q.named, legacy)
	return q
}

// metadata returns the headers that are the caller's own, sorted by key.
func (q *request) metadata() metadata.Header { return fields(q.raw) }

func fields(h http.Header) metadata.Header {
	var out metadata.Header
	for key, values := range h {
		if plain, is := strings.CutPrefix(key, "X-"); reserved(key) || is && strings.HasPrefix(plain, "Micro-") && h[plain] != nil {
			continue // the protocol's own, or what v1 says twice
		}
		for _, v := range values {
			out = append(out, metadata.Field{Key: strings.ToLower(key), Value: v})
		}
	}
	slices.SortStableFunc(out, func(a, b metadata.Field) int { return strings.Compare(a.Key, b.Key) })
	return out
}

// appendFields appends metadata as HTTP headers. Fields that the protocol has
// for itself are left out. Those that no header can carry are an error.
func appendFields(dst []byte, h metadata.Header) ([]byte, error) {
	for _, f := range h {
		key := textproto.CanonicalMIMEHeaderKey(f.Key)
		if reserved(key) {
			continue
		}
		if !isToken(key) {
			return dst, fmt.Errorf("the metadata key %.40q has characters that a key of an HTTP header cannot have", f.Key)
		}
		if i := strings.IndexFunc(f.Value, isControl); i >= 0 {
			return dst, fmt.Errorf("the value of the metadata key %.40q has the byte %#02x, which a go-micro peer cannot be sent: "+
				"encode it as text", f.Key, f.Value[i])
		}
		dst = appendField(dst, key, f.Value)
	}
	return dst, nil
}

func appendField(dst []byte, key, value string) []byte {
	dst = append(dst, key...)
	dst = append(dst, ": "...)
	dst = append(dst, value...)
	return append(dst, "\r\n"...)
}

func isControl(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }

// isToken reports whether s is a token of RFC 9110, section 5.6.2.
func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0:
		default:
			return false
		}
	}
	return s != ""
}

// clean makes a text fit for the value of a header, as go-micro's side of HTTP
// does.
func clean(s string) string {
	if strings.IndexFunc(s, isControl) < 0 {
		return s
	}
	return strings.Map(func(r rune) rune {
		if isControl(r) {
			return ' '
		}
		return r
	}, s)
}

// maxErrorText is the longest detail of an error that is sent.
const maxErrorText = 4096

// errorText returns the Micro-Error of an error.
func errorText(e *errors.Error) string {
	if len(e.Detail) > maxErrorText || len(e.Id) > maxErrorText {
		short := *e
		short.Detail = strings.ToValidUTF8(e.Detail[:min(len(e.Detail), maxErrorText)], "")
		short.Id = strings.ToValidUTF8(e.Id[:min(len(e.Id), maxErrorText)], "")
		e = &short
	}
	if e.Code == 0 && e.Id == "" && e.Status == "" { // text came, text goes
		return clean(e.Detail)
	}
	return clean(e.Error())
}

// parseError reads a Micro-Error. What go-micro's own server says in plain text
// gets its code.
func parseError(text string) *errors.Error {
	e := errors.Parse(text)
	if e.Code != 0 || e.Id != "" {
		return e
	}
	switch {
	case strings.HasPrefix(text, "rpc: can't find "), strings.HasPrefix(text, "unknown service "):
		return errors.From("", errors.NotFound(clientId, "%s", text))
	case strings.HasPrefix(text, illFormed):
		return errors.From("", errors.BadRequest(clientId, "%s", text))
	}
	return e
}

const illFormed = "rpc: service/endpoint request ill-formed: "
