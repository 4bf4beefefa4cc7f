package mucp

import (
	"context"
	"fmt"
	"strings"

	"github.com/seed-9a4e2794/micro/errors"
	"github.com/seed-9a4e2794/micro/internal/ctxkey"
	"github.com/seed-9a4e2794/micro/metadata"
	"github.com/seed-9a4e2794/micro/transport"
)

// call is one call at the server, and the context its handler gets.
type call struct {
	context.Context // ends with the call; the values are call's own
	cancel          context.CancelFunc

	req    request
	env    envelope
	peer   *transport.Peer
	header metadata.Header
	reply  metadata.Reply
	body   []byte
}

// newCall returns the call of a request whose body has been read. base is
// where its end comes from.
func newCall(base context.Context, q request, peer *transport.Peer) *call {
	k := &call{req: q, peer: peer, header: q.metadata()}
	if q.timeout > 0 && q.stream == "" {
		k.Context, k.cancel = context.WithTimeout(base, q.timeout)
	} else {
		k.Context, k.cancel = context.WithCancel(base)
	}
	return k
}

// Value implements context.Context: the keys that belong to a call.
func (k *call) Value(key any) any {
	switch key.(type) {
	case ctxkey.Header:
		if len(k.header) > 0 {
			return &k.header
		}
		return nil
	case ctxkey.Reply:
		return &k.reply
	case ctxkey.Peer:
		return k.peer
	}
	return k.Context.Value(key) // package context asks for its own
}

// open takes the envelope off the body.
func (k *call) open(body []byte) error {
	env, message, err := k.req.form.unwrap(body, false)
	if err != nil {
		e, ok := err.(*errors.Error)
		if !ok {
			e = errors.NewCode(serverId, errors.CodeInvalidArgument, "%v", err)
		}
		return e
	}
	if k.req.endpoint == "" {
		k.req.endpoint = env.method
	}
	k.env, k.body = env, message
	return nil
}

func (k *call) method() transport.Method {
	return transport.Method{Service: k.req.service, Endpoint: k.req.endpoint, Strict: k.req.strict}
}

// errEnded answers a call whose handler did not return.
func errEnded() error {
	return errors.NewCode(serverId, errors.CodeInternal, "the handler ended its goroutine without an answer")
}

// answer runs the handler of a unary call and gives its outcome to respond,
// once, whatever the handler does.
func (s *Server) answer(k *call, respond func(m transport.Message, err error) error) {
	if k.req.topic != "" {
		_ = respond(transport.Message{}, errors.NewCode(serverId, errors.CodeUnimplemented,
			"events of topic %q are not taken here as calls", k.req.topic)) // fails with the connection
		return
	}
	unary, err := s.unary(&k.req)
	if err == nil {
		err = s.known(&k.req)
	}
	if err != nil {
		_ = respond(transport.Message{}, err) // fails with the connection
		return
	}
	if unary == nil {
		sock := &unarySocket{call: k, respond: respond}
		err := errEnded()
		defer func() { _ = sock.Finish(nil, err) }() // does nothing when it has finished
		s.serve(sock)
		err = nil
		return
	}
	var m transport.Message
	err = errEnded()
	defer func() { _ = respond(m, err) }() // fails with the connection
	m, err = unary(k, bodyOf(k.body, k.req.form.inner))
}

// notWellFormed is the error of a name that is none, in the words of go-micro.
func notWellFormed(endpoint string) error {
	return &errors.Error{Detail: illFormed + clean(endpoint)}
}

// twoParts reports whether a name is Handler.Method.
func twoParts(endpoint string) bool {
	a, b, ok := strings.Cut(endpoint, ".")
	return ok && a != "" && b != "" && !strings.Contains(b, ".")
}

// encode appends the HTTP body of a reply. Its error is the reply then.
func (k *call) encode(dst []byte, m transport.Message, limit int) ([]byte, error) {
	f := k.req.form
	if m.Codec != nil {
		if name := base(m.Codec.Name()); name != f.inner {
			return dst, errors.NewCode(serverId, errors.CodeInternal, "%s answers in %s: a go-micro caller takes the encoding of its request, %s",
				k.req.endpoint, name, f.inner)
		}
	}
	from := len(dst)
	var err error
	if f.kind == formPlain {
		dst, err = appendValue(dst, m)
	} else {
		var message []byte
		if message, err = appendValue(nil, m); err == nil {
			dst, err = f.wrap(dst, envelope{id: k.env.id, seq: k.env.seq}, true, message)
		}
	}
	if err != nil {
		return dst[:from], errors.Wrap(serverId, errors.CodeInternal, fmt.Errorf("%s: %w", k.req.endpoint, err))
	}
	if n := len(dst) - from; n > limit {
		return dst[:from], tooLarge(serverId, "reply", n, limit)
	}
	return dst, nil
}

// encodeError appends the HTTP body of an error: the envelope, where there is
// one.
func (k *call) encodeError(dst []byte, text string) []byte {
	switch k.req.form.kind {
	case formJSONRPC, formProtoRPC:
		out, err := k.req.form.wrap(dst, envelope{id: k.env.id, seq: k.env.seq, err: text}, true, nil)
		if err == nil {
			return out
		}
	}
	return dst
}
