// Package codecs finds the codec of a content type, for client and server.
package codecs

import (
	"fmt"
	"mime"
	"sort"
	"strings"

	"github.com/seed-9a4e2794/micro/codec"
	"github.com/seed-9a4e2794/micro/codec/bytes"
	"github.com/seed-9a4e2794/micro/codec/json"
	"github.com/seed-9a4e2794/micro/codec/plain"
	"github.com/seed-9a4e2794/micro/codec/proto"
)

// Table finds codecs by content type. The zero Table has the built-in ones. It
// may be used concurrently.
type Table struct {
	more map[string]codec.Codec
}

// New returns a table of the built-in codecs and of those given, which come
// first.
func New(more map[string]codec.NewCodec) Table {
	t := Table{more: make(map[string]codec.Codec, len(more))}
	for name, c := range more {
		t.more[strings.ToLower(name)] = c()
	}
	return t
}

// Default returns the content type of v when nobody chose one: protobuf for
// protobuf messages, raw bytes for raw bytes, else JSON.
func Default(v any) string {
	switch v.(type) {
	case []byte, *[]byte, bytes.Frame, *bytes.Frame:
		return codec.Bytes
	}
	if proto.Is(v) {
		return codec.Proto
	}
	return codec.JSON
}

// Find returns the codec of a content type for v. An empty content type is v's
// default. Raw frames go through any content type as they are.
func (t Table) Find(ctype string, v any) (codec.Codec, error) {
	if ctype == "" {
		ctype = Default(v)
	}
	c := t.lookup(ctype)
	if c == nil {
		if c = t.lookup(withoutParameters(ctype)); c == nil {
			return nil, fmt.Errorf("content type %q is not known here, these are: %s", ctype, strings.Join(t.Names(), ", "))
		}
	}
	if c == codec.Codec(proto.Codec{}) && proto.Is(v) {
		return c, nil
	}
	if c.Name() != codec.Bytes {
		switch v.(type) {
		case *bytes.Frame, bytes.Frame:
			return frames{name: c.Name()}, nil
		}
	}
	if c == codec.Codec(proto.Codec{}) {
		return plain.Codec{}, nil
	}
	return c, nil
}

func (t Table) lookup(ctype string) codec.Codec {
	if len(t.more) > 0 {
		if c := t.more[ctype]; c != nil {
			return c
		}
	}
	switch ctype {
	case codec.Proto:
		return proto.Codec{}
	case codec.JSON:
		return json.Codec{}
	case codec.Bytes:
		return bytes.Codec{}
	}
	return nil
}

// withoutParameters strips parameters: "application/json; charset=utf-8" is JSON.
func withoutParameters(ctype string) string {
	if base, _, err := mime.ParseMediaType(ctype); err == nil {
		return base
	}
	return ctype
}

// Names returns the content types of the table, sorted.
func (t Table) Names() []string {
	names := []string{codec.Proto, codec.JSON, codec.Bytes}
	for name := range t.more {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

// frames carries raw frames under the name of another encoding.
type frames struct {
	bytes.Codec
	name string
}

func (f frames) Name() string { return f.name }
