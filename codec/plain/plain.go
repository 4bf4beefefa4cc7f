// Package plain is the codec of plain Go structs in the protobuf wire format.
//
// A struct needs no .proto file: its fields are the schema, compiled once per
// type. Numbers come from a tag; without any tag in a struct they are 1, 2, 3
// in field order.
//
//	type Hello struct {
//		Name  string   `json:"name" protobuf:"1"`
//		Times int      `json:"times" protobuf:"2"`
//		Notes []string `json:"notes" protobuf:"4"`
//	}
//
// What is a field, and its name, is what encoding/json says: unexported fields
// and those tagged json:"-" are left out, the fields of embedded structs are
// promoted. A tag is a number alone or the tag of generated code, such as
// protobuf:"bytes,4,rep,name=notes". A struct tags all its fields or none.
//
// The forms are these:
//
//	bool                                   bool
//	int8 int16 int32                       int32
//	int64 int                              int64
//	uint8 uint16 uint32                    uint32
//	uint64 uint                            uint64
//	float32, float64                       float, double
//	string, []byte                         string, bytes
//	struct, *struct                        a message
//	*bool, *int, *string ...               optional
//	[]T, []*struct                         repeated, numbers packed
//	map[K]V                                map; K a bool, number or string
//	time.Time, time.Duration               google.protobuf.Timestamp, Duration
//	*T of generated code                   that message
//
// Named types have the form of what they are made of. Everything else has no
// form and is codec.ErrType: interfaces, functions, channels, complex numbers,
// arrays, uintptr, pointers to pointers, slices or maps, lists of lists and of
// pointers to anything but structs, maps of lists, and types that write or read
// themselves by MarshalJSON, UnmarshalJSON, MarshalText or UnmarshalText.
//
// Protobuf does not keep everything. An empty slice or map comes back nil; a
// time comes back in UTC, without its monotonic reading. A zero value is not
// written, a struct whose fields are all zero neither; a pointer that is not
// nil is. An embedded pointer to a struct comes back nil if nothing in it is
// written.
package plain

import (
	"fmt"
	"reflect"
	"sync"

	"google.golang.org/protobuf/proto"

	"github.com/seed-9a4e2794/micro/codec"
)

// MaxDepth is how deep messages may stand in one another, both ways. It is the
// limit of protobuf's C++ and Java libraries, so that they can read what is
// written here. A value that contains itself is deeper.
const MaxDepth = 100

// Codec is the codec of plain structs. The zero Codec is ready to use.
type Codec struct{}

var _ codec.Codec = Codec{}

// NewCodec returns the codec.
func NewCodec() codec.Codec { return Codec{} }

// Name returns "application/protobuf".
func (Codec) Name() string { return codec.Proto }

// Append appends the wire form of v, a struct or a pointer to one. See
// Schema.Append. A type that has no form is codec.ErrType.
func (Codec) Append(dst []byte, v any) ([]byte, error) {
	s, err := Of(reflect.TypeOf(v))
	if err != nil {
		return dst, err
	}
	return s.Append(dst, v)
}

// Unmarshal decodes data into v, a pointer to a struct. See Schema.Unmarshal.
// A type that has no form is codec.ErrType.
func (Codec) Unmarshal(data []byte, v any) error {
	s, err := Of(reflect.TypeOf(v))
	if err != nil {
		return err
	}
	return s.Unmarshal(data, v)
}

// Schema is how a struct type is written. It is immutable and may be used
// concurrently.
type Schema struct {
	typ, ptr reflect.Type // the struct and the pointer to it
	fields   []field      // by number
	// places maps a number to one more than its index in fields. It is nil when
	// the numbers are far apart.
	places []uint16
	tags   bool // the fields of this struct, not of nested ones

	tagged      func() bool // made at the first call, as is
	fingerprint func() string
}

// schemas caches an entry per struct type.
var schemas sync.Map

type entry struct {
	schema *Schema
	err    error
}

