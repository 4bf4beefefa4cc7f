package micro

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/seed-9a4e2794/micro/client"
)

// clientHandle is the client that a service hands out: it stays the same while
// options and wrappers change what stands behind it.
type clientHandle struct {
	real atomic.Pointer[boxed] // nil until used, and after set

	mu       sync.Mutex // held to wrap
	base     client.Client
	wrappers []client.Wrapper

	closeUnused func() // closes the parts of a service that was never run
}

type boxed struct {
	client.Client
	invoker client.Invoker // the client, if it can
}

// set says what stands behind the handle: a client within wrappers, the first
// of which is the outermost. They wrap at the next use, so that each of them
// is asked once however often the settings change before.
func (h *clientHandle) set(base client.Client, wrappers []client.Wrapper) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.base != nil && same(h.base, base) && len(h.wrappers) == len(wrappers) {
		return // wrappers are only ever added
	}
	h.base, h.wrappers = base, wrappers
	h.real.Store(nil)
}

// load returns what stands behind the handle.
func (h *clientHandle) load() *boxed {
	if b := h.real.Load(); b != nil {
		return b
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if b := h.real.Load(); b != nil {
		return b
	}
	c := h.base
	for _, wrap := range slices.Backward(h.wrappers) {
		c = wrap(c)
	}
	b := &boxed{Client: c}
	b.invoker, _ = c.(client.Invoker)
	h.real.Store(b)
	return b
}

// Close closes the client of a service that is never run, and what the service
// has made for it. It does nothing once Run has been called, which does the
// same at its end. It implements io.Closer.
func (h *clientHandle) Close() error {
	h.closeUnused()
	return nil
}

func (h *clientHandle) Init(opts ...client.Option) error { return h.load().Init(opts...) }
func (h *clientHandle) Options() client.Options          { return h.load().Options() }
func (h *clientHandle) String() string                   { return h.load().String() }

func (h *clientHandle) NewMessage(topic string, msg any, opts ...client.MessageOption) client.Message {
	return h.load().NewMessage(topic, msg, opts...)
}

func (h *clientHandle) NewRequest(service, endpoint string, req any, opts ...client.RequestOption) client.Request {
	return h.load().NewRequest(service, endpoint, req, opts...)
}

func (h *clientHandle) Call(ctx context.Context, req client.Request, rsp any, opts ...client.CallOption) error {
	return h.load().Call(ctx, req, rsp, opts...)
}

func (h *clientHandle) Stream(ctx context.Context, req client.Request, opts ...client.CallOption) (client.Stream, error) {
	return h.load().Stream(ctx, req, opts...)
}

func (h *clientHandle) Publish(ctx context.Context, msg client.Message, opts ...client.PublishOption) error {
	return h.load().Publish(ctx, msg, opts...)
}

// Invoke implements client.Invoker.
func (h *clientHandle) Invoke(ctx context.Context, service, endpoint string, req, rsp any, opts ...client.CallOption) error {
	c := h.load()
	if c.invoker != nil {
		return c.invoker.Invoke(ctx, service, endpoint, req, rsp, opts...)
	}
	return c.Call(ctx, c.NewRequest(service, endpoint, req), rsp, opts...)
}
