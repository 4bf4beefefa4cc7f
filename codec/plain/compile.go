package plain

import (
	"cmp"
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/seed-9a4e2794/micro/codec"
)

// kind is a type of protobuf.
type kind = descriptorpb.FieldDescriptorProto_Type

const (
	kindFloat   = descriptorpb.FieldDescriptorProto_TYPE_FLOAT
	kindDouble  = descriptorpb.FieldDescriptorProto_TYPE_DOUBLE
	kindBool    = descriptorpb.FieldDescriptorProto_TYPE_BOOL
	kindString  = descriptorpb.FieldDescriptorProto_TYPE_STRING
	kindBytes   = descriptorpb.FieldDescriptorProto_TYPE_BYTES
	kindMessage = descriptorpb.FieldDescriptorProto_TYPE_MESSAGE
	kindInt32   = descriptorpb.FieldDescriptorProto_TYPE_INT32
	kindInt64   = descriptorpb.FieldDescriptorProto_TYPE_INT64
	kindUint32  = descriptorpb.FieldDescriptorProto_TYPE_UINT32
	kindUint64  = descriptorpb.FieldDescriptorProto_TYPE_UINT64
)

// mode is how often a field is there.
type mode uint8

const (
	single   mode = iota // written unless it is zero
	optional             // a pointer, written unless it is nil
	list                 // each element with its key
	packed               // a list of numbers under one key
	mapping              // each entry with its key
)

// place is where a field stands in a struct.
type place struct {
	offset uintptr
	index  []int // the same for reflection
}

// hop is an embedded pointer to a struct of type typ on the way to a field.
type hop struct {
	place
	typ reflect.Type
}

// field is a field of a struct. Its place is in what its last hop points to.
type field struct {
	element // of the field itself, of the list, or of the values of the map
	place
	hops   []hop
	mode   mode
	number protowire.Number
	tag    uint64 // number and wire type, as written
	key    *element
	pool   *sync.Pool // of scratches, for a map

	typ   reflect.Type
	name  string // in Go
	json  string
	proto string // what a tag says, of generated code or else of JSON; may be empty
}

// element is one value: its type, its form and what to do with it.
type element struct {
	of      reflect.Type
	size    uintptr
	kind    kind
	wire    protowire.Type
	target  reflect.Type                   // of an element that is a pointer to a struct
	schema  *Schema                        // of a struct
	message protoreflect.MessageDescriptor // of generated code
	coder
}

// coder is what to do with values of one Go type.
type coder struct {
	// write appends the key and the value at p, unless the value is zero.
	write func(f *field, dst []byte, p ptr, depth int) ([]byte, error)
	// put appends the value at p, behind its length if its form has one.
	put func(e *element, dst []byte, p ptr, depth int) ([]byte, error)
	// get reads a value to p and returns what follows it.
	get func(e *element, data []byte, p ptr, depth int) ([]byte, error)
	// add reads a value to a new element of the slice at p.
	add func(f *field, data []byte, p ptr, depth int) ([]byte, error)
	// putAll appends the numbers of the slice at p, getAll reads numbers to its
	// end. They are nil for what cannot be packed.
	putAll func(dst []byte, p ptr) []byte
	getAll func(data []byte, p ptr) error
}

// compiler makes the schema of a struct and of those that it reaches.
type compiler struct {
	made map[reflect.Type]*Schema
}

