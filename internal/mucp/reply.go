package mucp

import (
	stderrors "errors"
	"net/textproto"
	"strconv"

	"github.com/seed-9a4e2794/micro/errors"
	"github.com/seed-9a4e2794/micro/metadata"
	"github.com/seed-9a4e2794/micro/transport"
)

// field is a header of a reply.
type field struct{ key, value string }

// head returns the headers that a reply repeats from its request. go-micro
// repeats all of them; its clients look at none of these.
func (k *call) head() []field {
	q := &k.req
	out := []field{{"Content-Type", q.form.ctype}}
	for _, f := range []field{{"Micro-Endpoint", q.endpoint}, {"Micro-Id", q.id}, {"Micro-Method", q.endpoint}, {"Micro-Service", q.service},
		{"Micro-Stream", q.stream}} {
		if f.value != "" {
			out = append(out, field{f.key, clean(f.value)})
		}
	}
	return out
}

// reply is an answer made ready: header fields and body.
type reply struct {
	fields []field
	body   []byte
}

// reply makes the answer of a call: of a message, an error, or both nil. head
// and trail are the metadata to go with it. buf is used for the body.
func (k *call) answer(buf []byte, m transport.Message, err error, head, trail metadata.Header, cfg *Config) reply {
	r := reply{fields: k.head(), body: buf}
	extra := append(head[:len(head):len(head)], trail...)
	if err == nil {
		if r.body, err = k.encode(buf, m, cfg.MaxMessage); err == nil {
			if r.fields, err = r.with(extra, cfg); err == nil {
				if k.req.form.kind == formGRPC {
					r.fields = append(r.fields, field{"Grpc-Status", "0"})
				}
				return r
			}
		}
		err = errors.From(serverId, err)
		r.fields = k.head()
	} else if with, ok := r.with(extra, cfg); ok == nil {
		r.fields = with
	}
	return k.failed(r, buf, err)
}

// with returns r's fields and metadata after them.
func (r *reply) with(h metadata.Header, cfg *Config) ([]field, error) {
	out := r.fields
	size := 0
	for _, f := range h {
		b, err := appendFields(nil, metadata.Header{f})
		if err != nil {
			return r.fields, errors.Wrap(serverId, errors.CodeInternal, err)
		}
		if len(b) == 0 {
			continue
		}
		if size += len(b); size > cfg.MaxHeader/2 {
			return r.fields, errors.NewCode(serverId, errors.CodeResourceExhausted, "the metadata of the reply is over %d bytes", cfg.MaxHeader/2)
		}
		out = append(out, field{textproto.CanonicalMIMEHeaderKey(f.Key), f.Value})
	}
	return out, nil
}

// failed makes r the answer of an error.
func (k *call) failed(r reply, buf []byte, err error) reply {
	var unknown *unknownType
	if stderrors.As(err, &unknown) {
		r.fields[0].value = "text/plain"
		r.body = append(buf, unknown.Error()...)
		err = errors.BadRequest(serverId, "%s", unknown.Error())
	}
	e := errors.From(serverId, err)
	text := errorText(e)
	if unknown == nil {
		r.body = k.encodeError(buf, text)
	}
	r.fields = append(r.fields, field{"Micro-Error", text}, field{"X-Micro-Error", text})
	if e.Refused {
		r.fields = append(r.fields, field{refusedKey, "true"})
	}
	if k.req.form.kind == formGRPC {
		code := e.GRPCCode()
		if code == errors.CodeOK {
			code = errors.CodeUnknown
		}
		r.fields = append(r.fields, field{"Grpc-Status", strconv.Itoa(int(code))}, field{"Grpc-Message", text})
	}
	return r
}

// append appends the reply as an HTTP response.
func (r *reply) append(dst []byte, q *request, last bool) []byte {
	if q.old {
		dst = append(dst, "HTTP/1.0 200 OK\r\nContent-Length: "...)
	} else {
		dst = append(dst, "HTTP/1.1 200 OK\r\nContent-Length: "...)
	}
	dst = strconv.AppendInt(dst, int64(len(r.body)), 10)
	dst = append(dst, "\r\n"...)
	for _, f := range r.fields {
		dst = appendField(dst, f.key, f.value)
	}
	if last {
		dst = append(dst, "Connection: close\r\n"...)
	}
	dst = append(dst, "\r\n"...)
	if q.head {
		return dst
	}
	return append(dst, r.body...)
}
