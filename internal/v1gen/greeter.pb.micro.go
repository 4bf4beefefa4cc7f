package v1gen

import (
	"context"

	client "github.com/seed-9a4e2794/micro/client"
	server "github.com/seed-9a4e2794/micro/server"
)

// Reference imports to suppress errors if they are not otherwise used.
var _ context.Context
var _ client.Option
var _ server.Option

// Client API for Greeter service

type GreeterService interface {
	Hello(ctx context.Context, in *Request, opts ...client.CallOption) (*Response, error)
	Countdown(ctx context.Context, in *Request, opts ...client.CallOption) (Greeter_CountdownService, error)
	Collect(ctx context.Context, opts ...client.CallOption) (Greeter_CollectService, error)
	Chat(ctx context.Context, opts ...client.CallOption) (Greeter_ChatService, error)
}

type greeterService struct {
	c    client.Client
	name string
}

func NewGreeterService(name string, c client.Client) GreeterService {
	if c == nil {
		c = client.NewClient()
	}
	if len(name) == 0 {
		name = "greeter"
	}
	return &greeterService{
		c:    c,
		name: name,
	}
}

func (c *greeterService) Hello(ctx context.Context, in *Request, opts ...client.CallOption) (*Response, error) {
	req := c.c.NewRequest(c.name, "Greeter.Hello", in)
	out := new(Response)
	err := c.c.Call(ctx, req, out, opts...)
	if err != nil {
		return nil, err
	}
	return out, nil
}

func (c *greeterService) Countdown(ctx context.Context, in *Request, opts ...client.CallOption) (Greeter_CountdownService, error) {
	req := c.c.NewRequest(c.name, "Greeter.Countdown", &Request{})
	stream, err := c.c.Stream(ctx, req, opts...)
	if err != nil {
		return nil, err
	}
	if err := stream.Send(in); err != nil {
		return nil, err
	}
	return &greeterServiceCountdown{stream}, nil
}

type Greeter_CountdownService interface {
	SendMsg(interface{}) error
	RecvMsg(interface{}) error
	Close() error
	Recv() (*Response, error)
}

type greeterServiceCountdown struct {
	stream client.Stream
}

func (x *greeterServiceCountdown) Close() error {
	return x.stream.Close()
}

func (x *greeterServiceCountdown) SendMsg(m interface{}) error {
	return x.stream.Send(m)
}

func (x *greeterServiceCountdown) RecvMsg(m interface{}) error {
	return x.stream.Recv(m)
}

func (x *greeterServiceCountdown) Recv() (*Response, error) {
	m := new(Response)
	err := x.stream.Recv(m)
	if err != nil {
		return nil, err
	}
	return m, nil
}

func (c *greeterService) Collect(ctx context.Context, opts ...client.CallOption) (Greeter_CollectService, error) {
	req := c.c.NewRequest(c.name, "Greeter.Collect", &Request{})
	stream, err := c.c.Stream(ctx, req, opts...)
	if err != nil {
		return nil, err
	}
	return &greeterServiceCollect{stream}, nil
}

type Greeter_CollectService interface {
	SendMsg(interface{}) error
	RecvMsg(interface{}) error
	Close() error
	Send(*Request) error
}

type greeterServiceCollect struct {
	stream client.Stream
}

func (x *greeterServiceCollect) Close() error {
	return x.stream.Close()
}

func (x *greeterServiceCollect) SendMsg(m interface{}) error {
	return x.stream.Send(m)
}

func (x *greeterServiceCollect) RecvMsg(m interface{}) error {
	return x.stream.Recv(m)
}

func (x *greeterServiceCollect) Send(m *Request) error {
	return x.stream.Send(m)
}

func (c *greeterService) Chat(ctx context.Context, opts ...client.CallOption) (Greeter_ChatService, error) {
	req := c.c.NewRequest(c.name, "Greeter.Chat", &Request{})
	stream, err := c.c.Stream(ctx, req, opts...)
	if err != nil {
		return nil, err
	}
	return &greeterServiceChat{stream}, nil
}

type Greeter_ChatService interface {
	SendMsg(interface{}) error
	RecvMsg(interface{}) error
	Close() error
	Send(*Request) error
	Recv() (*Response, error)
}

type greeterServiceChat struct {
	stream client.Stream
}

func (x *greeterServiceChat) Close() error {
	return x.stream.Close()
}

