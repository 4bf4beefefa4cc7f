package micro

import (
	"context"
	"sync/atomic"

	"github.com/seed-9a4e2794/micro/client"
)

// clientHandle is the client that a service hands out: it stays the same while
// options and wrappers change what stands behind it.
type clientHandle struct {
	real atomic.Pointer[boxed]
}

type boxed struct {
	client.Client
	invoker client.Invoker // the client, if it can
}

func (h *clientHandle) set(c client.Client) {
	b := &boxed{Client: c}
	b.invoker, _ = c.(client.Invoker)
	h.real.Store(b)
}

func (h *clientHandle) Init(opts ...client.Option) error { return h.real.Load().Init(opts...) }
func (h *clientHandle) Options() client.Options          { return h.real.Load().Options() }
func (h *clientHandle) String() string                   { return h.real.Load().String() }

func (h *clientHandle) NewMessage(topic string, msg any, opts ...client.MessageOption) client.Message {
	return h.real.Load().NewMessage(topic, msg, opts...)
}

func (h *clientHandle) NewRequest(service, endpoint string, req any, opts ...client.RequestOption) client.Request {
	return h.real.Load().NewRequest(service, endpoint, req, opts...)
}

func (h *clientHandle) Call(ctx context.Context, req client.Request, rsp any, opts ...client.CallOption) error {
	return h.real.Load().Call(ctx, req, rsp, opts...)
}

func (h *clientHandle) Stream(ctx context.Context, req client.Request, opts ...client.CallOption) (client.Stream, error) {
	return h.real.Load().Stream(ctx, req, opts...)
}

func (h *clientHandle) Publish(ctx context.Context, msg client.Message, opts ...client.PublishOption) error {
	return h.real.Load().Publish(ctx, msg, opts...)
}

// Invoke implements client.Invoker.
func (h *clientHandle) Invoke(ctx context.Context, service, endpoint string, req, rsp any, opts ...client.CallOption) error {
	c := h.real.Load()
	if c.invoker != nil {
		return c.invoker.Invoke(ctx, service, endpoint, req, rsp, opts...)
	}
	return c.Call(ctx, c.NewRequest(service, endpoint, req), rsp, opts...)
}
