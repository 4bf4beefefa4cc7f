// Package json is the codec of application/json: encoding/json for Go values,
// protojson for protobuf messages.
package json

import (
	"encoding/json"
	"fmt"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/protoadapt"

	"github.com/seed-9a4e2794/micro/codec"
)

// Codec is the JSON codec. The zero Codec is ready to use.
type Codec struct{}

var _ codec.Codec = Codec{}

// NewCodec returns the codec.
func NewCodec() codec.Codec { return Codec{} }

// Name returns "application/json".
func (Codec) Name() string { return codec.JSON }

// Append appends the JSON of v. A json.RawMessage is appended as it is, once
// found to be valid JSON; a nil one is null. A type or value that JSON does
// not know, such as a channel or NaN, is codec.ErrType.
func (Codec) Append(dst []byte, v any) ([]byte, error) {
	switch m := v.(type) {
	case json.RawMessage:
		return appendRaw(dst, m)
	case *json.RawMessage:
		if m == nil {
			return appendRaw(dst, nil)
		}
		return appendRaw(dst, *m)
	case proto.Message:
		return appendProto(dst, m)
	case protoadapt.MessageV1:
		return appendProto(dst, protoadapt.MessageV2Of(m))
	}
	b, err := json.Marshal(v)
	if err != nil {
		return dst, fmt.Errorf("json: encode %T: %w", v, typed(err))
	}
	return append(dst, b...), nil
}

func appendRaw(dst []byte, raw json.RawMessage) ([]byte, error) {
	if raw == nil {
		return append(dst, "null"...), nil
	}
	if !json.Valid(raw) {
		return dst, fmt.Errorf("json: encode: the raw message of %d bytes is not valid JSON", len(raw))
	}
	return append(dst, raw...), nil
}

func appendProto(dst []byte, m proto.Message) ([]byte, error) {
	out, err := protojson.MarshalOptions{}.MarshalAppend(dst, m)
	if err != nil {
		return dst, fmt.Errorf("json: encode %T: %w", m, err)
	}
	return out, nil
}

// Unmarshal decodes data into v. Unknown fields are ignored; empty data leaves
// v as it is. A json.RawMessage takes the value as it is, once found to be
// valid JSON. A v that is no pointer, or a nil one, is codec.ErrType.
func (Codec) Unmarshal(data []byte, v any) error {
	if len(data) == 0 {
		return nil
	}
	var err error
	switch m := v.(type) {
	case proto.Message:
		err = unmarshalProto(data, m)
	case protoadapt.MessageV1:
		err = unmarshalProto(data, protoadapt.MessageV2Of(m))
	default:
		err = typed(json.Unmarshal(data, v))
	}
	if err != nil {
		return fmt.Errorf("json: decode into %T: %w", v, err)
	}
	return nil
}

func unmarshalProto(data []byte, m proto.Message) error {
	if !m.ProtoReflect().IsValid() {
		return fmt.Errorf("the message is nil: %w", codec.ErrType)
	}
	return protojson.UnmarshalOptions{DiscardUnknown: true}.Unmarshal(data, m)
}

// typed adds codec.ErrType to the errors of encoding/json that are about the
// value and not about the bytes.
func typed(err error) error {
	switch err.(type) {
	case *json.UnsupportedTypeError, *json.UnsupportedValueError, *json.InvalidUnmarshalError:
		return fmt.Errorf("%w (%w)", codec.ErrType, err)
	}
	return err
}
