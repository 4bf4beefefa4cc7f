package micro

import (
	"context"

	"github.com/seed-9a4e2794/micro/client"
	"github.com/seed-9a4e2794/micro/server"
)

// HandleServerStream answers one request of an endpoint with any number of
// messages.
func HandleServerStream[Req, Rsp any](s Service, endpoint string, fn func(context.Context, *Req, server.SendStream[Rsp]) error, opts ...server.HandlerOption) error {
	return s.Server().Handle(server.TypedServerStream(endpoint, fn, opts...))
}

// HandleClientStream answers any number of messages of an endpoint with one.
func HandleClientStream[Req, Rsp any](s Service, endpoint string, fn func(context.Context, server.RecvStream[Req]) (*Rsp, error), opts ...server.HandlerOption) error {
	return s.Server().Handle(server.TypedClientStream(endpoint, fn, opts...))
}

// HandleBidiStream serves an endpoint with any number of messages each way.
func HandleBidiStream[Req, Rsp any](s Service, endpoint string, fn func(context.Context, server.BidiStream[Req, Rsp]) error, opts ...server.HandlerOption) error {
	return s.Server().Handle(server.TypedBidiStream(endpoint, fn, opts...))
}

// ServerStream sends one request to an endpoint and returns the stream of
// answers:
//
//	ticks, err := micro.ServerStream[Tick](ctx, c, "clock", "Clock.Watch", &WatchRequest{})
//	for tick, err := range ticks.All() { ... }
func ServerStream[Rsp, Req any](ctx context.Context, c client.Client, service, endpoint string, req *Req, opts ...client.CallOption) (client.RecvStream[Rsp], error) {
	return client.OpenServerStream[Rsp](ctx, c, service, endpoint, req, opts...)
}

// ClientStream opens a stream of messages that an endpoint answers with one.
func ClientStream[Req, Rsp any](ctx context.Context, c client.Client, service, endpoint string, opts ...client.CallOption) (client.SendStream[Req, Rsp], error) {
	return client.OpenClientStream[Req, Rsp](ctx, c, service, endpoint, opts...)
}

// BidiStream opens a stream with any number of messages each way.
func BidiStream[Req, Rsp any](ctx context.Context, c client.Client, service, endpoint string, opts ...client.CallOption) (client.BidiStream[Req, Rsp], error) {
	return client.OpenBidiStream[Req, Rsp](ctx, c, service, endpoint, opts...)
}
