package main

import (
	"context"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/seed-9a4e2794/micro/bench/internal/echo"
)

// grpcGo is google.golang.org/grpc with its defaults.
func grpcGo() peer {
	return peer{
		name: "grpc-go",
		what: "google.golang.org/grpc, defaults, one connection",
		serve: func() (string, func(), error) {
			ln, err := net.Listen("tcp", loopback)
			if err != nil {
				return "", nil, err
			}
			s := grpc.NewServer()
			s.RegisterService(&grpc.ServiceDesc{
				ServiceName: "micro.bench.Echo",
				HandlerType: (*any)(nil),
				Methods:     []grpc.MethodDesc{{MethodName: "Echo", Handler: grpcEcho}},
			}, struct{}{})
			done := make(chan struct{})
			go func() {
				defer close(done)
				_ = s.Serve(ln) // it ends with Stop
			}()
			return ln.Addr().String(), func() { s.Stop(); <-done }, nil
		},
		dial: dialGRPC,
	}
}

// dialGRPC connects with google.golang.org/grpc.
func dialGRPC(_ context.Context, addr string, _ int) (client, error) {
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, err
	}
	return grpcClient{conn}, nil
}

// grpcEcho is what protoc-gen-go-grpc writes for a unary method that returns
// what it is given.
func grpcEcho(_ any, _ context.Context, dec func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
	in := new(echo.Message)
	if err := dec(in); err != nil {
		return nil, err
	}
	return in, nil
}

type grpcClient struct{ conn *grpc.ClientConn }

func (c grpcClient) call(ctx context.Context, m *echo.Message) (*echo.Message, error) {
	out := new(echo.Message)
	if err := c.conn.Invoke(ctx, "/micro.bench.Echo/Echo", m, out, grpc.StaticMethod()); err != nil {
		return nil, err
	}
	return out, nil
}

func (c grpcClient) close() error { return c.conn.Close() }