// schema returns the schema of a struct. It may not be complete yet, when the
// struct reaches itself.
func (c *compiler) schema(t reflect.Type) (*Schema, error) {
	if s := c.made[t]; s != nil {
		return s, nil
	}
	if e, ok := schemas.Load(t); ok && e.(entry).err == nil {
		return e.(entry).schema, nil
	}
	if isMessage(reflect.PointerTo(t)) {
		return nil, formless("%s is a message of generated code, not a plain struct", t)
	}
	if err := ownForm(t); err != nil {
		return nil, err
	}
	s := &Schema{typ: t, ptr: reflect.PointerTo(t)}
	s.tagged, s.fingerprint = sync.OnceValue(s.allTagged), sync.OnceValue(s.hash)
	c.made[t] = s
	ms, tagged, err := members(t)
	if err != nil {
		return nil, err
	}
	s.tags = tagged
	for i := range ms {
		f, err := c.field(t, &ms[i])
		if err != nil {
			return nil, ms[i].fault(err)
		}
		s.fields = append(s.fields, f)
	}
	slices.SortFunc(s.fields, func(a, b field) int { return cmp.Compare(a.number, b.number) })
	s.index()
	return s, nil
}

// index fills the table of numbers, unless it would be mostly empty.
func (s *Schema) index() {
	n := len(s.fields)
	if n == 0 || n > 1<<15 || int(s.fields[n-1].number) > 4*n+64 {
		return
	}
	s.places = make([]uint16, s.fields[n-1].number+1)
	for i := range s.fields {
		s.places[s.fields[i].number] = uint16(i + 1)
	}
}

// field returns the field for m, a member of t.
func (c *compiler) field(t reflect.Type, m *member) (field, error) {
	f := field{number: m.number, typ: m.field.Type, name: m.field.Name, json: m.json, proto: m.proto}
	if f.proto == "" && m.named {
		f.proto = m.json
	}
	f.place, f.hops = locate(t, m.index)
	var err error
	switch t := f.typ; {
	case isMessage(t):
		f.element, err = c.element(t)
	case t.Kind() == reflect.Pointer:
		f.mode = optional
		switch t.Elem().Kind() {
		case reflect.Pointer, reflect.Slice, reflect.Map:
			err = formless("a pointer to a %s has no form in protobuf", t.Elem().Kind())
		default:
			f.element, err = c.element(t.Elem())
		}
	case t.Kind() == reflect.Slice && !isBytes(t):
		if err = ownForm(t); err == nil {
			f.mode = list
			f.element, err = c.item(t.Elem())
		}
		if f.getAll != nil {
			f.mode = packed
		}
	case t.Kind() == reflect.Map:
		f.mode = mapping
		if err = ownForm(t); err == nil {
			err = c.mapping(&f)
		}
	default:
		f.element, err = c.element(t)
	}
	if err != nil {
		return field{}, err
	}
	wire := f.wire
	if f.mode == packed || f.mode == mapping {
		wire = protowire.BytesType
	}
	f.tag = protowire.EncodeTag(f.number, wire)
	if f.mode == packed {
		wire = f.wire // tags of generated code say that of the elements
	}
	if m.wire != "" && m.wire != wireName(wire) {
		return field{}, formless("its tag asks for the wire type %s and a %s is written as %s", m.wire, f.typ, wireName(wire))
	}
	return f, nil
}

func (c *compiler) mapping(f *field) error {
	key, err := c.element(f.typ.Key())
	if err != nil {
		return fmt.Errorf("the key: %w", err)
	}
	switch key.kind {
	case kindFloat, kindDouble, kindBytes, kindMessage:
		return formless("%s is no key of a map in protobuf", f.typ.Key())
	}
	f.key = &key
	if f.element, err = c.item(f.typ.Elem()); err != nil {
		return fmt.Errorf("the value: %w", err)
	}
	f.pool = &sync.Pool{New: func() any { return newScratch(f.typ) }}
	return nil
}

// item returns the form of an element of a list or a value of a map, which may
// be a pointer to a struct.
func (c *compiler) item(t reflect.Type) (element, error) {
	if t.Kind() != reflect.Pointer || isMessage(t) {
		return c.element(t)
	}
	if t.Elem().Kind() != reflect.Struct || t.Elem() == reflect.TypeFor[time.Time]() {
		return element{}, formless("a list or map of pointers to %s has no form in protobuf", t.Elem())
	}
	e, err := c.element(t.Elem())
	e.of, e.size, e.target = t, t.Size(), t.Elem()
	e.coder = coder{put: putPointer, get: getPointer, add: addElement}
	return e, err
}

