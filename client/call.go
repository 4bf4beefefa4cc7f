package client

import (
	"context"
	stderrors "errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/seed-9a4e2794/micro/client/selector"
	"github.com/seed-9a4e2794/micro/codec"
	"github.com/seed-9a4e2794/micro/errors"
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
				return c.failed(p, &w, &tried, nil, 0, err)
			}
		}
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
			if tried == nil && node != nil && !own(err) {
				return err // what the handler returned
			}
			return c.failed(p, &w, &tried, node, time.Since(start), err)
		}
		if tried == nil {
			tried = &Tried{Service: w.service, Endpoint: w.endpoint}
		}
		a := Attempt{Took: time.Since(start), Err: err}
		if node != nil {
			a.Node, a.Address = node.Id, node.Address
		}
		if n >= w.opts.Retries || !c.budget.spend(time.Now()) {
			tried.Spent = n < w.opts.Retries
			return c.failed(p, &w, &tried, node, a.Took, err)
		}
		tried.Attempts = append(tried.Attempts, a)
		last = node
	}
}

// own reports whether an error was made on this side of the wire.
func own(err error) bool {
	e, ok := err.(*errors.Error)
	return !ok || stderrors.Unwrap(e) != nil || e.Refused
}

// failed makes the error of a call that is given up.
func (c *client) failed(p *parts, w *work, tried **Tried, node *registry.Node, took time.Duration, err error) error {
	t := *tried
	if t == nil {
		t = &Tried{Service: w.service, Endpoint: w.endpoint}
	}
	a := Attempt{Took: took, Err: err}
	if node != nil {
		a.Node, a.Address = node.Id, node.Address
	}
	t.Attempts = append(t.Attempts, a)
	e := errors.From(clientId, err)
	out := errors.Wrap(e.Id, e.GRPCCode(), t)
	out.Details = e.Details
	if e.GRPCCode() == errors.CodeUnknown {
		switch {
		case stderrors.Is(err, registry.ErrNotFound):
			out = errors.Wrap(clientId, errors.CodeNotFound, t)
		default:
			out = errors.Wrap(clientId, errors.CodeUnavailable, t)
		}
	}
	return out
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
			return errors.NewCode(clientId, errors.CodeDeadlineExceeded, "the next attempt would be in %v, the call's time ends in %v", pause.Round(time.Millisecond), left.Round(time.Millisecond))
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

// choose returns the node for an attempt, and whether it must be of the
// service: not when the caller gave the address.
func (c *client) choose(ctx context.Context, p *parts, w *work, avoid *registry.Node, n int) (chosen, bool, error) {
	if len(w.opts.Address) > 0 {
		addr := pickAddress(w.opts.Address, avoid, n)
		return chosen{Choice: selector.Choice{Node: &registry.Node{Id: addr, Address: addr}}}, false, nil
	}
	pick, err := p.pick(ctx, w, avoid)
	return pick, true, err
}

// pickAddress picks one of the addresses that the caller gave, another one
// for each attempt.
func pickAddress(addrs []string, avoid *registry.Node, n int) string {
	if len(addrs) == 1 {
		return addrs[0]
	}
	if avoid != nil {
		for i, a := range addrs {
			if a == avoid.Address {
				return addrs[(i+1)%len(addrs)]
			}
		}
	}
	return addrs[(rand.IntN(len(addrs))+n)%len(addrs)]
}

// chosen is a picked node with whoever wants to know how the attempt ended.
type chosen struct {
	selector.Choice
	marker  selector.Selector // not nil for selectors that only have Mark
	service string
}

func (c *chosen) done(took time.Duration, err error) {
	if c.marker != nil {
		c.marker.Mark(c.service, c.Node, err)
		return
	}
	c.Done(took, err)
}

// tryPicker picks a node if it need not wait.
type tryPicker interface {
	TryPick(service string, avoid *registry.Node) (selector.Choice, bool)
}

// optionPicker picks with options.
type optionPicker interface {
	PickWith(ctx context.Context, service string, avoid *registry.Node, opts ...selector.SelectOption) (selector.Choice, error)
}

// pick picks a node, within the call's time. Only the first pick of a service
// waits, and only that one needs a context with a deadline.
func (p *parts) pick(ctx context.Context, w *work, avoid *registry.Node) (chosen, error) {
	options := len(w.opts.SelectOptions) > 0
	if !options && p.try != nil {
		if c, ok := p.try.TryPick(w.service, avoid); ok {
			return chosen{Choice: c}, nil
		}
	}
	if !w.deadline.IsZero() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, w.deadline)
		defer cancel()
	}
	if !options && p.picker != nil {
		c, err := p.picker.Pick(ctx, w.service, avoid)
		return chosen{Choice: c}, err
	}
	if options && p.with != nil {
		c, err := p.with.PickWith(ctx, w.service, avoid, w.opts.SelectOptions...)
		return chosen{Choice: c}, err
	}
	next, err := p.selector.Select(ctx, w.service, w.opts.SelectOptions...)
	if err != nil {
		return chosen{}, err
	}
	node, err := next()
	return chosen{Choice: selector.Choice{Node: node}, marker: p.selector, service: w.service}, err
}

