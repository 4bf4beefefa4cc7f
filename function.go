package micro

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/seed-9a4e2794/micro/server"
)

// NewFunction returns a function: Run ends when it has served one request or
// event.
func NewFunction(opts ...Option) Function {
	f := new(function)
	opts = append([]Option{RegisterTTL(time.Minute), RegisterInterval(30 * time.Second)}, opts...)
	opts = append(opts, WrapHandler(f.handler), WrapSubscriber(f.subscriber))
	f.service = newService(opts...)
	f.ended = make(chan struct{})
	return f
}

type function struct {
	*service
	once sync.Once
}

func (f *function) end() { f.once.Do(func() { close(f.ended) }) }

// Done ends the function.
func (f *function) Done() error {
	f.end()
	return nil
}

func (f *function) Handle(v any) error { return RegisterHandler(f.Server(), v) }

func (f *function) Subscribe(topic string, v any) error {
	return RegisterSubscriber(topic, f.Server(), v)
}

func (f *function) handler(h server.HandlerFunc) server.HandlerFunc {
	return func(ctx context.Context, req server.Request, rsp any) error {
		if isDebug(req.Endpoint()) {
			return h(ctx, req, rsp)
		}
		defer f.end()
		return h(ctx, req, rsp)
	}
}

// isDebug reports whether an endpoint is one that every service has: asking
// how a function is does not use it up.
func isDebug(endpoint string) bool {
	return strings.HasPrefix(endpoint, "Debug.")
}

func (f *function) subscriber(s server.SubscriberFunc) server.SubscriberFunc {
	return func(ctx context.Context, msg server.Message) error {
		defer f.end()
		return s(ctx, msg)
	}
}