func (x *greeterServiceChat) SendMsg(m interface{}) error {
	return x.stream.Send(m)
}

func (x *greeterServiceChat) RecvMsg(m interface{}) error {
	return x.stream.Recv(m)
}

func (x *greeterServiceChat) Send(m *Request) error {
	return x.stream.Send(m)
}

func (x *greeterServiceChat) Recv() (*Response, error) {
	m := new(Response)
	err := x.stream.Recv(m)
	if err != nil {
		return nil, err
	}
	return m, nil
}

// Server API for Greeter service

type GreeterHandler interface {
	Hello(context.Context, *Request, *Response) error
	Countdown(context.Context, *Request, Greeter_CountdownStream) error
	Collect(context.Context, Greeter_CollectStream) error
	Chat(context.Context, Greeter_ChatStream) error
}

func RegisterGreeterHandler(s server.Server, hdlr GreeterHandler, opts ...server.HandlerOption) error {
	type greeter interface {
		Hello(ctx context.Context, in *Request, out *Response) error
		Countdown(ctx context.Context, stream server.Stream) error
		Collect(ctx context.Context, stream server.Stream) error
		Chat(ctx context.Context, stream server.Stream) error
	}
	type Greeter struct {
		greeter
	}
	h := &greeterHandler{hdlr}
	return s.Handle(s.NewHandler(&Greeter{h}, opts...))
}

type greeterHandler struct {
	GreeterHandler
}

func (h *greeterHandler) Hello(ctx context.Context, in *Request, out *Response) error {
	return h.GreeterHandler.Hello(ctx, in, out)
}

func (h *greeterHandler) Countdown(ctx context.Context, stream server.Stream) error {
	m := new(Request)
	if err := stream.Recv(m); err != nil {
		return err
	}
	return h.GreeterHandler.Countdown(ctx, m, &greeterCountdownStream{stream})
}

type Greeter_CountdownStream interface {
	SendMsg(interface{}) error
	RecvMsg(interface{}) error
	Close() error
	Send(*Response) error
}

type greeterCountdownStream struct {
	stream server.Stream
}

func (x *greeterCountdownStream) Close() error {
	return x.stream.Close()
}

func (x *greeterCountdownStream) SendMsg(m interface{}) error {
	return x.stream.Send(m)
}

func (x *greeterCountdownStream) RecvMsg(m interface{}) error {
	return x.stream.Recv(m)
}

func (x *greeterCountdownStream) Send(m *Response) error {
	return x.stream.Send(m)
}

func (h *greeterHandler) Collect(ctx context.Context, stream server.Stream) error {
	return h.GreeterHandler.Collect(ctx, &greeterCollectStream{stream})
}

type Greeter_CollectStream interface {
	SendMsg(interface{}) error
	RecvMsg(interface{}) error
	Close() error
	Recv() (*Request, error)
}

type greeterCollectStream struct {
	stream server.Stream
}

func (x *greeterCollectStream) Close() error {
	return x.stream.Close()
}

func (x *greeterCollectStream) SendMsg(m interface{}) error {
	return x.stream.Send(m)
}

func (x *greeterCollectStream) RecvMsg(m interface{}) error {
	return x.stream.Recv(m)
}

func (x *greeterCollectStream) Recv() (*Request, error) {
	m := new(Request)
	if err := x.stream.Recv(m); err != nil {
		return nil, err
	}
	return m, nil
}

func (h *greeterHandler) Chat(ctx context.Context, stream server.Stream) error {
	return h.GreeterHandler.Chat(ctx, &greeterChatStream{stream})
}

type Greeter_ChatStream interface {
	SendMsg(interface{}) error
	RecvMsg(interface{}) error
	Close() error
	Send(*Response) error
	Recv() (*Request, error)
}

type greeterChatStream struct {
	stream server.Stream
}

func (x *greeterChatStream) Close() error {
	return x.stream.Close()
}

func (x *greeterChatStream) SendMsg(m interface{}) error {
	return x.stream.Send(m)
}

func (x *greeterChatStream) RecvMsg(m interface{}) error {
	return x.stream.Recv(m)
}

func (x *greeterChatStream) Send(m *Response) error {
	return x.stream.Send(m)
}

func (x *greeterChatStream) Recv() (*Request, error) {
	m := new(Request)
	if err := x.stream.Recv(m); err != nil {
		return nil, err
	}
	return m, nil
}
