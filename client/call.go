package client

import (
	"context"
	stderrors "errors"
	"fmt"
	"time"

	"github.com/seed-9a4e2794/micro/codec"
	"github.com/seed-9a4e2794/micro/codec/json"
	"github.com/seed-9a4e2794/micro/errors"
	"github.com/seed-9a4e2794/micro/internal/codecs"
	"github.com/seed-9a4e2794/micro/metadata"
	"github.com/seed-9a4e2794/micro/registry"
	"github.com/seed-9a4e2794/micro/transport"
)

// clientId is the Id of errors that the client makes.
const clientId = "go.micro.client"

// work is one call on its way. It is passed by value or stays on the caller's
// stack.
type work struct {
	service, endpoint string
	contentType       string
	body, rsp         any
	req               Request // nil until a wrapper or function wants to see it
	header            metadata.Header
	deadline          time.Time
	opts              *CallOptions
	more              bool // another attempt may follow this one
}

func (c *client) Call(ctx context.Context, req Request, rsp any, opts ...CallOption) error {
	return c.do(ctx, work{service: req.Service(), endpoint: req.Endpoint(), contentType: req.ContentType(), body: req.Body(), rsp: rsp, req: req}, opts)
}

// Invoker is a power of the client of this package: a call without a Request
// of its own.
type Invoker interface {
	Invoke(ctx context.Context, service, endpoint string, req, rsp any, opts ...CallOption) error
}

// Invoke makes a call; see Client.Call.
func (c *client) Invoke(ctx context.Context, service, endpoint string, req, rsp any, opts ...CallOption) error {
	return c.do(ctx, work{service: service, endpoint: endpoint, body: req, rsp: rsp}, opts)
}

// do makes a call with all its attempts.
func (c *client) do(ctx context.Context, w work, opts []CallOption) error {
	p, err := c.parts()
	if err != nil {
		return errors.Wrap(clientId, errors.CodeUnavailable, err)
	}
	w.opts = &p.call
	if len(opts) > 0 {
		own := p.call
		for _, f := range opts {
			f(&own)
		}
		w.opts = &own
	}
	if p.router != nil {
		return c.routed(ctx, p, &w)
	}
	began := time.Now()
	if _, has := ctx.Deadline(); !has && w.opts.RequestTimeout > 0 {
		w.deadline = began.Add(w.opts.RequestTimeout)
	}
	w.header = p.header(ctx)
	c.budget.call()
	var tried *Tried
	var last *registry.Node
	for n := 0; ; n++ {
		if n > 0 || w.opts.Backoff != nil {
			if err := c.backoff(ctx, p, &w, n); err != nil {
				return failed(&w, tried, nil, 0, err)
			}
		}
		w.more = n < w.opts.Retries
		start := began
		if n > 0 {
			start = time.Now()
		}
		node, err := c.attempt(ctx, p, &w, last, n, start)
		if err == nil {
			return nil
		}
		again, err := c.again(ctx, p, &w, n, err)
		if !again {
			if node != nil && !own(err) {
				return err // what the handler returned
			}
			return failed(&w, tried, node, time.Since(start), err)
		}
		tried = w.tried(tried, node, time.Since(start), err)
		if !w.more || !c.budget.spend(time.Now()) {
			tried.Spent = w.more
			return tried.failed()
		}
		last = node
	}
}

// again decides about a further attempt. Its error replaces err.
func (c *client) again(ctx context.Context, p *parts, w *work, n int, err error) (bool, error) {
	if ctx.Err() != nil {
		return false, err
	}
	if !w.deadline.IsZero() && !time.Now().Before(w.deadline) {
		return false, err
	}
	if w.opts.Retry != nil {
		again, rerr := w.opts.Retry(ctx, w.request(p), n, err)
		if rerr != nil {
			return false, rerr
		}
		return again, err
	}
	if RetryRefused(err) {
		return true, err
	}
	return w.opts.Idempotent && stderrors.Is(err, transport.ErrLost), err
}