// element returns the form of a value that may be in a list.
func (c *compiler) element(t reflect.Type) (element, error) {
	e := element{of: t, size: t.Size(), kind: kindMessage, wire: protowire.BytesType}
	switch {
	case t == reflect.TypeFor[time.Time]():
		e.message = (*timestamppb.Timestamp)(nil).ProtoReflect().Descriptor()
		e.coder = coder{write: writeTime, put: putTime, get: getTime, add: addElement}
		return e, nil
	case t == reflect.TypeFor[time.Duration]():
		e.message = (*durationpb.Duration)(nil).ProtoReflect().Descriptor()
		e.coder = coder{write: writeDuration, put: putDuration, get: getDuration, add: addElement}
		return e, nil
	case isMessage(t):
		var err error
		e.message, err = descriptorOf(t)
		e.coder = coder{write: writeMessage, put: putMessage, get: getMessage, add: addElement}
		return e, err
	}
	if err := ownForm(t); err != nil {
		return e, err
	}
	if t.Kind() == reflect.Struct {
		var err error
		e.schema, err = c.schema(t)
		e.coder = coder{write: writeStruct, put: putStruct, get: getStruct, add: addElement}
		return e, err
	}
	if isBytes(t) {
		e.kind = kindBytes
		e.coder = coder{write: writeBytes, put: putBytes, get: getBytes, add: addElement}
		return e, nil
	}
	if e.scalar(t.Kind()) {
		return e, nil
	}
	return e, formless("%s has no form in protobuf", t)
}

// descriptorOf returns the descriptor of a pointer to a message of generated
// code. Messages that are made at run time have none before they are there.
func descriptorOf(t reflect.Type) (md protoreflect.MessageDescriptor, err error) {
	defer func() {
		if r := recover(); r != nil || err == nil && md == nil {
			err = formless("%s is a message without a descriptor of its own", t)
		}
	}()
	if t.Kind() != reflect.Pointer {
		return nil, formless("%s is a message, but no pointer to a struct", t)
	}
	return reflect.New(t.Elem()).Interface().(proto.Message).ProtoReflect().Descriptor(), nil
}

// ownForm is an error when a type writes or reads itself.
func ownForm(t reflect.Type) error {
	for _, i := range []reflect.Type{
		reflect.TypeFor[json.Marshaler](), reflect.TypeFor[json.Unmarshaler](),
		reflect.TypeFor[encoding.TextMarshaler](), reflect.TypeFor[encoding.TextUnmarshaler](),
	} {
		if t.Implements(i) || reflect.PointerTo(t).Implements(i) {
			return formless("%s has a form of its own, by %s, which protobuf does not know", t, i.Method(0).Name)
		}
	}
	return nil
}

func formless(format string, args ...any) error {
	return fmt.Errorf("%s: %w", fmt.Sprintf(format, args...), codec.ErrType)
}

// isBytes reports whether t is a slice of bytes that have no form of their own.
func isBytes(t reflect.Type) bool {
	return t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Uint8 && ownForm(t.Elem()) == nil
}

// locate returns where the field at index stands in t.
func locate(t reflect.Type, index []int) (place, []hop) {
	var at place
	var hops []hop
	for i, n := range index {
		if t.Kind() == reflect.Pointer {
			t = t.Elem()
			hops = append(hops, hop{place: at, typ: t})
			at = place{}
		}
		f := t.Field(n)
		at.offset += f.Offset
		at.index = append(at.index, index[i])
		t = f.Type
	}
	return at, hops
}

// wireName is how tags of generated code name a wire type.
func wireName(w protowire.Type) string {
	switch w {
	case protowire.VarintType:
		return "varint"
	case protowire.Fixed32Type:
		return "fixed32"
	case protowire.Fixed64Type:
		return "fixed64"
	}
	return "bytes"
}
