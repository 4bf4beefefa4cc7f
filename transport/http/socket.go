package http

import (
	"context"
	stderrors "errors"
	"io"
	nethttp "net/http"
	"sync"
	"time"

	"connectrpc.com/connect"

	"github.com/seed-9a4e2794/micro/errors"
	"github.com/seed-9a4e2794/micro/metadata"
	"github.com/seed-9a4e2794/micro/transport"
)

// stream returns what answers the streams of a path.
func (h *Handler) stream(path string, rt *route) nethttp.Handler {
	// The kind matters to connect only in that it takes no stream both ways
	// over HTTP/1.1, where this one works in one direction at a time. The
	// interceptor has the connection to itself.
	takeover := streamInterceptor(func(ctx context.Context, conn connect.StreamingHandlerConn) error {
		return h.serveStream(ctx, rt, conn)
	})
	opts := append(h.takes[:len(h.takes):len(h.takes)], connect.WithInterceptors(takeover))
	inner := connect.NewServerStreamHandler(path, func(context.Context, *connect.Request[message], *connect.ServerStream[message]) error {
		return errNoMessage // the interceptor does not call it
	}, opts...)
	return h.streamBounds(nethttp.HandlerFunc(func(w nethttp.ResponseWriter, r *nethttp.Request) {
		if r.ProtoMajor == 1 {
			rc := nethttp.NewResponseController(w)
			// A stream lasts as long as it lasts. Where neither can be set, the
			// server's own limits hold.
			_ = rc.SetReadDeadline(time.Time{})
			_ = rc.EnableFullDuplex()
		}
		inner.ServeHTTP(w, r)
	}))
}

// streamInterceptor takes the streams of a handler over.
type streamInterceptor func(context.Context, connect.StreamingHandlerConn) error

// WrapUnary implements connect.Interceptor.
func (streamInterceptor) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc { return next }

// WrapStreamingClient implements connect.Interceptor.
func (streamInterceptor) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

// WrapStreamingHandler implements connect.Interceptor.
func (f streamInterceptor) WrapStreamingHandler(connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return connect.StreamingHandlerFunc(f)
}

// serveStream serves one stream on the goroutine of its request.
func (h *Handler) serveStream(ctx context.Context, rt *route, conn connect.StreamingHandlerConn) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c := &callContext{Context: ctx, request: conn.RequestHeader(), protocol: protocolName(conn.Peer().Protocol)}
	s := &socket{h: h, rt: rt, ctx: c, cancel: cancel, conn: conn}
	h.serve(s)
	return s.end(fromGoMicro(c.request))
}

// socket is a stream at the handler's side.
type socket struct {
	h      *Handler
	rt     *route
	ctx    *callContext
	cancel context.CancelFunc
	conn   connect.StreamingHandlerConn

	recv sync.Mutex // held to receive

	send     sync.Mutex // held to send
	began    bool       // the header has been sent
	finished bool
	err      error // what the handler finished with
}

var _ transport.Socket = (*socket)(nil)

func (s *socket) Context() context.Context { return s.ctx }
func (s *socket) Method() transport.Method { return s.rt.asked(s.ctx.request) }
func (s *socket) Unary() bool              { return false }

// Recv returns the next message.
func (s *socket) Recv() (transport.Body, error) {
	s.recv.Lock()
	defer s.recv.Unlock()
	if err := s.ctx.Err(); err != nil {
		return transport.Body{}, err
	}
	m := new(message)
	if err := s.conn.Receive(m); err != nil {
		return transport.Body{}, s.received(err)
	}
	body := m.take()
	s.h.called(s.rt.untagged, body.ContentType)
	return body, nil
}

// received turns an error of connect's into one of the contract.
func (s *socket) received(err error) error {
	if ended := s.ctx.Err(); ended != nil {
		return ended // and not well, even where the messages have
	}
	if stderrors.Is(err, io.EOF) {
		return io.EOF
	}
	var ce *connect.Error
	if stderrors.As(err, &ce) {
		e := errors.Wrap(handlerId, errors.Code(ce.Code()), err)
		e.Detail = ce.Message()
		return e
	}
	return err
}

// Send sends a message, and the header with the first.
func (s *socket) Send(m transport.Message) error {
	s.send.Lock()
	defer s.send.Unlock()
	if s.finished {
		return transport.ErrClosed
	}
	return s.sendLocked(m)
}

// sendLocked is Send with the lock held.
func (s *socket) sendLocked(m transport.Message) error {
	if err := s.ctx.Err(); err != nil {
		return err
	}
	s.begin()
	out, err := encoded(m, s.h.cfg.MaxMessage)
	if err != nil {
		return err
	}
	if err := s.conn.Send(out); err != nil {
		return s.received(err)
	}
	return nil
}

// begin sets the header of the reply. The lock is held.
func (s *socket) begin() {
	if !s.began {
		s.began = true
		toHTTP(s.conn.ResponseHeader(), s.ctx.reply.Header())
	}
}

func (s *socket) CloseSend() error                 { return nil }
func (s *socket) Trailer() metadata.Header         { return nil }
func (s *socket) Header() (metadata.Header, error) { return headerOf(s.ctx), nil }
func (s *socket) Local() string                    { return peerOf(s.ctx).Local }
func (s *socket) Remote() string                   { return peerOf(s.ctx).Remote }

// Finish keeps how the call ended; it is sent when the handler has returned.
func (s *socket) Finish(last *transport.Message, err error) error {
	s.send.Lock()
	defer s.send.Unlock()
	if s.finished {
		return nil
	}
	var sent error
	if last != nil {
		if sent = s.sendLocked(*last); sent != nil && err == nil {
			err = sent
		}
	}
	s.finished, s.err = true, err
	return sent
}

// Reset ends the call.
func (s *socket) Reset() {
	s.send.Lock()
	if !s.finished {
		s.finished, s.err = true, errors.NewCode(handlerId, errors.CodeCanceled, "the call was reset")
	}
	s.send.Unlock()
	s.cancel()
}

// end returns what connect is to send last.
func (s *socket) end(goMicro bool) error {
	s.send.Lock()
	defer s.send.Unlock()
	s.begin()
	toHTTP(s.conn.ResponseTrailer(), s.ctx.reply.Trailer())
	if s.err == nil {
		return nil
	}
	return toConnect(s.err, goMicro)
}
