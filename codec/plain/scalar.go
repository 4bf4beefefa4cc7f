package plain

import (
	"encoding/binary"
	"fmt"
	"math"
	"reflect"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/seed-9a4e2794/micro/codec"
)

// errUTF8 is about a value, errBytesUTF8 about bytes that were read.
var (
	errUTF8      = fmt.Errorf("the string is not valid UTF-8, which protobuf demands: send it as []byte: %w", codec.ErrType)
	errBytesUTF8 = fmt.Errorf("the string is not valid UTF-8, which protobuf demands")
)

type integer interface {
	int8 | int16 | int32 | int64 | int | uint8 | uint16 | uint32 | uint64 | uint
}

// scalar fills in the form of a number, bool or string; false for other kinds.
func (e *element) scalar(k reflect.Kind) bool {
	e.wire = protowire.VarintType
	switch k {
	case reflect.Bool:
		e.kind = kindBool
		e.coder = coder{write: writeBool, put: putBool, get: getBool, putAll: putBools, getAll: getBools}
	case reflect.Int8:
		e.kind, e.coder = kindInt32, integers[int8]()
	case reflect.Int16:
		e.kind, e.coder = kindInt32, integers[int16]()
	case reflect.Int32:
		e.kind, e.coder = kindInt32, integers[int32]()
	case reflect.Int64:
		e.kind, e.coder = kindInt64, integers[int64]()
	case reflect.Int:
		e.kind, e.coder = kindInt64, integers[int]()
	case reflect.Uint8:
		e.kind, e.coder = kindUint32, integers[uint8]()
	case reflect.Uint16:
		e.kind, e.coder = kindUint32, integers[uint16]()
	case reflect.Uint32:
		e.kind, e.coder = kindUint32, integers[uint32]()
	case reflect.Uint64:
		e.kind, e.coder = kindUint64, integers[uint64]()
	case reflect.Uint:
		e.kind, e.coder = kindUint64, integers[uint]()
	case reflect.Float32:
		e.kind, e.wire = kindFloat, protowire.Fixed32Type
		e.coder = coder{write: writeFloat32, put: putFloat32, get: getFloat32, putAll: putFloat32s, getAll: getFloat32s}
	case reflect.Float64:
		e.kind, e.wire = kindDouble, protowire.Fixed64Type
		e.coder = coder{write: writeFloat64, put: putFloat64, get: getFloat64, putAll: putFloat64s, getAll: getFloat64s}
	case reflect.String:
		e.kind, e.wire = kindString, protowire.BytesType
		e.coder = coder{write: writeString, put: putString, get: getString, add: addString}
	default:
		return false
	}
	return true
}

func integers[T integer]() coder {
	return coder{write: writeInt[T], put: putInt[T], get: getInt[T], putAll: putInts[T], getAll: getInts[T]}
}

// varint reads a varint and returns what follows it.
func varint(data []byte) (uint64, []byte, error) {
	if len(data) > 0 && data[0] < 0x80 {
		return uint64(data[0]), data[1:], nil
	}
	v, n := protowire.ConsumeVarint(data)
	if n < 0 {
		return 0, nil, malformed(n)
	}
	return v, data[n:], nil
}

// sized reads a length and as many bytes, and returns what follows them.
func sized(data []byte) (body, rest []byte, err error) {
	n, rest, err := varint(data)
	if err != nil {
		return nil, nil, err
	}
	if n > uint64(len(rest)) {
		return nil, nil, fmt.Errorf("a length of %d where %d bytes are left: the message was cut or is not of this type", n, len(rest))
	}
	return rest[:n:n], rest[n:], nil
}

// malformed is the error for a negative length of package protowire.
func malformed(n int) error {
	return fmt.Errorf("the message was cut or is not of this type: %w", protowire.ParseError(n))
}

// Signed numbers are sent as if they had 64 bits: uint64(T(-1)) has all bits set.

func writeInt[T integer](f *field, dst []byte, p ptr, _ int) ([]byte, error) {
	v := *at[T](p)
	if v == 0 {
		return dst, nil
	}
	return protowire.AppendVarint(f.start(dst), uint64(v)), nil
}

func putInt[T integer](_ *element, dst []byte, p ptr, _ int) ([]byte, error) {
	return protowire.AppendVarint(dst, uint64(*at[T](p))), nil
}

func getInt[T integer](_ *element, data []byte, p ptr, _ int) ([]byte, error) {
	v, data, err := varint(data)
	if err != nil {
		return nil, err
	}
	t := T(v)
	if uint64(t) != v {
		return nil, misfit[T](v)
	}
	*at[T](p) = t
	return data, nil
}

func misfit[T integer](v uint64) error {
	return fmt.Errorf("the number %d (as unsigned %d) does not fit into %s", int64(v), v, reflect.TypeFor[T]())
}

func putInts[T integer](dst []byte, p ptr) []byte {
	for _, v := range items[T](p) {
		dst = protowire.AppendVarint(dst, uint64(v))
	}
	return dst
}

func getInts[T integer](data []byte, p ptr) error {
	n := 0
	for _, b := range data {
		if b < 0x80 {
			n++
		}
	}
	reserve[T](p, n)
	for len(data) > 0 {
		v, rest, err := varint(data)
		if err != nil {
			return err
		}
		if uint64(T(v)) != v {
			return misfit[T](v)
		}
		push(p, T(v))
		data = rest
	}
	return nil
}

