package main

import (
	"context"
	"time"

	"github.com/seed-9a4e2794/micro/bench/internal/echo"
	"github.com/seed-9a4e2794/micro/codec/proto"
	"github.com/seed-9a4e2794/micro/transport"
	"github.com/seed-9a4e2794/micro/transport/port"
	"github.com/seed-9a4e2794/micro/transport/tcp"
)

// wireTimeout is the deadline on every call, as the client sets it by default.
const wireTimeout = 5 * time.Second

// nativeWire is this module's native wire: transport/tcp with the protobuf codec.
func nativeWire() peer {
	return peer{
		name:  "micro-wire",
		what:  "transport/tcp: Conn.Call and a Unary function, a deadline of 5 s on every call",
		serve: func() (string, func(), error) { return serveWire(tcp.New(tcp.Config{})) },
		dial:  dialWire,
	}
}

// nativePort is the native wire on the port that has every protocol.
func nativePort() peer {
	return peer{
		name:  "micro-port",
		what:  "the same through transport/port, beside every other protocol",
		serve: func() (string, func(), error) { return serveWire(port.New(port.Config{})) },
		dial:  dialWire,
	}
}

func serveWire(t transport.Transport) (string, func(), error) {
	l, err := t.Listen(context.Background(), loopback)
	if err != nil {
		return "", nil, err
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		// It ends with Close; every method has a Unary function.
		_ = l.Accept(transport.Socket.Reset, transport.WithUnary(func(transport.Method) (transport.Unary, error) { return wireEcho, nil }))
	}()
	return l.Addr(), func() { _ = l.Close(); <-done }, nil
}

func dialWire(ctx context.Context, addr string, _ int) (client, error) {
	conn, err := tcp.New(tcp.Config{}).Dial(ctx, addr)
	if err != nil {
		return nil, err
	}
	return wireClient{conn}, nil
}

func wireEcho(_ context.Context, body transport.Body) (transport.Message, error) {
	m := new(echo.Message)
	if err := (proto.Codec{}).Unmarshal(body.Data, m); err != nil {
		return transport.Message{}, err
	}
	return transport.Message{Value: m, Codec: proto.Codec{}}, nil
}

type wireClient struct{ conn transport.Conn }

func (c wireClient) call(ctx context.Context, m *echo.Message) (*echo.Message, error) {
	reply, err := c.conn.Call(ctx, transport.Request{
		Method:   transport.Method{Service: "bench", Endpoint: "Echo.Echo"},
		Message:  transport.Message{Value: m, Codec: proto.Codec{}},
		Deadline: time.Now().Add(wireTimeout),
	})
	if err != nil {
		return nil, err
	}
	defer reply.Body.Release()
	out := new(echo.Message)
	return out, proto.Codec{}.Unmarshal(reply.Body.Data, out)
}

func (c wireClient) close() error { return c.conn.Close() }
