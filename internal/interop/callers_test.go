package interop

import (
	"context"
	stderrors "errors"
	"io"
	"testing"

	"connectrpc.com/connect"
	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/seed-9a4e2794/micro"
	"github.com/seed-9a4e2794/micro/client"
	"github.com/seed-9a4e2794/micro/errors"
)

func nativeCaller(t *testing.T, n *node) *caller { return clientCaller(t, n, "") }

// ownCaller calls with our client in a protocol that others have too.
func ownCaller(protocol string) func(*testing.T, *node) *caller {
	return func(t *testing.T, n *node) *caller {
		c := clientCaller(t, n, protocol)
		if protocol == "mucp" || protocol == "mucp-legacy" {
			c.client = nil // go-micro's wire cannot say that the caller sends no more
		}
		return c
	}
}

func clientCaller(t *testing.T, n *node, protocol string) *caller {
	c := n.net.Client(t, client.Transport(n.transport), client.Protocol(protocol))
	at := []client.CallOption{client.WithAddress(n.addr), client.WithRetries(0)}
	return &caller{
		unary: func(ctx context.Context, what string) (string, error) {
			rsp, err := micro.Call[text](ctx, c, "interop", "Echo.Unary", wrapperspb.String(what), at...)
			return rsp.GetValue(), err
		},
		server: func(ctx context.Context, what string) ([]string, error) {
			s, err := micro.ServerStream[text](ctx, c, "interop", "Echo.Server", wrapperspb.String(what), at...)
			if err != nil {
				return nil, err
			}
			return all(s.Recv)
		},
		client: func(ctx context.Context, what ...string) (string, error) {
			s, err := micro.ClientStream[text, text](ctx, c, "interop", "Echo.Client", at...)
			if err != nil {
				return "", err
			}
			for _, w := range what {
				if err := s.Send(wrapperspb.String(w)); err != nil {
					break // CloseAndRecv says why
				}
			}
			rsp, err := s.CloseAndRecv()
			return rsp.GetValue(), err
		},
		bidi: func(ctx context.Context, what ...string) ([]string, error) {
			s, err := micro.BidiStream[text, text](ctx, c, "interop", "Echo.Bidi", at...)
			if err != nil {
				return nil, err
			}
			return turns(what, s.Send, s.Recv, s.CloseSend)
		},
		code: func(err error) (errors.Code, string) {
			e := errors.From("", err)
			return e.GRPCCode(), e.Detail
		},
	}
}

// all receives to the end.
func all(recv func() (*text, error)) ([]string, error) {
	var got []string
	for {
		m, err := recv()
		if err == io.EOF {
			return got, nil
		}
		if err != nil {
			return got, err
		}
		got = append(got, m.Value)
	}
}

// turns sends and receives in turns, ends its side, and receives to the end.
func turns(what []string, send func(*text) error, recv func() (*text, error), end func() error) ([]string, error) {
	var got []string
	for _, w := range what {
		if err := send(wrapperspb.String(w)); err != nil && err != io.EOF {
			return got, err
		}
		m, err := recv()
		if err != nil {
			return got, err
		}
		got = append(got, m.Value)
	}
	if err := end(); err != nil && err != io.EOF { // which says that the other side has ended it
		return got, err
	}
	rest, err := all(recv)
	return append(got, rest...), err
}

