package plain

import (
	"encoding/binary"
	"fmt"
	"reflect"
	"sort"

	"google.golang.org/protobuf/encoding/protowire"
)

// start appends the key of the field.
func (f *field) start(dst []byte) []byte {
	if f.tag < 0x80 {
		return append(dst, byte(f.tag))
	}
	return protowire.AppendVarint(dst, f.tag)
}

// seal writes the length of dst[start:] into the byte that was left before it,
// and makes room where one byte is not enough. To write and shift is faster
// than to compute sizes first: most messages in messages are short.
func seal(dst []byte, start int) []byte {
	n := len(dst) - start
	if n < 0x80 {
		dst[start-1] = byte(n)
		return dst
	}
	var room [binary.MaxVarintLen64]byte
	more := binary.PutUvarint(room[:], uint64(n)) - 1
	dst = append(dst, room[:more]...)
	copy(dst[start+more:], dst[start:start+n])
	copy(dst[start-1:], room[:more+1])
	return dst
}

// append appends the fields of the struct at p.
func (s *Schema) append(dst []byte, p ptr, depth int) ([]byte, error) {
	for i := range s.fields {
		f := &s.fields[i]
		q := p
		if f.hops != nil {
			var ok bool
			if q, ok = f.reach(p); !ok {
				continue
			}
		}
		q = f.in(q)
		var err error
		switch f.mode {
		case single:
			dst, err = f.write(f, dst, q, depth)
		case optional:
			if q, ok := pointee(q); ok {
				dst, err = f.put(&f.element, f.start(dst), q, depth)
			}
		case packed:
			if length(q) > 0 {
				dst = append(f.start(dst), 0)
				dst = seal(f.putAll(dst, q), len(dst))
			}
		case list:
			dst, err = f.appendList(dst, q, depth)
		case mapping:
			dst, err = f.appendMap(dst, q, depth)
		}
		if err != nil {
			return dst, fmt.Errorf("%s: %w", f.json, err)
		}
	}
	return dst, nil
}

// reach returns the struct that the field stands in, by way of embedded
// pointers; false when one is nil.
func (f *field) reach(p ptr) (ptr, bool) {
	for i := range f.hops {
		var ok bool
		if p, ok = pointee(f.hops[i].in(p)); !ok {
			return p, false
		}
	}
	return p, true
}

// enter is reach that makes the structs that are missing.
func (f *field) enter(p ptr) ptr {
	for i := range f.hops {
		p = target(f.hops[i].in(p), f.hops[i].typ)
	}
	return p
}

func (f *field) appendList(dst []byte, p ptr, depth int) ([]byte, error) {
	for i := range length(p) {
		var err error
		if dst, err = f.put(&f.element, f.start(dst), f.item(p, i), depth); err != nil {
			return dst, fmt.Errorf("element %d: %w", i, err)
		}
	}
	return dst, nil
}

// decode reads data into the fields of the struct at p.
func (s *Schema) decode(data []byte, p ptr, depth int) error {
	for len(data) > 0 {
		num, wire, rest, err := key(data)
		if err != nil {
			return err
		}
		f := s.find(num)
		if f == nil {
			if data, err = skip(num, wire, rest); err != nil {
				return fmt.Errorf("field %d, which is not known: %w", num, err)
			}
			continue
		}
		if data, err = f.decode(rest, num, wire, p, depth); err != nil {
			return fmt.Errorf("%s: %w", f.json, err)
		}
	}
	return nil
}

// decode reads a field of the struct at p and returns what follows it. A field
// of another wire type is skipped as one that is not known.
func (f *field) decode(data []byte, num protowire.Number, wire protowire.Type, p ptr, depth int) ([]byte, error) {
	isBytes := wire == protowire.BytesType
	if wire != f.wire && !(isBytes && (f.mode == packed || f.mode == mapping)) || f.mode == mapping && !isBytes {
		return skip(num, wire, data)
	}
	if f.hops != nil {
		p = f.enter(p)
	}
	p = f.in(p)
	switch f.mode {
	case optional:
		p = target(p, f.of)
	case packed:
		if isBytes {
			body, data, err := sized(data)
			if err != nil {
				return nil, err
			}
			return data, f.getAll(body, p)
		}
		n := protowire.ConsumeFieldValue(num, wire, data)
		if n < 0 {
			return nil, malformed(n)
		}
		return data[n:], f.getAll(data[:n], p)
	case list:
		return f.add(f, data, p, depth)
	case mapping:
		return f.addEntry(data, p, depth)
	}
	return f.get(&f.element, data, p, depth)
}

