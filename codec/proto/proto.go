// Package proto is the codec of application/protobuf.
//
// It takes messages of google.golang.org/protobuf and of the older
// github.com/golang/protobuf, and uses the methods that vtprotobuf generates
// where a type has them.
package proto

import (
	"fmt"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/protoadapt"

	"github.com/seed-9a4e2794/micro/codec"
)

// Codec is the protobuf codec. The zero Codec is ready to use.
type Codec struct{}

var _ codec.Codec = Codec{}

// NewCodec returns the codec.
func NewCodec() codec.Codec { return Codec{} }

// Name returns "application/protobuf".
func (Codec) Name() string { return codec.Proto }

// vtAppender and vtUnmarshaler are what vtprotobuf generates.
type vtAppender interface {
	SizeVT() int
	MarshalToSizedBufferVT([]byte) (int, error)
}

type vtUnmarshaler interface{ UnmarshalVT([]byte) error }

// Append appends the wire form of v, a protobuf message.
func (Codec) Append(dst []byte, v any) ([]byte, error) {
	var out []byte
	var err error
	switch m := v.(type) {
	case vtAppender:
		out, err = appendVT(dst, m)
	case proto.Message:
		out, err = proto.MarshalOptions{}.MarshalAppend(dst, m)
	case protoadapt.MessageV1:
		out, err = proto.MarshalOptions{}.MarshalAppend(dst, protoadapt.MessageV2Of(m))
	default:
		return dst, fmt.Errorf("proto: %T is not a protobuf message: %w", v, codec.ErrType)
	}
	if err != nil {
		return dst, fmt.Errorf("proto: encode %T: %w", v, err)
	}
	return out, nil
}

func appendVT(dst []byte, m vtAppender) ([]byte, error) {
	size := m.SizeVT()
	n := len(dst)
	if cap(dst)-n < size {
		dst = append(dst, make([]byte, size)...)
	} else {
		dst = dst[:n+size]
	}
	wrote, err := m.MarshalToSizedBufferVT(dst[n : n+size])
	if err == nil && wrote != size {
		// It fills the buffer from its end: what it left out is at the front.
		err = fmt.Errorf("%d bytes where %d were announced: was the message changed meanwhile?", wrote, size)
	}
	return dst, err
}

// Unmarshal decodes data into v, a protobuf message, replacing what it held. A
// nil message is codec.ErrType.
func (Codec) Unmarshal(data []byte, v any) error {
	var err error
	switch m := v.(type) {
	case vtUnmarshaler:
		err = unmarshalVT(data, m)
	case proto.Message:
		err = unmarshal(data, m)
	case protoadapt.MessageV1:
		err = unmarshal(data, protoadapt.MessageV2Of(m))
	default:
		return fmt.Errorf("proto: %T is not a protobuf message: %w", v, codec.ErrType)
	}
	if err != nil {
		return fmt.Errorf("proto: decode into %T: %w", v, err)
	}
	return nil
}

func unmarshalVT(data []byte, m vtUnmarshaler) error {
	if p, ok := m.(proto.Message); ok && !p.ProtoReflect().IsValid() {
		return fmt.Errorf("the message is nil: %w", codec.ErrType)
	}
	if r, ok := m.(interface{ Reset() }); ok {
		r.Reset() // UnmarshalVT adds to what is there
	}
	return m.UnmarshalVT(data)
}

func unmarshal(data []byte, m proto.Message) error {
	if !m.ProtoReflect().IsValid() {
		return fmt.Errorf("the message is nil: %w", codec.ErrType)
	}
	return proto.Unmarshal(data, m)
}

// Is reports whether v is a protobuf message, new or old.
func Is(v any) bool {
	switch v.(type) {
	case proto.Message, protoadapt.MessageV1:
		return true
	}
	return false
}
