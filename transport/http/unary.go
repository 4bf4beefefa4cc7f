package http

import (
	"context"
	"io"
	nethttp "net/http"

	"connectrpc.com/connect"

	"github.com/seed-9a4e2794/micro/errors"
	"github.com/seed-9a4e2794/micro/metadata"
	"github.com/seed-9a4e2794/micro/transport"
)

// unary returns what answers the unary calls of a path.
func (h *Handler) unary(path string, rt *route, u transport.Unary) nethttp.Handler {
	opts := h.takes
	if rt.safe {
		opts = append(opts[:len(opts):len(opts)], connect.WithIdempotency(connect.IdempotencyNoSideEffects))
	}
	return h.unaryBounds(connect.NewUnaryHandler(path, func(ctx context.Context, req *connect.Request[message]) (*connect.Response[message], error) {
		c := &callContext{Context: ctx, request: req.Header(), protocol: protocolName(req.Peer().Protocol)}
		body := req.Msg.take()
		h.called(rt.untagged, body.ContentType)
		m, err := u(c, body)
		if err == nil {
			// Connect's deadlines are in whole milliseconds, so this one may have
			// passed while the caller still waits.
			err = ctx.Err()
		}
		var out *message
		if err == nil {
			out, err = encoded(m, h.cfg.MaxMessage)
		}
		body.Release() // not before: the answer may hold what it was asked
		if err != nil {
			ce := toConnect(err, fromGoMicro(req.Header()))
			toHTTP(ce.Meta(), c.reply.Header())
			toHTTP(ce.Meta(), c.reply.Trailer())
			return nil, ce
		}
		rsp := connect.NewResponse(out)
		if head := c.reply.Header(); len(head) > 0 {
			toHTTP(rsp.Header(), head)
		}
		if trail := c.reply.Trailer(); len(trail) > 0 {
			toHTTP(rsp.Trailer(), trail)
		}
		return rsp, nil
	}, opts...), h.cfg.MaxMessage)
}

// socketUnary returns a function that serves a unary call as a Socket, for a
// Router.
func (h *Handler) socketUnary(rt *route) transport.Unary {
	return func(ctx context.Context, body transport.Body) (transport.Message, error) {
		s := &unarySocket{ctx: ctx, method: rt.method, body: &body}
		if c, ok := ctx.(*callContext); ok {
			s.method = rt.asked(c.request)
		}
		h.serve(s)
		return s.answer()
	}
}

// unarySocket is a unary call as a Socket. One goroutine uses it.
type unarySocket struct {
	ctx    context.Context
	method transport.Method
	body   *transport.Body // nil once it has been taken

	finished bool
	last     *transport.Message
	err      error
}

var _ transport.Socket = (*unarySocket)(nil)

func (s *unarySocket) Context() context.Context { return s.ctx }
func (s *unarySocket) Method() transport.Method { return s.method }
func (s *unarySocket) Unary() bool              { return true }

// Recv returns the request once. Its buffer stays the caller's.
func (s *unarySocket) Recv() (transport.Body, error) {
	if s.body == nil {
		return transport.Body{}, io.EOF
	}
	b := transport.NewBody(s.body.Data, s.body.ContentType, nil)
	s.body = nil
	return b, nil
}

// Send keeps the answer for Finish.
func (s *unarySocket) Send(m transport.Message) error {
	if s.last != nil || s.finished {
		return errors.NewCode(handlerId, errors.CodeInternal, "%s is a unary call and has been answered", s.method.Endpoint)
	}
	s.last = &m
	return nil
}

func (s *unarySocket) CloseSend() error                 { return nil }
func (s *unarySocket) Trailer() metadata.Header         { return nil }
func (s *unarySocket) Header() (metadata.Header, error) { return headerOf(s.ctx), nil }
func (s *unarySocket) Local() string                    { return peerOf(s.ctx).Local }
func (s *unarySocket) Remote() string                   { return peerOf(s.ctx).Remote }

// Finish keeps how the call ended.
func (s *unarySocket) Finish(last *transport.Message, err error) error {
	if s.finished {
		return nil
	}
	s.finished = true
	if last != nil {
		m := *last
		s.last = &m
	}
	s.err = err
	return nil
}

// Reset ends the call.
func (s *unarySocket) Reset() {
	_ = s.Finish(nil, errors.NewCode(handlerId, errors.CodeCanceled, "the call was reset"))
}

// answer returns what the call has ended with.
func (s *unarySocket) answer() (transport.Message, error) {
	switch {
	case s.err != nil:
		return transport.Message{}, s.err
	case s.last == nil:
		return transport.Message{}, nil
	}
	return *s.last, nil
}

// headerOf returns the metadata of a call.
func headerOf(ctx context.Context) metadata.Header {
	h, _ := metadata.HeaderFromContext(ctx)
	return h
}

// peerOf returns the peer of a call.
func peerOf(ctx context.Context) transport.Peer {
	if p, ok := transport.PeerFromContext(ctx); ok {
		return *p
	}
	return transport.Peer{}
}