// find returns the field of a number, nil if there is none.
func (s *Schema) find(num protowire.Number) *field {
	if s.places != nil {
		if int(num) < len(s.places) {
			if i := s.places[num]; i > 0 {
				return &s.fields[i-1]
			}
		}
		return nil
	}
	i := sort.Search(len(s.fields), func(i int) bool { return s.fields[i].number >= num })
	if i < len(s.fields) && s.fields[i].number == num {
		return &s.fields[i]
	}
	return nil
}

// addElement reads a value to a new element of the slice at p.
func addElement(f *field, data []byte, p ptr, depth int) ([]byte, error) {
	v := value(p, f.typ)
	n := v.Len()
	v.Grow(1)
	v.SetLen(n + 1)
	data, err := f.get(&f.element, data, f.item(p, n), depth)
	if err != nil {
		return nil, fmt.Errorf("element %d: %w", n, err)
	}
	return data, nil
}

// key reads the number and the wire type of a field.
func key(data []byte) (protowire.Number, protowire.Type, []byte, error) {
	v, data, err := varint(data)
	if err != nil {
		return 0, 0, nil, err
	}
	if num := v >> 3; num < 1 || num > uint64(protowire.MaxValidNumber) {
		return 0, 0, nil, fmt.Errorf("a field has the number %d: this is not protobuf, or not from its start", num)
	}
	return protowire.Number(v >> 3), protowire.Type(v & 7), data, nil
}

// skip returns what follows a value.
func skip(num protowire.Number, wire protowire.Type, data []byte) ([]byte, error) {
	n := protowire.ConsumeFieldValue(num, wire, data)
	if n < 0 {
		return nil, malformed(n)
	}
	return data[n:], nil
}

// scratch is where a key and a value of a map stand while they are written or
// read: in the map they have no address.
type scratch struct {
	key, val reflect.Value
	iter     reflect.MapIter
}

func newScratch(t reflect.Type) *scratch {
	return &scratch{key: reflect.New(t.Key()).Elem(), val: reflect.New(t.Elem()).Elem()}
}

// release gives s back without what it holds.
func (f *field) release(s *scratch) {
	s.key.SetZero()
	s.val.SetZero()
	s.iter.Reset(reflect.Value{})
	f.pool.Put(s)
}

func (f *field) appendMap(dst []byte, p ptr, depth int) ([]byte, error) {
	m := value(p, f.typ)
	if m.Len() == 0 {
		return dst, nil
	}
	s := f.pool.Get().(*scratch)
	defer f.release(s)
	keyTag, valTag := byte(1<<3)|byte(f.key.wire), byte(2<<3)|byte(f.wire)
	s.iter.Reset(m)
	for s.iter.Next() {
		s.key.SetIterKey(&s.iter)
		s.val.SetIterValue(&s.iter)
		dst = append(f.start(dst), 0)
		start := len(dst)
		var err error
		if dst, err = f.key.put(f.key, append(dst, keyTag), addr(s.key), depth); err != nil {
			return dst, fmt.Errorf("a key: %w", err)
		}
		if dst, err = f.put(&f.element, append(dst, valTag), addr(s.val), depth); err != nil {
			return dst, fmt.Errorf("the value of %v: %w", s.key, err)
		}
		dst = seal(dst, start)
	}
	return dst, nil
}

// addEntry reads an entry of the map at p. What is missing in it is zero.
func (f *field) addEntry(data []byte, p ptr, depth int) ([]byte, error) {
	body, data, err := sized(data)
	if err != nil {
		return nil, err
	}
	s := f.pool.Get().(*scratch)
	defer f.release(s)
	seen := false
	for len(body) > 0 {
		num, wire, rest, err := key(body)
		if err != nil {
			return nil, err
		}
		switch {
		case num == 1 && wire == f.key.wire:
			body, err = f.key.get(f.key, rest, addr(s.key), depth)
		case num == 2 && wire == f.wire:
			seen = true
			body, err = f.get(&f.element, rest, addr(s.val), depth)
		default:
			body, err = skip(num, wire, rest)
		}
		if err != nil {
			return nil, err
		}
	}
	if !seen && f.kind == kindMessage {
		// An empty message: a pointer is not nil, a Timestamp is of 1970.
		if _, err := f.get(&f.element, []byte{0}, addr(s.val), depth); err != nil {
			return nil, err
		}
	}
	m := value(p, f.typ)
	if m.IsNil() {
		m.Set(reflect.MakeMap(f.typ))
	}
	m.SetMapIndex(s.key, s.val)
	return data, nil
}
