package mucp

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/seed-9a4e2794/micro/codec"
	"github.com/seed-9a4e2794/micro/errors"
)

// The content types whose bodies are more than the message.
const (
	jsonRPC  = "application/json-rpc"
	protoRPC = "application/proto-rpc"
	grpc     = "application/grpc"
)

// form is how a message stands in an HTTP body.
type form struct {
	kind  byte   // formPlain ...
	ctype string // of the HTTP message
	inner string // of the message itself
}

const (
	formPlain = iota
	formJSONRPC
	formProtoRPC
	formGRPC
)

// formOf returns the form of a content type. In legacy mode JSON and protobuf
// stand in envelopes under their own names.
func formOf(ctype string, legacy bool) form {
	ctype = base(ctype)
	if ctype == "" {
		ctype = codec.Proto
	}
	f := form{ctype: ctype, inner: ctype}
	switch {
	case ctype == jsonRPC, legacy && ctype == codec.JSON:
		f.kind, f.inner = formJSONRPC, codec.JSON
	case ctype == protoRPC, legacy && (ctype == codec.Proto || ctype == codec.Bytes):
		f.kind, f.inner = formProtoRPC, codec.Proto
	case ctype == grpc, ctype == grpc+"+proto":
		f.kind, f.inner = formGRPC, codec.Proto
	case ctype == grpc+"+bytes":
		f.kind, f.inner = formGRPC, codec.Bytes
	case strings.HasPrefix(ctype, grpc+"+"):
		f.kind, f.inner = formGRPC, "application/"+ctype[len(grpc)+1:]
	}
	return f
}

// legacyForm returns the form in which a legacy client sends messages of a
// content type.
func legacyForm(ctype string) form {
	switch ctype {
	case codec.JSON:
		return formOf(jsonRPC, false)
	case codec.Proto:
		return formOf(protoRPC, false)
	}
	return formOf(ctype, false)
}

// envelope is what stands around a message.
type envelope struct {
	method string
	id     string // json-rpc: JSON of the id
	seq    uint64 // proto-rpc
	err    string // of a reply
}

// unwrap returns the message of a body. The message shares the body's array.
func (f form) unwrap(body []byte, reply bool) (envelope, []byte, error) {
	switch f.kind {
	case formJSONRPC:
		return unwrapJSON(body, reply)
	case formProtoRPC:
		return unwrapProto(body)
	case formGRPC:
		m, err := unwrapGRPC(body)
		return envelope{}, m, err
	}
	return envelope{}, body, nil
}

// wrap appends a message in its form.
func (f form) wrap(dst []byte, env envelope, reply bool, message []byte) ([]byte, error) {
	switch f.kind {
	case formJSONRPC:
		return wrapJSON(dst, env, reply, message)
	case formProtoRPC:
		return wrapProto(dst, env, message), nil
	case formGRPC:
		dst = append(dst, 0)
		dst = binary.BigEndian.AppendUint32(dst, uint32(len(message)))
	}
	return append(dst, message...), nil
}

// jsonEnvelope is a JSON-RPC 1.0 object, request or reply.
type jsonEnvelope struct {
	Method string            `json:"method"`
	Params []json.RawMessage `json:"params"`
	ID     json.RawMessage   `json:"id"`
	Result json.RawMessage   `json:"result"`
	Error  json.RawMessage   `json:"error"`
}

// maxID is the longest JSON-RPC id that comes back with the answer.
const maxID = 128

func unwrapJSON(body []byte, reply bool) (envelope, []byte, error) {
	var j jsonEnvelope
	if err := json.Unmarshal(body, &j); err != nil {
		return envelope{}, nil, fmt.Errorf("the body is no JSON-RPC object: %w", err)
	}
	env := envelope{method: j.Method, id: `""`}
	if id := bytes.TrimSpace(j.ID); len(id) > 0 && len(id) <= maxID && id[0] != '{' && id[0] != '[' {
		env.id = string(id)
	}
	if e := bytes.TrimSpace(j.Error); len(e) > 0 && !bytes.Equal(e, []byte("null")) {
		if err := json.Unmarshal(e, &env.err); err != nil {
			env.err = string(e) // an error that is no string, as other servers have it
		}
	}
	switch {
	case reply && bytes.Equal(j.Result, []byte("null")):
		return env, nil, nil
	case reply:
		return env, j.Result, nil
	case len(j.Params) > 1:
		return env, nil, fmt.Errorf("the JSON-RPC object has %d params, a call has one", len(j.Params))
	case len(j.Params) == 1:
		return env, j.Params[0], nil
	}
	return env, nil, nil
}

