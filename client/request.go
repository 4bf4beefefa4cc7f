package client

import (
	"context"
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
	parts             *parts // nil before the client's first call
}

func (r *request) Service() string     { return r.service }
func (r *request) Method() string      { return r.endpoint }
func (r *request) Endpoint() string    { return r.endpoint }
func (r *request) ContentType() string { return r.opts.ContentType }
func (r *request) Body() any           { return r.body }
func (r *request) Stream() bool        { return r.opts.Stream }

func (r *request) Codec() codec.Codec {
	var t codecs.Table
	if r.parts != nil {
		t = r.parts.codecs
	}
	c, err := t.Find(r.opts.ContentType, r.body)
	if err != nil {
		return nil
	}
	return c
}

// routed makes a call through the Router.
func (c *client) routed(ctx context.Context, p *parts, w *work) error {
	rsp, err := p.router.SendRequest(ctx, w.request(p))
	if err != nil {
		return errors.From(clientId, err)
	}
	b, err := rsp.Read()
	if err != nil {
		return errors.From(clientId, err)
	}
	if err := rsp.Codec().Unmarshal(b, w.rsp); err != nil {
		return errors.Wrap(clientId, errors.CodeInternal, err)
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
	if accept, err := p.codecs.Find(w.contentType, w.body); err == nil {
		w.header = append(w.header.Clone(), metadata.Field{Key: "accept", Value: accept.Name()})
	}
	c.budget.call()
	var tried *Tried
	var last *registry.Node
	for n := 0; ; n++ {
		start := time.Now()
		s, node, err := c.open(ctx, p, &w, last, n, start)
		if err == nil {
			return s, nil
		}
		again, err := c.again(ctx, p, &w, n, err)
		if !again || n >= call.Retries || !c.budget.spend(time.Now()) {
			return nil, c.failed(p, &w, &tried, node.Node, time.Since(start), err)
		}
		if tried == nil {
			tried = &Tried{Service: w.service, Endpoint: w.endpoint}
		}
		a := Attempt{Took: time.Since(start), Err: err}
		if node.Node != nil {
			a.Node, a.Address = node.Node.Id, node.Node.Address
		}
		tried.Attempts = append(tried.Attempts, a)
		last = node.Node
		if err := c.backoff(ctx, p, &w, n+1); err != nil {
			return nil, c.failed(p, &w, &tried, nil, 0, err)
		}
	}
}

// open makes one attempt to open a stream.
func (c *client) open(ctx context.Context, p *parts, w *work, avoid *registry.Node, n int, start time.Time) (*stream, chosen, error) {
	pick, strict, err := c.choose(ctx, p, w, avoid, n)
	if err != nil {
		return nil, pick, err
	}
	for fresh := false; ; fresh = true {
		conn, peer, err := c.connection(ctx, p, w, pick.Node.Address)
		if err != nil {
			pick.done(time.Since(start), err)
			return nil, pick, err
		}
		sock, err := conn.Open(ctx, transport.Request{Method: transport.Method{Service: w.service, Endpoint: w.endpoint, Strict: strict}, Header: w.header})
		if err == nil {
			s := &stream{sock: sock, parts: p, req: w.req, ctype: w.contentType}
			s.ended = func(err error) { pick.done(0, err) }
			// However the program treats the stream, its node hears of the end.
			context.AfterFunc(sock.Context(), func() { s.finish(nil) })
			return s, pick, nil
		}
		if conn.Err() != nil {
			peer.drop(conn)
			if !fresh {
				continue
			}
		}
		pick.done(time.Since(start), err)
		return nil, pick, err
	}
}

// stream implements Stream and CloseSender.
type stream struct {
	sock  transport.Socket
	parts *parts
	req   Request
	ctype string // "" follows each message
	ended func(error)
	once  sync.Once

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

// fail notes an error of Send or Recv. over says that it ends the stream.
func (s *stream) fail(err error, over bool) error {
	if err == nil {
		return nil
	}
	if err != io.EOF {
		s.mu.Lock()
		s.err = err
		s.mu.Unlock()
	}
	if over {
		s.finish(err)
	}
	return err
}

// finish tells the selector, once, how the stream ended.
func (s *stream) finish(err error) {
	if err == io.EOF {
		err = nil
	}
	s.once.Do(func() { s.ended(err) })
}

func (s *stream) Send(v any) error {
	enc, err := s.parts.codecs.Find(s.ctype, v)
	if err != nil {
		return s.fail(errors.Wrap(clientId, errors.CodeInvalidArgument, err), false)
	}
	return s.fail(s.sock.Send(transport.Message{Value: v, Codec: enc}), false)
}

func (s *stream) Recv(v any) error {
	body, err := s.sock.Recv()
	if err != nil {
		return s.fail(err, true)
	}
	defer body.Release()
	dec, err := s.parts.codecs.Find(body.ContentType, v)
	if err == nil {
		err = dec.Unmarshal(body.Data, v)
	}
	if err != nil {
		return s.fail(errors.Wrap(clientId, errors.CodeInternal, err), false)
	}
	return nil
}

func (s *stream) CloseSend() error { return s.sock.CloseSend() }

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
	err := s.sock.CloseSend()
	if s.sock.Context().Err() == nil {
		timer := time.AfterFunc(closeGrace, s.sock.Reset)
		context.AfterFunc(s.sock.Context(), func() { timer.Stop() })
	}
	s.finish(nil)
	return err
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
		return nil, r.s.fail(err, true)
	}
	defer body.Release()
	return append([]byte(nil), body.Data...), nil
}
