package client

import (
	"context"
	stderrors "errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/seed-9a4e2794/micro/codec"
	"github.com/seed-9a4e2794/micro/codec/bytes"
	"github.com/seed-9a4e2794/micro/errors"
	"github.com/seed-9a4e2794/micro/internal/codecs"
	"github.com/seed-9a4e2794/micro/metadata"
	"github.com/seed-9a4e2794/micro/registry"
	"github.com/seed-9a4e2794/micro/transport"
)

func (c *client) NewRequest(service, endpoint string, body any, opts ...RequestOption) Request {
	r := &request{service: service, endpoint: endpoint, body: body, parts: c.settled.Load()}
	if r.parts == nil { // no call has been made yet: what is set will do
		o := c.Options()
		r.parts = &parts{codecs: codecs.New(o.Codecs), contentType: o.ContentType}
	}
	for _, f := range opts {
		f(&r.opts)
	}
	return r
}

// request implements Request.
type request struct {
	service, endpoint string
	body              any
	opts              RequestOptions
	parts             *parts
}

func (r *request) Service() string     { return r.service }
func (r *request) Method() string      { return r.endpoint }
func (r *request) Endpoint() string    { return r.endpoint }
func (r *request) ContentType() string { return r.opts.ContentType }
func (r *request) Body() any           { return r.body }
func (r *request) Stream() bool        { return r.opts.Stream }

func (r *request) Codec() codec.Codec {
	ctype := r.opts.ContentType
	if ctype == "" {
		ctype = r.parts.contentType
	}
	c, err := r.parts.codecs.Find(ctype, r.body)
	if err != nil {
		return nil
	}
	return c
}

// routed makes a call through the Router.
func (c *client) routed(ctx context.Context, p *parts, w *work) error {
	if _, has := ctx.Deadline(); !has && w.opts.RequestTimeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, w.opts.RequestTimeout)
		defer cancel()
	}
	rsp, err := p.router.SendRequest(ctx, w.request(p))
	if err != nil {
		return errors.From(clientId, err)
	}
	b, err := rsp.Read()
	if err != nil {
		return errors.From(clientId, err)
	}
	if w.rsp == nil {
		return nil
	}
	if err := rsp.Codec().Unmarshal(b, w.rsp); err != nil {
		return errors.Wrap(clientId, errors.CodeInternal, fmt.Errorf("%s %s: the answer is not what was asked for: %w", w.service, w.endpoint, err))
	}
	return nil
}

// Stream opens a stream; see Client.
func (c *client) Stream(ctx context.Context, req Request, opts ...CallOption) (Stream, error) {
	p, err := c.parts()
	if err != nil {
		return nil, errors.Wrap(clientId, errors.CodeUnavailable, err)
	}
	call := p.call
	for _, f := range opts {
		f(&call)
	}
	// Only the opening has the request's timeout: how long a stream lives is
	// the context's to say.
	w := work{service: req.Service(), endpoint: req.Endpoint(), contentType: req.ContentType(), body: req.Body(), req: req, opts: &call}
	if w.contentType == "" {
		w.contentType = p.contentType
	}
	if call.RequestTimeout > 0 {
		w.deadline = time.Now().Add(call.RequestTimeout)
	}
	w.header = p.header(ctx)
	var enc codec.Codec // nil follows the first message
	if accept, err := p.codecs.Find(w.contentType, w.body); err == nil {
		w.header = w.header.Clone() // with room for one field more
		w.header.Set(acceptKey, accept.Name())
		if w.contentType != "" || w.body != nil {
			enc = accept
		}
	}
	c.budget.call()
	var tried *Tried
	var last *registry.Node
	for n := 0; ; n++ {
		if n > 0 || call.Backoff != nil {
			if err := c.backoff(ctx, p, &w, n); err != nil {
				return nil, failed(&w, tried, nil, 0, err)
			}
		}
		w.more = n < call.Retries
		start := time.Now()
		s, node, err := c.open(ctx, p, &w, enc, last, n, start)
		if err == nil {
			return s, nil
		}
		again, err := c.again(ctx, p, &w, n, err)
		tried = w.tried(tried, node, time.Since(start), err)
		if !again || !w.more || !c.budget.spend(time.Now()) {
			tried.Spent = again && w.more
			return nil, tried.failed()
		}
		last = node
	}
}

// open makes one attempt to open a stream. The node is nil when none could be
// picked.
func (c *client) open(ctx context.Context, p *parts, w *work, enc codec.Codec, avoid *registry.Node, n int, start time.Time) (*stream, *registry.Node, error) {
	pick, strict, err := c.choose(ctx, p, w, avoid, n)
	if err != nil {
		return nil, nil, err
	}
	s, err := c.openAt(ctx, p, w, enc, pick, strict)
	if err != nil {
		pick.done(time.Since(start), err)
	}
	return s, pick.Node, err
}

