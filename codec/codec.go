// Package codec is the contract of message encodings.
//
// A codec turns a Go value into bytes and back. It is chosen by content type;
// the packages beside this one hold JSON, protobuf and raw bytes.
package codec

import "errors"

// The content types that have a number on the native wire.
const (
	Proto = "application/protobuf"
	JSON  = "application/json"
	Bytes = "application/octet-stream"
)

// ErrType is wrapped by a codec's error for a value it cannot encode or decode
// into at all, whatever the bytes: a plain struct given to protobuf, say.
var ErrType = errors.New("codec: the value has no form in this encoding")

// Codec encodes and decodes messages of one content type. Its methods may run
// concurrently.
type Codec interface {
	// Name returns the content type, such as "application/json".
	Name() string
	// Append appends the encoded v to dst and returns the longer slice. On an
	// error the returned slice is dst, unchanged up to its length.
	Append(dst []byte, v any) ([]byte, error)
	// Unmarshal decodes data into v, a pointer. It keeps no reference to data.
	Unmarshal(data []byte, v any) error
}

// NewCodec makes a Codec: what a table of codecs holds for a content type.
type NewCodec func() Codec
