package http

import (
	stderrors "errors"
	"fmt"
	"strings"
	"sync"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"github.com/seed-9a4e2794/micro/codec"
	"github.com/seed-9a4e2794/micro/errors"
	"github.com/seed-9a4e2794/micro/transport"
)

// message is what connect sends and receives here: a message to send, which
// its own codec encodes, or a body: as it came, or to send as it is.
type message struct {
	out   transport.Message
	body  *body
	codec rawCodec // that the body came by
}

// encoded returns a message to send in its encoded form. connect would look at
// the size only after compression, and make an internal error of any that the
// encoding has.
func encoded(m transport.Message, limit int) (*message, error) {
	if m.Codec == nil { // an answer without a message
		return new(message), nil
	}
	b := bodies.Get().(*body)
	var err error
	if b.b, err = m.Codec.Append(b.b[:0], m.Value); err != nil {
		b.Release()
		return nil, errors.Wrap(handlerId, errors.CodeInternal, fmt.Errorf("the answer cannot be encoded: %w", err))
	}
	if n := len(b.b); n > limit {
		b.Release()
		return nil, errors.Wrap(handlerId, errors.CodeResourceExhausted, fmt.Errorf("%w: the answer has %d bytes, the limit is %d", transport.ErrTooLarge, n, limit))
	}
	return &message{body: b}, nil
}

// body is a received body in a buffer that is used again.
type body struct{ b []byte }

// Release implements transport.Releaser.
func (b *body) Release() {
	if cap(b.b) <= maxPooled {
		bodies.Put(b)
	}
}

// bodies holds the buffers of bodies.
var bodies = sync.Pool{New: func() any { return new(body) }}

// maxPooled is the largest buffer kept for the next body, in bytes.
const maxPooled = 256 << 10

// take returns the received message as a body of the contract, which owns the
// buffer.
func (m *message) take() transport.Body {
	b := m.body
	m.body = nil
	if b == nil {
		return transport.Body{}
	}
	return transport.NewBody(b.b, contentType(string(m.codec)), b)
}

// rawCodec lets connect carry messages without decoding them. Its name is the
// part of the content type that connect knows a codec by.
type rawCodec string

// Name implements connect.Codec.
func (c rawCodec) Name() string { return string(c) }

var errNoMessage = stderrors.New("http: connect was given another message than this package makes")

// Marshal implements connect.Codec.
func (c rawCodec) Marshal(v any) ([]byte, error) { return c.MarshalAppend(nil, v) }

// MarshalAppend is what connect asks for in place of Marshal.
func (c rawCodec) MarshalAppend(dst []byte, v any) ([]byte, error) {
	m, ok := v.(*message)
	if !ok {
		if status, ok := v.(proto.Message); ok { // what gRPC has for errors with details
			return proto.MarshalOptions{}.MarshalAppend(dst, status)
		}
		return dst, errNoMessage
	}
	if b := m.body; b != nil {
		m.body = nil
		dst = append(dst, b.b...)
		b.Release()
		return dst, nil
	}
	if m.out.Codec == nil { // an answer without a message
		return dst, nil
	}
	return m.out.Codec.Append(dst, m.out.Value)
}

// MarshalStable is what connect asks for when it puts a message into a URL.
func (c rawCodec) MarshalStable(v any) ([]byte, error) { return c.MarshalAppend(nil, v) }

// IsBinary says to connect whether a URL can hold the encoding as it is.
func (c rawCodec) IsBinary() bool { return c != "json" }

// Unmarshal implements connect.Codec. data is connect's and is used again.
func (c rawCodec) Unmarshal(data []byte, v any) error {
	m, ok := v.(*message)
	if !ok {
		if status, ok := v.(proto.Message); ok {
			return proto.Unmarshal(data, status)
		}
		return errNoMessage
	}
	if m.body == nil {
		m.body = bodies.Get().(*body)
	}
	m.body.b, m.codec = append(m.body.b[:0], data...), c
	return nil
}

// codecName returns the name that connect and gRPC have for a content type.
func codecName(contentType string) string {
	switch contentType {
	case codec.Proto:
		return "proto"
	case codec.JSON:
		return "json"
	case codec.Bytes:
		return "bytes"
	}
	return strings.TrimPrefix(contentType, "application/")
}

// contentType returns the content type that a codec's name stands for.
func contentType(name string) string {
	switch name {
	case "proto", "protobuf":
		return codec.Proto
	case "json", jsonUTF8:
		return codec.JSON
	case "bytes", "octet-stream":
		return codec.Bytes
	}
	return "application/" + name
}

// jsonUTF8 is a name that connect has besides "json".
const jsonUTF8 = "json; charset=utf-8"

// ensure that connect can use the codec.
var _ connect.Codec = rawCodec("")