// openAt opens a stream at a node, whose connection, if it has ended, is
// replaced once. Protocols over HTTP say with the opening how all messages are
// encoded, which is as enc does.
func (c *client) openAt(ctx context.Context, p *parts, w *work, enc codec.Codec, pick chosen, strict bool) (*stream, error) {
	for fresh := false; ; fresh = true {
		conn, peer, err := c.connection(ctx, p, w, w.target(pick.Node))
		if err != nil {
			return nil, err
		}
		conn.begin()
		octx, opened, cancel := opening(ctx, w)
		sock, err := conn.Open(octx, transport.Request{Method: transport.Method{Service: w.service, Endpoint: w.endpoint, Strict: strict},
			Message: transport.Message{Codec: enc}, Header: w.header})
		if late := opened(); late && ctx.Err() == nil {
			if err == nil {
				sock.Reset()
			}
			err = errors.Wrap(clientId, errors.CodeDeadlineExceeded, fmt.Errorf("%s %s: the stream was not opened within its RequestTimeout of %v: %w",
				w.service, w.endpoint, w.opts.RequestTimeout, context.DeadlineExceeded))
		}
		if err != nil {
			cancel()
		} else {
			s := &stream{sock: sock, parts: p, req: w.req, ctype: w.contentType, cancel: cancel}
			// However the program treats the stream, its node hears of the end.
			context.AfterFunc(sock.Context(), func() {
				s.ended()
				pick.done(0, ending(sock, conn))
				c.pool.end(conn)
			})
			return s, nil
		}
		over := conn.Err() != nil
		if over {
			c.pool.drop(peer, conn)
		}
		c.pool.end(conn)
		if !over || fresh || !stderrors.Is(err, errors.ErrRefused) {
			return nil, err
		}
	}
}

// opening returns the context of a stream, which lives as long as ctx unless
// the time for opening ends first. opened must be called once the stream is
// open or has failed to; it reports whether that was too late. cancel must be
// called when the stream has ended.
func opening(ctx context.Context, w *work) (_ context.Context, opened func() bool, cancel context.CancelFunc) {
	ctx, cancel = context.WithCancel(ctx)
	if w.deadline.IsZero() {
		return ctx, func() bool { return false }, cancel
	}
	timer := time.AfterFunc(time.Until(w.deadline), cancel)
	return ctx, func() bool { return !timer.Stop() }, cancel
}

// ending says how a stream whose context has ended went, without taking
// messages from whoever still reads.
func ending(sock transport.Socket, conn *held) error {
	if _, err := sock.Header(); err != nil {
		return err
	}
	if err := conn.Err(); stderrors.Is(err, transport.ErrLost) {
		return err
	}
	return nil
}

// stream implements Stream and CloseSender.
type stream struct {
	sock  transport.Socket
	parts *parts
	req   Request
	ctype string // "" follows each message
	// cancel ends the context of the call. A server may end the stream before
	// its messages have been received here, which must not lose them: so it is
	// called when Recv has come to the end, or nobody will call Recv.
	cancel context.CancelFunc

	mu     sync.Mutex
	err    error
	closed bool
}

func (s *stream) Context() context.Context { return s.sock.Context() }
func (s *stream) Request() Request         { return s.req }

func (s *stream) Response() Response { return &streamResponse{s} }

func (s *stream) Error() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// fail notes an error of Send or Recv.
func (s *stream) fail(err error) error {
	if err != nil && err != io.EOF {
		s.mu.Lock()
		s.err = err
		s.mu.Unlock()
	}
	return err
}

func (s *stream) Send(v any) error {
	enc, err := s.parts.codecs.Find(s.ctype, v)
	if err != nil {
		return s.fail(errors.Wrap(clientId, errors.CodeInvalidArgument, err))
	}
	return s.fail(s.sock.Send(transport.Message{Value: v, Codec: enc}))
}

func (s *stream) Recv(v any) error {
	body, err := s.sock.Recv()
	if err != nil {
		if s.sock.Context().Err() != nil {
			s.cancel()
		}
		return s.fail(err)
	}
	defer body.Release()
	dec, err := s.parts.codecs.Find(body.ContentType, v)
	if err == nil {
		err = dec.Unmarshal(body.Data, v)
	}
	if err != nil {
		return s.fail(errors.Wrap(clientId, errors.CodeInternal, err))
	}
	return nil
}

func (s *stream) CloseSend() error { return s.sock.CloseSend() }

// ended lets go of the context when the stream has ended, unless messages may
// still be received.
func (s *stream) ended() {
	s.mu.Lock()
	closed := s.closed
	s.mu.Unlock()
	if closed {
		s.cancel()
	}
}

// closeGrace is how long a server may go on after Close.
const closeGrace = time.Second

func (s *stream) Close() error {
	s.mu.Lock()
	closed := s.closed
	s.closed = true
	s.mu.Unlock()
	if closed {
		return nil
	}
	if s.sock.Context().Err() != nil {
		s.cancel()
		return nil
	}
	// First, because a Send that waits for the server holds up CloseSend.
	timer := time.AfterFunc(closeGrace, s.sock.Reset)
	context.AfterFunc(s.sock.Context(), func() { timer.Stop() })
	if err := s.sock.CloseSend(); err != nil && err != io.EOF && s.sock.Context().Err() == nil {
		return err
	}
	return nil
}

// streamResponse implements Response.
type streamResponse struct{ s *stream }

func (r *streamResponse) Codec() codec.Codec {
	c, err := r.s.parts.codecs.Find(r.s.ctype, r.s.req.Body())
	if err != nil {
		return bytes.Codec{}
	}
	return c
}

func (r *streamResponse) Header() map[string]string {
	h, err := r.s.sock.Header()
	if err != nil {
		return nil
	}
	md := make(metadata.Metadata, len(h))
	for _, f := range h {
		if _, dup := md.Get(f.Key); !dup {
			md.Set(f.Key, f.Value)
		}
	}
	return md
}

func (r *streamResponse) Read() ([]byte, error) {
	body, err := r.s.sock.Recv()
	if err != nil {
		return nil, r.s.fail(err)
	}
	defer body.Release()
	return append([]byte(nil), body.Data...), nil
}