// Of returns the schema of t, a struct type or a pointer to one. It is made
// once per type, as is the error, which wraps codec.ErrType and says which field
// has no form and why.
func Of(t reflect.Type) (*Schema, error) {
	if t == nil {
		return nil, fmt.Errorf("plain: nil is no struct: %w", codec.ErrType)
	}
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if e, ok := schemas.Load(t); ok {
		e := e.(entry)
		return e.schema, e.err
	}
	if t.Kind() != reflect.Struct {
		// Not kept: a program makes up more of these than of structs.
		return nil, fmt.Errorf("plain: %s is no struct: %w", t, codec.ErrType)
	}
	c := compiler{made: make(map[reflect.Type]*Schema)}
	s, err := c.schema(t)
	if err != nil {
		e, _ := schemas.LoadOrStore(t, entry{err: fmt.Errorf("plain: %w", err)})
		return e.(entry).schema, e.(entry).err
	}
	for t, made := range c.made {
		schemas.LoadOrStore(t, entry{schema: made})
	}
	if e, ok := schemas.Load(t); ok {
		s = e.(entry).schema // another goroutine's may have come first
	}
	return s, nil
}

// Tagged reports whether every field has its number from a tag, those of nested
// structs included. The form of a schema without tags changes with the order of
// its fields.
func (s *Schema) Tagged() bool { return s.tagged() }

// allTagged looks at every schema that s reaches.
func (s *Schema) allTagged() bool {
	seen := map[reflect.Type]bool{s.typ: true}
	for todo := []*Schema{s}; len(todo) > 0; todo = todo[1:] {
		if !todo[0].tags {
			return false
		}
		for i := range todo[0].fields {
			if next := todo[0].fields[i].schema; next != nil && !seen[next.typ] {
				seen[next.typ] = true
				todo = append(todo, next)
			}
		}
	}
	return true
}

// Append appends the wire form of v, a struct of the schema's type or a pointer
// to one, and returns the longer slice. A nil pointer is written as nothing, as
// protobuf does. The entries of a map come in no order: two encodings of one
// value may differ.
//
// It allocates nothing but the room that dst lacks. An error wraps
// codec.ErrType and names the field: a value of another type, a string that is
// not UTF-8, a nil in a list or map, a time outside of the years 1 to 9999,
// messages deeper than MaxDepth. The returned slice is then dst.
func (s *Schema) Append(dst []byte, v any) ([]byte, error) {
	var p ptr
	switch reflect.TypeOf(v) {
	case s.ptr:
		r := reflect.ValueOf(v)
		if r.IsNil() {
			return dst, nil
		}
		p = addr(r.Elem())
	case s.typ:
		p = boxed(v, s.typ)
	default:
		return dst, fmt.Errorf("plain: a %T was given to the schema of %s: %w", v, s.typ, codec.ErrType)
	}
	out, err := s.append(dst, p, 1)
	if err != nil {
		return dst, fmt.Errorf("plain: encode %s: %w", s.typ, err)
	}
	return out, nil
}

// Unmarshal decodes data into v, a pointer to a struct of the schema's type. The
// struct is set to its zero value first; fields that are not sent stay so, and
// fields that are not known are skipped. It keeps no reference to data.
//
// As protobuf has it, the last of several values of a field holds, and messages
// are merged; Timestamp and Duration are replaced whole. A number that does not
// fit into its field is an error, where protobuf would cut it. After an error
// the struct holds what was read until then. A v that is nil or of another type
// is codec.ErrType.
func (s *Schema) Unmarshal(data []byte, v any) error {
	if reflect.TypeOf(v) != s.ptr {
		return fmt.Errorf("plain: a %T was given to the schema of %s, which reads into a %s: %w", v, s.typ, s.ptr, codec.ErrType)
	}
	r := reflect.ValueOf(v)
	if r.IsNil() {
		return fmt.Errorf("plain: decode into %s: the pointer is nil: %w", s.ptr, codec.ErrType)
	}
	r.Elem().SetZero()
	if err := s.decode(data, addr(r.Elem()), 1); err != nil {
		return fmt.Errorf("plain: decode into %s: %w", s.typ, err)
	}
	return nil
}

// isMessage reports whether t is a message of generated code.
func isMessage(t reflect.Type) bool { return t.Implements(reflect.TypeFor[proto.Message]()) }
