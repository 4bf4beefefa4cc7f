package micro

import (
	"context"

	"github.com/seed-9a4e2794/micro/client"
	"github.com/seed-9a4e2794/micro/server"
)

// Handle answers one endpoint, such as "Greeter.Hello", with a function. A nil
// response without an error is an empty one.
func Handle[Req, Rsp any](s Service, endpoint string, fn func(context.Context, *Req) (*Rsp, error), opts ...server.HandlerOption) error {
	return s.Server().Handle(server.Typed(endpoint, fn, opts...))
}

// Subscribe handles the events of a topic with a function.
func Subscribe[T any](s Service, topic string, fn func(context.Context, *T) error, opts ...server.SubscriberOption) error {
	return s.Server().Subscribe(server.TypedSubscriber(topic, fn, opts...))
}

// Publish sends an event to the subscribers of a topic, with the promise of
// the broker.
func Publish[T any](ctx context.Context, c client.Client, topic string, event *T, opts ...client.PublishOption) error {
	return c.Publish(ctx, c.NewMessage(topic, event), opts...)
}

// Call calls an endpoint of a service and returns its answer:
//
//	rsp, err := micro.Call[HelloResponse](ctx, service.Client(), "greeter", "Greeter.Hello", &HelloRequest{Name: "Ada"})
func Call[Rsp, Req any](ctx context.Context, c client.Client, service, endpoint string, req *Req, opts ...client.CallOption) (*Rsp, error) {
	rsp := new(Rsp)
	var err error
	if i, ok := c.(client.Invoker); ok {
		err = i.Invoke(ctx, service, endpoint, req, rsp, opts...)
	} else {
		err = c.Call(ctx, c.NewRequest(service, endpoint, req), rsp, opts...)
	}
	if err != nil {
		return nil, err
	}
	return rsp, nil
}