func writeBool(f *field, dst []byte, p ptr, _ int) ([]byte, error) {
	if !*at[bool](p) {
		return dst, nil
	}
	return append(f.start(dst), 1), nil
}

func putBool(_ *element, dst []byte, p ptr, _ int) ([]byte, error) {
	return protowire.AppendVarint(dst, protowire.EncodeBool(*at[bool](p))), nil
}

func getBool(_ *element, data []byte, p ptr, _ int) ([]byte, error) {
	v, data, err := varint(data)
	*at[bool](p) = v != 0
	return data, err
}

func putBools(dst []byte, p ptr) []byte {
	for _, v := range items[bool](p) {
		dst = protowire.AppendVarint(dst, protowire.EncodeBool(v))
	}
	return dst
}

func getBools(data []byte, p ptr) error {
	for len(data) > 0 {
		v, rest, err := varint(data)
		if err != nil {
			return err
		}
		push(p, v != 0)
		data = rest
	}
	return nil
}

// A negative zero is not the zero that is left out.

func writeFloat32(f *field, dst []byte, p ptr, _ int) ([]byte, error) {
	v := math.Float32bits(*at[float32](p))
	if v == 0 {
		return dst, nil
	}
	return binary.LittleEndian.AppendUint32(f.start(dst), v), nil
}

func putFloat32(_ *element, dst []byte, p ptr, _ int) ([]byte, error) {
	return binary.LittleEndian.AppendUint32(dst, math.Float32bits(*at[float32](p))), nil
}

func getFloat32(_ *element, data []byte, p ptr, _ int) ([]byte, error) {
	v, n := protowire.ConsumeFixed32(data)
	if n < 0 {
		return nil, malformed(n)
	}
	*at[float32](p) = math.Float32frombits(v)
	return data[n:], nil
}

func putFloat32s(dst []byte, p ptr) []byte {
	for _, v := range items[float32](p) {
		dst = binary.LittleEndian.AppendUint32(dst, math.Float32bits(v))
	}
	return dst
}

func getFloat32s(data []byte, p ptr) error {
	reserve[float32](p, len(data)/4)
	for len(data) > 0 {
		v, n := protowire.ConsumeFixed32(data)
		if n < 0 {
			return malformed(n)
		}
		push(p, math.Float32frombits(v))
		data = data[n:]
	}
	return nil
}

func writeFloat64(f *field, dst []byte, p ptr, _ int) ([]byte, error) {
	v := math.Float64bits(*at[float64](p))
	if v == 0 {
		return dst, nil
	}
	return binary.LittleEndian.AppendUint64(f.start(dst), v), nil
}

func putFloat64(_ *element, dst []byte, p ptr, _ int) ([]byte, error) {
	return binary.LittleEndian.AppendUint64(dst, math.Float64bits(*at[float64](p))), nil
}

func getFloat64(_ *element, data []byte, p ptr, _ int) ([]byte, error) {
	v, n := protowire.ConsumeFixed64(data)
	if n < 0 {
		return nil, malformed(n)
	}
	*at[float64](p) = math.Float64frombits(v)
	return data[n:], nil
}

func putFloat64s(dst []byte, p ptr) []byte {
	for _, v := range items[float64](p) {
		dst = binary.LittleEndian.AppendUint64(dst, math.Float64bits(v))
	}
	return dst
}

func getFloat64s(data []byte, p ptr) error {
	reserve[float64](p, len(data)/8)
	for len(data) > 0 {
		v, n := protowire.ConsumeFixed64(data)
		if n < 0 {
			return malformed(n)
		}
		push(p, math.Float64frombits(v))
		data = data[n:]
	}
	return nil
}

func writeString(f *field, dst []byte, p ptr, depth int) ([]byte, error) {
	if *at[string](p) == "" {
		return dst, nil
	}
	return putString(&f.element, f.start(dst), p, depth)
}

func putString(_ *element, dst []byte, p ptr, _ int) ([]byte, error) {
	s := *at[string](p)
	if !utf8.ValidString(s) {
		return dst, errUTF8
	}
	return append(protowire.AppendVarint(dst, uint64(len(s))), s...), nil
}

func getString(_ *element, data []byte, p ptr, _ int) ([]byte, error) {
	body, data, err := sized(data)
	if err != nil {
		return nil, err
	}
	if !utf8.Valid(body) {
		return nil, errBytesUTF8
	}
	*at[string](p) = string(body)
	return data, nil
}

func addString(_ *field, data []byte, p ptr, _ int) ([]byte, error) {
	body, data, err := sized(data)
	if err != nil {
		return nil, err
	}
	if !utf8.Valid(body) {
		return nil, errBytesUTF8
	}
	push(p, string(body))
	return data, nil
}

func writeBytes(f *field, dst []byte, p ptr, depth int) ([]byte, error) {
	if len(raw(p)) == 0 {
		return dst, nil
	}
	return putBytes(&f.element, f.start(dst), p, depth)
}

func putBytes(_ *element, dst []byte, p ptr, _ int) ([]byte, error) {
	b := raw(p)
	return append(protowire.AppendVarint(dst, uint64(len(b))), b...), nil
}

func getBytes(_ *element, data []byte, p ptr, _ int) ([]byte, error) {
	body, data, err := sized(data)
	if err != nil {
		return nil, err
	}
	setRaw(p, append([]byte(nil), body...))
	return data, nil
}
