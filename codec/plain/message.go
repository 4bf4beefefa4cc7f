package plain

import (
	"fmt"
	"reflect"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/seed-9a4e2794/micro/codec"
)

var (
	errNil  = fmt.Errorf("nil in a list or map has no form in protobuf: leave it out: %w", codec.ErrType)
	errDeep = fmt.Errorf("messages stand in one another more than %d deep: does the value contain itself? %w", MaxDepth, codec.ErrType)
	// errBytesDeep is about bytes that were read.
	errBytesDeep = fmt.Errorf("messages stand in one another more than %d deep", MaxDepth)
)

func writeStruct(f *field, dst []byte, p ptr, depth int) ([]byte, error) {
	n := len(dst)
	dst = f.start(dst)
	body := len(dst) + 1
	dst, err := putStruct(&f.element, dst, p, depth)
	if len(dst) == body {
		dst = dst[:n] // it is empty
	}
	return dst, err
}

func putStruct(e *element, dst []byte, p ptr, depth int) ([]byte, error) {
	if depth >= MaxDepth {
		return dst, errDeep
	}
	dst = append(dst, 0)
	start := len(dst)
	dst, err := e.schema.append(dst, p, depth+1)
	if err != nil {
		return dst, err
	}
	return seal(dst, start), nil
}

func getStruct(e *element, data []byte, p ptr, depth int) ([]byte, error) {
	body, data, err := sized(data)
	if err != nil {
		return nil, err
	}
	if depth >= MaxDepth {
		return nil, errBytesDeep
	}
	return data, e.schema.decode(body, p, depth+1)
}

func putPointer(e *element, dst []byte, p ptr, depth int) ([]byte, error) {
	q, ok := pointee(p)
	if !ok {
		return dst, errNil
	}
	return putStruct(e, dst, q, depth)
}

func getPointer(e *element, data []byte, p ptr, depth int) ([]byte, error) {
	return getStruct(e, data, target(p, e.target), depth)
}

// Messages of generated code are left to package proto. How deep they go is
// counted there.

func writeMessage(f *field, dst []byte, p ptr, depth int) ([]byte, error) {
	if _, ok := pointee(p); !ok {
		return dst, nil
	}
	return putMessage(&f.element, f.start(dst), p, depth)
}

func putMessage(e *element, dst []byte, p ptr, _ int) ([]byte, error) {
	if _, ok := pointee(p); !ok {
		return dst, errNil
	}
	m := value(p, e.of).Interface().(proto.Message)
	dst = append(dst, 0)
	start := len(dst)
	dst, err := proto.MarshalOptions{}.MarshalAppend(dst, m)
	if err != nil {
		return dst, fmt.Errorf("%w (%w)", err, codec.ErrType)
	}
	return seal(dst, start), nil
}

func getMessage(e *element, data []byte, p ptr, _ int) ([]byte, error) {
	body, data, err := sized(data)
	if err != nil {
		return nil, err
	}
	v := value(p, e.of)
	if v.IsNil() {
		v.Set(reflect.New(e.of.Elem()))
	}
	return data, proto.UnmarshalOptions{Merge: true}.Unmarshal(body, v.Interface().(proto.Message))
}

// The first and the last second that a Timestamp may hold, and the longest
// Duration that time.Duration holds.
const (
	minSeconds  = -62135596800
	maxSeconds  = 253402300799
	maxDuration = int64(1<<63-1) / int64(time.Second)
)

func writeTime(f *field, dst []byte, p ptr, depth int) ([]byte, error) {
	if at[time.Time](p).IsZero() {
		return dst, nil
	}
	return putTime(&f.element, f.start(dst), p, depth)
}

func putTime(_ *element, dst []byte, p ptr, _ int) ([]byte, error) {
	t := at[time.Time](p)
	if s := t.Unix(); s < minSeconds || s > maxSeconds {
		return dst, fmt.Errorf("the time is in the year %d and a Timestamp ends with 9999: %w", t.UTC().Year(), codec.ErrType)
	}
	return putSeconds(dst, t.Unix(), int64(t.Nanosecond())), nil
}

func getTime(_ *element, data []byte, p ptr, _ int) ([]byte, error) {
	s, n, data, err := getSeconds(data)
	if err != nil {
		return nil, err
	}
	if s < minSeconds || s > maxSeconds || n < 0 || n >= int64(time.Second) {
		return nil, fmt.Errorf("a Timestamp of %d seconds and %d nanoseconds is out of range", s, n)
	}
	*at[time.Time](p) = time.Unix(s, n).UTC()
	return data, nil
}

func writeDuration(f *field, dst []byte, p ptr, depth int) ([]byte, error) {
	if *at[time.Duration](p) == 0 {
		return dst, nil
	}
	return putDuration(&f.element, f.start(dst), p, depth)
}

func putDuration(_ *element, dst []byte, p ptr, _ int) ([]byte, error) {
	d := int64(*at[time.Duration](p))
	return putSeconds(dst, d/int64(time.Second), d%int64(time.Second)), nil
}

func getDuration(_ *element, data []byte, p ptr, _ int) ([]byte, error) {
	s, n, data, err := getSeconds(data)
	if err != nil {
		return nil, err
	}
	if n <= -int64(time.Second) || n >= int64(time.Second) || s < 0 && n > 0 || s > 0 && n < 0 {
		return nil, fmt.Errorf("a Duration of %d seconds and %d nanoseconds is not valid", s, n)
	}
	d := s*int64(time.Second) + n
	if s < -maxDuration-1 || s > maxDuration || s > 0 && d < 0 || s < 0 && d > 0 {
		return nil, fmt.Errorf("a Duration of %d seconds does not fit into time.Duration", s)
	}
	*at[time.Duration](p) = time.Duration(d)
	return data, nil
}

// putSeconds appends a Timestamp or Duration, which have the same fields: never
// more than 22 bytes, so that its length takes one.
func putSeconds(dst []byte, s, n int64) []byte {
	dst = append(dst, 0)
	start := len(dst)
	if s != 0 {
		dst = protowire.AppendVarint(append(dst, 1<<3), uint64(s))
	}
	if n != 0 {
		dst = protowire.AppendVarint(append(dst, 2<<3), uint64(n))
	}
	dst[start-1] = byte(len(dst) - start)
	return dst
}

func getSeconds(data []byte) (s, n int64, rest []byte, err error) {
	body, rest, err := sized(data)
	for err == nil && len(body) > 0 {
		var num protowire.Number
		var wire protowire.Type
		if num, wire, body, err = key(body); err != nil {
			break
		}
		var v uint64
		switch {
		case num == 1 && wire == protowire.VarintType:
			v, body, err = varint(body)
			s = int64(v)
		case num == 2 && wire == protowire.VarintType:
			v, body, err = varint(body)
			n = int64(v)
		default:
			body, err = skip(num, wire, body)
		}
	}
	return s, n, rest, err
}