func wrapJSON(dst []byte, env envelope, reply bool, message []byte) ([]byte, error) {
	if len(message) == 0 {
		message = []byte("null")
	} else if !json.Valid(message) {
		return dst, fmt.Errorf("a message of %d bytes that is not JSON cannot be in a JSON-RPC object", len(message))
	}
	id := env.id
	if id == "" {
		id = `""`
	}
	quote := func(s string) []byte {
		b, _ := json.Marshal(s) // a string cannot fail
		return b
	}
	message = bytes.TrimSpace(message)
	if !reply {
		dst = append(append(dst, `{"method":`...), quote(env.method)...)
		dst = append(append(dst, `,"params":[`...), message...)
		dst = append(append(dst, `],"id":`...), id...)
		return append(dst, "}\n"...), nil
	}
	dst = append(append(dst, `{"id":`...), id...)
	if env.err != "" {
		dst = append(append(dst, `,"result":null,"error":`...), quote(env.err)...)
		return append(dst, "}\n"...), nil
	}
	dst = append(append(dst, `,"result":`...), message...)
	return append(dst, ",\"error\":null}\n"...), nil
}

// The fields of the header message of proto-rpc.
const (
	fieldMethod protowire.Number = 1 // string
	fieldSeq    protowire.Number = 2 // fixed64
	fieldError  protowire.Number = 3 // string
)

func unwrapProto(body []byte) (envelope, []byte, error) {
	var env envelope
	head, rest, err := part(body, "header")
	if err != nil {
		return env, nil, err
	}
	message, rest, err := part(rest, "message")
	if err != nil {
		return env, nil, err
	}
	if len(rest) > 0 {
		return env, nil, fmt.Errorf("%d bytes follow the proto-rpc message", len(rest))
	}
	for len(head) > 0 {
		number, typ, n := protowire.ConsumeTag(head)
		if n < 0 {
			return env, nil, fmt.Errorf("the proto-rpc header is no protobuf: %w", protowire.ParseError(n))
		}
		head = head[n:]
		switch {
		case number == fieldMethod && typ == protowire.BytesType:
			env.method, n = protowire.ConsumeString(head)
		case number == fieldSeq && typ == protowire.Fixed64Type:
			env.seq, n = protowire.ConsumeFixed64(head)
		case number == fieldError && typ == protowire.BytesType:
			env.err, n = protowire.ConsumeString(head)
		default:
			n = protowire.ConsumeFieldValue(number, typ, head)
		}
		if n < 0 {
			return env, nil, fmt.Errorf("field %d of the proto-rpc header is no protobuf: %w", number, protowire.ParseError(n))
		}
		head = head[n:]
	}
	return env, message, nil
}

// part takes a part with its length before it.
func part(b []byte, what string) (_, rest []byte, err error) {
	if len(b) < 4 {
		return nil, nil, fmt.Errorf("the proto-rpc %s has %d bytes where its length of 4 should be", what, len(b))
	}
	n := binary.BigEndian.Uint32(b)
	b = b[4:]
	if uint64(n) > uint64(len(b)) {
		return nil, nil, fmt.Errorf("the proto-rpc %s says %d bytes, %d follow", what, n, len(b))
	}
	return b[:n], b[n:], nil
}

// wrapProto leaves empty fields out, as go-micro v6 does; v1 reads that too.
func wrapProto(dst []byte, env envelope, message []byte) []byte {
	var head []byte
	if env.method != "" {
		head = protowire.AppendString(protowire.AppendTag(head, fieldMethod, protowire.BytesType), env.method)
	}
	if env.seq != 0 {
		head = protowire.AppendFixed64(protowire.AppendTag(head, fieldSeq, protowire.Fixed64Type), env.seq)
	}
	if env.err != "" {
		head = protowire.AppendString(protowire.AppendTag(head, fieldError, protowire.BytesType), env.err)
	}
	dst = append(binary.BigEndian.AppendUint32(dst, uint32(len(head))), head...)
	return append(binary.BigEndian.AppendUint32(dst, uint32(len(message))), message...)
}

// unwrapGRPC takes a message out of its frame. An empty body is an empty
// message.
func unwrapGRPC(body []byte) ([]byte, error) {
	if len(body) == 0 {
		return nil, nil
	}
	if len(body) < 5 {
		return nil, fmt.Errorf("the gRPC frame has %d bytes, its head alone is 5", len(body))
	}
	if body[0] != 0 {
		return nil, errors.NewCode(serverId, errors.CodeUnimplemented, "the gRPC frame is compressed (flag %d): send it uncompressed", body[0])
	}
	n := binary.BigEndian.Uint32(body[1:])
	if uint64(n) != uint64(len(body)-5) {
		return nil, fmt.Errorf("the gRPC frame says %d bytes, %d follow", n, len(body)-5)
	}
	return body[5:], nil
}

// callEnvelope returns what a client puts around the messages of a call.
func callEnvelope(endpoint string, id uint64) envelope {
	return envelope{method: endpoint, id: strconv.Quote(strconv.FormatUint(id, 10)), seq: id}
}