// grpcCaller calls with grpc-go.
func grpcCaller(t *testing.T, n *node) *caller {
	cc := n.grpc(t)
	open := func(ctx context.Context, method string, desc grpc.StreamDesc) (grpc.ClientStream, error) {
		return cc.NewStream(ctx, &desc, "/interop.Echo/"+method)
	}
	recv := func(s grpc.ClientStream) func() (*text, error) {
		return func() (*text, error) {
			m := new(text)
			return m, s.RecvMsg(m)
		}
	}
	return &caller{
		unary: func(ctx context.Context, what string) (string, error) {
			rsp := new(text)
			err := cc.Invoke(ctx, "/interop.Echo/Unary", wrapperspb.String(what), rsp)
			return rsp.Value, err
		},
		server: func(ctx context.Context, what string) ([]string, error) {
			s, err := open(ctx, "Server", grpc.StreamDesc{ServerStreams: true})
			if err != nil {
				return nil, err
			}
			if err := s.SendMsg(wrapperspb.String(what)); err != nil && err != io.EOF {
				return nil, err
			}
			if err := s.CloseSend(); err != nil {
				return nil, err
			}
			return all(recv(s))
		},
		client: func(ctx context.Context, what ...string) (string, error) {
			s, err := open(ctx, "Client", grpc.StreamDesc{ClientStreams: true})
			if err != nil {
				return "", err
			}
			for _, w := range what {
				if err := s.SendMsg(wrapperspb.String(w)); err != nil && err != io.EOF {
					return "", err
				}
			}
			if err := s.CloseSend(); err != nil {
				return "", err
			}
			m, err := recv(s)()
			return m.Value, err
		},
		bidi: func(ctx context.Context, what ...string) ([]string, error) {
			s, err := open(ctx, "Bidi", grpc.StreamDesc{ServerStreams: true, ClientStreams: true})
			if err != nil {
				return nil, err
			}
			return turns(what, func(m *text) error { return s.SendMsg(m) }, recv(s), s.CloseSend)
		},
		code: func(err error) (errors.Code, string) {
			s := status.Convert(err)
			return errors.Code(s.Code()), s.Message()
		},
	}
}

func grpcWebCaller(t *testing.T, n *node) *caller {
	return connectGoCaller(t, n, connect.WithGRPCWeb())
}
func connectCaller(t *testing.T, n *node) *caller { return connectGoCaller(t, n) }
func connectJSONCaller(t *testing.T, n *node) *caller {
	return connectGoCaller(t, n, connect.WithProtoJSON(), connect.WithSendGzip())
}

// connectGoCaller calls with connect-go, over HTTP/2.
func connectGoCaller(t *testing.T, n *node, opts ...connect.ClientOption) *caller {
	hc := n.http(t, 2)
	endpoint := func(method string) *connect.Client[text, text] {
		return connect.NewClient[text, text](hc, n.url("/interop.Echo/"+method), opts...)
	}
	unary, serverStream, clientStream, bidi := endpoint("Unary"), endpoint("Server"), endpoint("Client"), endpoint("Bidi")
	return &caller{
		unary: func(ctx context.Context, what string) (string, error) {
			rsp, err := unary.CallUnary(ctx, connect.NewRequest(wrapperspb.String(what)))
			if err != nil {
				return "", err
			}
			return rsp.Msg.Value, nil
		},
		server: func(ctx context.Context, what string) ([]string, error) {
			s, err := serverStream.CallServerStream(ctx, connect.NewRequest(wrapperspb.String(what)))
			if err != nil {
				return nil, err
			}
			defer s.Close()
			var got []string
			for s.Receive() {
				got = append(got, s.Msg().Value)
			}
			return got, s.Err()
		},
		client: func(ctx context.Context, what ...string) (string, error) {
			s := clientStream.CallClientStream(ctx)
			for _, w := range what {
				if s.Send(wrapperspb.String(w)) != nil {
					break // CloseAndReceive says why
				}
			}
			rsp, err := s.CloseAndReceive()
			if err != nil {
				return "", err
			}
			return rsp.Msg.Value, nil
		},
		bidi: func(ctx context.Context, what ...string) ([]string, error) {
			s := bidi.CallBidiStream(ctx)
			defer s.CloseResponse()
			return turns(what, s.Send, func() (*text, error) {
				m, err := s.Receive()
				if stderrors.Is(err, io.EOF) {
					err = io.EOF
				}
				return m, err
			}, s.CloseRequest)
		},
		code: func(err error) (errors.Code, string) {
			return errors.Code(connect.CodeOf(err)), err.Error()
		},
	}
}