// backoff waits before attempt n.
func (c *client) backoff(ctx context.Context, p *parts, w *work, n int) error {
	pause := defaultBackoff(n)
	if w.opts.Backoff != nil {
		var err error
		if pause, err = w.opts.Backoff(ctx, w.request(p), n); err != nil {
			return errors.Wrap(clientId, errors.CodeInternal, err)
		}
	}
	if pause <= 0 {
		return nil
	}
	if !w.deadline.IsZero() {
		if left := time.Until(w.deadline); left < pause {
			return fmt.Errorf("the next attempt would be in %v, the call's time ends in %v: %w", pause.Round(time.Millisecond), left.Round(time.Millisecond), context.DeadlineExceeded)
		}
	}
	t := time.NewTimer(pause)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// attempt makes one attempt. The node is nil when none could be picked.
func (c *client) attempt(ctx context.Context, p *parts, w *work, avoid *registry.Node, n int, start time.Time) (*registry.Node, error) {
	pick, strict, err := c.choose(ctx, p, w, avoid, n)
	if err != nil {
		return nil, err
	}
	err = c.callNode(ctx, p, w, pick.Node, strict)
	pick.done(time.Since(start), err)
	return pick.Node, err
}

// callNode makes one attempt at a node, through the call wrappers.
func (c *client) callNode(ctx context.Context, p *parts, w *work, node *registry.Node, strict bool) error {
	if len(w.opts.CallWrappers) == 0 {
		return c.send(ctx, p, w, node, strict)
	}
	return c.wrapped(ctx, p, *w, node, strict)
}

// wrapped makes one attempt through the call wrappers. It has a work of its
// own: what the wrappers keep must not keep the caller's off its stack.
func (c *client) wrapped(ctx context.Context, p *parts, w work, node *registry.Node, strict bool) error {
	f := CallFunc(func(ctx context.Context, node *registry.Node, req Request, rsp any, opts CallOptions) error {
		inner := w
		inner.service, inner.endpoint, inner.contentType = req.Service(), req.Endpoint(), req.ContentType()
		inner.body, inner.rsp, inner.req, inner.opts = req.Body(), rsp, req, &opts
		inner.header = p.header(ctx)
		return c.send(ctx, p, &inner, node, strict)
	})
	for i := len(w.opts.CallWrappers) - 1; i >= 0; i-- {
		f = w.opts.CallWrappers[i](f)
	}
	return f(ctx, node, w.request(p), w.rsp, *w.opts)
}

// request returns the call as a Request.
func (w *work) request(p *parts) Request {
	if w.req == nil {
		w.req = &request{service: w.service, endpoint: w.endpoint, body: w.body, opts: RequestOptions{ContentType: w.contentType}, parts: p}
	}
	return w.req
}

// send sends the call over the wire and decodes the answer.
func (c *client) send(ctx context.Context, p *parts, w *work, node *registry.Node, strict bool) error {
	ctype := w.contentType
	if ctype == "" {
		ctype = p.contentType
	}
	enc, err := p.codecs.Find(ctype, w.body)
	if err != nil {
		return errors.Wrap(clientId, errors.CodeInvalidArgument, err)
	}
	to := w.target(node)
	r := transport.Request{
		Method:  transport.Method{Service: w.service, Endpoint: w.endpoint, Strict: strict},
		Message: transport.Message{Value: w.body, Codec: enc}, Header: w.header, Deadline: w.deadline,
	}
	if ctype == "" && enc == codec.Codec(json.Codec{}) {
		r.Message.Codec = w.plain(p, node, to, enc)
	}
	reply, err := c.exchange(ctx, p, w, to, r)
	if err != nil && r.Message.Codec != enc && (codecs.IsMismatch(err) || stderrors.Is(err, codec.ErrType)) {
		if codecs.IsMismatch(err) {
			p.mismatched.add(node, r.Message.Codec.Name())
		}
		r.Message.Codec = enc
		reply, err = c.exchange(ctx, p, w, to, r)
	}
	if w.opts.header != nil {
		*w.opts.header = reply.Header
	}
	if w.opts.trailer != nil {
		*w.opts.trailer = reply.Trailer
	}
	if err != nil {
		return err
	}
	err = decode(p, reply.Body, r.Message.Codec, w.rsp)
	reply.Body.Release()
	if err != nil {
		return errors.Wrap(clientId, errors.CodeInternal, fmt.Errorf("%s %s: the answer is not what was asked for: %w", w.service, w.endpoint, err))
	}
	return nil
}

// decode decodes a body into v. A nil v wants nothing.
func decode(p *parts, body transport.Body, enc codec.Codec, v any) error {
	if v == nil {
		return nil
	}
	ctype := body.ContentType
	if ctype == "" {
		if len(body.Data) == 0 {
			return nil
		}
		ctype = enc.Name()
	}
	if pair, ok := enc.(*codecs.Pair); ok && ctype == pair.Name() {
		return pair.Unmarshal(body.Data, v)
	}
	// Not enc itself: a raw frame may have been sent for a value, or a value
	// for a raw frame.
	dec, err := p.codecs.Find(ctype, v)
	if err != nil {
		return err
	}
	return dec.Unmarshal(body.Data, v)
}

// exchange makes a unary call on the connection to a node. A connection that
// has ended is replaced once: that is no failure of the node.
func (c *client) exchange(ctx context.Context, p *parts, w *work, to target, r transport.Request) (transport.Reply, error) {
	for fresh := false; ; fresh = true {
		conn, n, err := c.connection(ctx, p, w, to)
		if err != nil {
			return transport.Reply{}, err
		}
		conn.begin()
		reply, err := conn.Call(ctx, r)
		over := err != nil && conn.Err() != nil
		if over {
			c.pool.drop(n, conn)
		}
		c.pool.end(conn)
		if !over || fresh || !stderrors.Is(err, errors.ErrRefused) {
			return reply, err
		}
	}
}

// connection returns the connection to a node, within the call's time.
func (c *client) connection(ctx context.Context, p *parts, w *work, to target) (*held, *peer, error) {
	for {
		n, err := c.pool.peer(to)
		if err != nil {
			return nil, nil, err
		}
		if conn := n.conn.Load(); conn != nil {
			return conn, n, nil
		}
		conn, err := c.connect(ctx, p, w, n, to)
		if err != errForgotten {
			return conn, n, err
		}
	}
}

// connect waits for a connection that is being made. A call that may make
// another attempt keeps half of its time for that: a machine that is gone
// refuses nothing, it is silent.
func (c *client) connect(ctx context.Context, p *parts, w *work, n *peer, to target) (*held, error) {
	dialer, err := p.dialer(to)
	if err != nil {
		return nil, err
	}
	timeout := w.opts.DialTimeout
	if timeout <= 0 {
		timeout = DefaultDialTimeout
	}
	end := w.deadline
	if d, ok := ctx.Deadline(); ok && (end.IsZero() || d.Before(end)) {
		end = d
	}
	patience := timeout
	if !end.IsZero() {
		left := time.Until(end)
		if w.more {
			left /= 2
		}
		patience = min(patience, left)
	}
	wait, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	conn, err := c.pool.connect(wait, n, dialer, to.addr, timeout)
	if err == context.DeadlineExceeded && ctx.Err() == nil && (end.IsZero() || time.Now().Before(end)) {
		err = unconnected(to.addr, patience)
	}
	return conn, err
}
