// Package bytes is the codec of application/octet-stream: bytes as they are.
package bytes

import (
	"fmt"

	"github.com/seed-9a4e2794/micro/codec"
)

// Frame holds raw bytes as a message.
type Frame struct {
	Data []byte
}

// Codec is the codec of raw bytes. The zero Codec is ready to use.
type Codec struct{}

var _ codec.Codec = Codec{}

// NewCodec returns the codec.
func NewCodec() codec.Codec { return Codec{} }

// Name returns "application/octet-stream".
func (Codec) Name() string { return codec.Bytes }

// Append appends v: a []byte, *[]byte, string, *string, Frame or *Frame. nil,
// typed or not, appends nothing.
func (Codec) Append(dst []byte, v any) ([]byte, error) {
	switch m := v.(type) {
	case nil:
		return dst, nil
	case []byte:
		return append(dst, m...), nil
	case *[]byte:
		if m == nil {
			return dst, nil
		}
		return append(dst, *m...), nil
	case string:
		return append(dst, m...), nil
	case *string:
		if m == nil {
			return dst, nil
		}
		return append(dst, *m...), nil
	case Frame:
		return append(dst, m.Data...), nil
	case *Frame:
		if m == nil {
			return dst, nil
		}
		return append(dst, m.Data...), nil
	}
	return dst, fmt.Errorf("bytes: encode %T: %w", v, codec.ErrType)
}

// Unmarshal copies data into v: a *[]byte, *string or *Frame. The array of a
// slice that v already holds is used again where it is large enough. A nil
// pointer is codec.ErrType.
func (Codec) Unmarshal(data []byte, v any) error {
	switch m := v.(type) {
	case *[]byte:
		if m != nil {
			*m = append((*m)[:0], data...)
			return nil
		}
	case *string:
		if m != nil {
			*m = string(data)
			return nil
		}
	case *Frame:
		if m != nil {
			m.Data = append(m.Data[:0], data...)
			return nil
		}
	}
	return fmt.Errorf("bytes: decode into a nil pointer or %T: %w", v, codec.ErrType)
}