// callNode makes one attempt at a node, through the call wrappers.
func (c *client) callNode(ctx context.Context, p *parts, w *work, node *registry.Node, strict bool) error {
	if len(w.opts.CallWrappers) == 0 {
		return c.send(ctx, p, w, node, strict)
	}
	f := CallFunc(func(ctx context.Context, node *registry.Node, req Request, rsp any, opts CallOptions) error {
		inner := *w
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
	reply, err := c.exchange(ctx, p, w, node, transport.Request{
		Method:  transport.Method{Service: w.service, Endpoint: w.endpoint, Strict: strict},
		Message: transport.Message{Value: w.body, Codec: enc}, Header: w.header, Deadline: w.deadline,
	})
	if w.opts.header != nil {
		*w.opts.header = reply.Header
	}
	if w.opts.trailer != nil {
		*w.opts.trailer = reply.Trailer
	}
	if err != nil {
		return err
	}
	err = decode(p, reply.Body, enc, w.rsp)
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
	dec := enc
	if body.ContentType != "" && body.ContentType != enc.Name() {
		var err error
		if dec, err = p.codecs.Find(body.ContentType, v); err != nil {
			return err
		}
	} else if body.ContentType == "" && len(body.Data) == 0 {
		return nil
	}
	return dec.Unmarshal(body.Data, v)
}

// exchange makes a unary call on the connection to a node. A connection that
// has ended is replaced once: that is no failure of the node.
func (c *client) exchange(ctx context.Context, p *parts, w *work, node *registry.Node, r transport.Request) (transport.Reply, error) {
	for fresh := false; ; fresh = true {
		conn, n, err := c.connection(ctx, p, w, node.Address)
		if err != nil {
			return transport.Reply{}, err
		}
		reply, err := conn.Call(ctx, r)
		if err == nil {
			return reply, nil
		}
		if conn.Err() == nil {
			return reply, err
		}
		n.drop(conn)
		if fresh || !stderrors.Is(err, errors.ErrRefused) {
			return reply, err
		}
	}
}

// connection returns the connection to an address, within the call's time.
func (c *client) connection(ctx context.Context, p *parts, w *work, addr string) (*held, *peer, error) {
	n, err := c.pool.peer(addr)
	if err != nil {
		return nil, nil, err
	}
	if conn := n.conn.Load(); conn != nil {
		return conn, n, nil
	}
	if !w.deadline.IsZero() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, w.deadline)
		defer cancel()
	}
	timeout := w.opts.DialTimeout
	if timeout <= 0 {
		timeout = DefaultDialTimeout
	}
	conn, err := c.pool.connect(ctx, n, p.transport, addr, timeout)
	return conn, n, err
}
