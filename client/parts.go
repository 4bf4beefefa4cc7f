package client

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/seed-9a4e2794/micro/broker"
	"github.com/seed-9a4e2794/micro/broker/direct"
	"github.com/seed-9a4e2794/micro/client/selector"
	"github.com/seed-9a4e2794/micro/codec"
	"github.com/seed-9a4e2794/micro/internal/codecs"
	"github.com/seed-9a4e2794/micro/metadata"
	"github.com/seed-9a4e2794/micro/registry"
	"github.com/seed-9a4e2794/micro/registry/local"
	"github.com/seed-9a4e2794/micro/transport"
	"github.com/seed-9a4e2794/micro/transport/port"
)

// client implements Client.
type client struct {
	mu      sync.Mutex
	opts    Options
	closed  bool
	made    []func() error // closes the parts that this client made, in order
	events  broker.Broker  // the broker in use; nil before the first Publish
	settled atomic.Pointer[parts]
	inUse   *parts        // the last that were settled: registry, selector and transport stay
	joining chan struct{} // a token, held to connect the broker

	pool   pool
	budget budget

	available available
}

// parts is what calls work with: the options, made whole.
type parts struct {
	registry    registry.Registry
	selector    selector.Selector
	picker      selector.Picker // the selector, if it can
	try         tryPicker       // likewise
	with        optionPicker    // likewise
	transport   transport.Transport
	router      Router
	codecs      codecs.Table
	contentType string
	call        CallOptions
	from        metadata.Header
	mismatched  *mismatched
	log         *slog.Logger
}

func newClient(opts ...Option) *client {
	c := &client{opts: Options{
		PoolSize: DefaultPoolSize, PoolTTL: DefaultPoolTTL,
		CallOptions: CallOptions{Retries: DefaultRetries, RequestTimeout: DefaultRequestTimeout, DialTimeout: DefaultDialTimeout},
	}}
	for _, f := range opts {
		f(&c.opts)
	}
	c.joining = make(chan struct{}, 1)
	return c
}

// String returns "micro".
func (c *client) String() string { return "micro" }

func (c *client) Init(opts ...Option) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, f := range opts {
		f(&c.opts)
	}
	c.settled.Store(nil)
	return nil
}

func (c *client) Options() Options {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.opts
}

// parts returns what calls work with, making it at first use.
func (c *client) parts() (*parts, error) {
	if p := c.settled.Load(); p != nil {
		return p, nil
	}
	// The function has locks of its own, so it is called without this one.
	full := c.Options()
	if full.prepare != nil {
		if err := full.prepare(&full); err != nil {
			return nil, err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.settle(&full)
}

// settle makes the parts; what the options lack is taken from full. The lock is
// held.
func (c *client) settle(full *Options) (*parts, error) {
	if p := c.settled.Load(); p != nil {
		return p, nil
	}
	if c.closed {
		return nil, errClientClosed
	}
	o := &c.opts
	if c.inUse != nil { // watches, connections and subscriptions hang on these
		o.Registry, o.Selector, o.Transport = c.inUse.registry, c.inUse.selector, c.inUse.transport
	}
	if o.Registry == nil {
		o.Registry = full.Registry
	}
	if o.Selector == nil {
		o.Selector = full.Selector
	}
	if o.Transport == nil {
		o.Transport = full.Transport
	}
	if o.TLS != nil && o.Transport != nil && c.inUse == nil {
		return nil, fmt.Errorf("client: TLS is set, and the transport is another (%T) than the port that would use it: give TLS to that, or leave it out; of a service it is micro.TLS", o.Transport)
	}
	if o.Broker == nil {
		o.Broker = full.Broker
	}
	log := o.Logger
	if log == nil {
		log = slog.Default()
	}
	if o.Registry == nil {
		r, err := local.New(local.Config{Logger: o.Logger})
		if err != nil {
			return nil, fmt.Errorf("client: %w", err)
		}
		o.Registry = r
		c.made = append(c.made, r.Close)
	}
	if o.Selector == nil {
		s := selector.New(selector.Config{Registry: o.Registry, Logger: o.Logger})
		o.Selector = s
		c.made = append(c.made, s.Close)
	}
	if o.Transport == nil {
		o.Transport = port.New(port.Config{Logger: o.Logger, ClientTLS: o.TLS})
	}
	p := &parts{mismatched: new(mismatched), registry: o.Registry, selector: o.Selector, transport: o.Transport, router: o.Router,
		codecs: codecs.New(o.Codecs), contentType: o.ContentType, call: o.CallOptions, log: log}
	p.picker, _ = o.Selector.(selector.Picker)
	p.try, _ = o.Selector.(tryPicker)
	p.with, _ = o.Selector.(optionPicker)
	if o.from != "" {
		p.from = metadata.Header{{Key: fromKey, Value: o.from}}
	}
	c.inUse = p
	c.settled.Store(p)
	return p, nil
}

// fromKey is the metadata field that names the calling service.
const fromKey = "micro-from-service"

// The metadata fields with the encoding of a body and with that of the answers
// to a stream are not passed on: the next body and the next stream have their
// own.
const (
	typeKey   = "content-type"
	acceptKey = "accept"
)

// header returns the metadata of a call.
func (p *parts) header(ctx context.Context) metadata.Header {
	h, ok := metadata.HeaderFromContext(ctx)
	if !ok || len(h) == 0 {
		return p.from
	}
	for _, key := range [...]string{typeKey, acceptKey} {
		if _, has := h.Get(key); has { // of an event or call that is being handled
			h = h.Clone()
			h.Del(key)
		}
	}
	if p.from == nil {
		return h
	}
	if _, has := h.Get(fromKey); has {
		return h
	}
	return append(h.Clone(), p.from...)
}

// Close closes the connections and the parts that the client made itself.
// Calls under way fail. It may be called more than once.
func (c *client) Close() error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil
	}
	c.closed = true
	c.settled.Store(nil)
	made := c.made
	c.mu.Unlock()
	var errs []error
	for i := len(made) - 1; i >= 0; i-- { // the latest uses those before
		errs = append(errs, made[i]())
	}
	c.pool.close()
	return errors.Join(errs...)
}

// Send implements direct.Sender: it brings an event to a node by a call.
func (c *client) Send(ctx context.Context, node *registry.Node, d *direct.Delivery) error {
	p, err := c.parts()
	if err != nil {
		return err
	}
	h, err := d.Header()
	if err != nil {
		return err
	}
	raw, err := p.codecs.Find(codec.Bytes, d.Message.Body)
	if err != nil {
		return err
	}
	opts := p.call
	opts.Protocol = native // nodes that receive events so speak it
	w := work{service: direct.ServiceName, endpoint: direct.DeliverEndpoint, opts: &opts}
	reply, err := c.exchange(ctx, p, &w, w.target(node), transport.Request{
		Method:  transport.Method{Service: direct.ServiceName, Endpoint: direct.DeliverEndpoint, Strict: true},
		Message: transport.Message{Value: d.Message.Body, Codec: raw}, Header: h,
	})
	if err != nil {
		return err
	}
	reply.Body.Release()
	return nil
}
