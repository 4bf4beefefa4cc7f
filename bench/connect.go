package main

import (
	"context"
	"net"
	"net/http"

	"connectrpc.com/connect"

	"github.com/seed-9a4e2794/micro/bench/internal/echo"
)

// connectGRPC is connect-go serving gRPC, called by grpc-go.
func connectGRPC() peer {
	return peer{
		name: "connect-grpc",
		what: "connectrpc.com/connect on net/http, called by google.golang.org/grpc",
		serve: func() (string, func(), error) {
			ln, err := net.Listen("tcp", loopback)
			if err != nil {
				return "", nil, err
			}
			const path = "/micro.bench.Echo/Echo"
			mux := http.NewServeMux()
			mux.Handle(path, connect.NewUnaryHandler(path, func(_ context.Context, r *connect.Request[echo.Message]) (*connect.Response[echo.Message], error) {
				return connect.NewResponse(r.Msg), nil
			}))
			s := &http.Server{Handler: mux, Protocols: new(http.Protocols)}
			s.Protocols.SetUnencryptedHTTP2(true)
			done := make(chan struct{})
			go func() {
				defer close(done)
				_ = s.Serve(ln) // it ends with Close
			}()
			return ln.Addr().String(), func() { _ = s.Close(); <-done }, nil
		},
		dial: dialGRPC,
	}
}

// microGRPC is a server of this module serving gRPC, called by grpc-go.
func microGRPC() peer {
	return peer{
		name:  "micro-grpc",
		what:  "a typed handler on the port of this module, called by google.golang.org/grpc",
		serve: serveMicro,
		dial:  dialGRPC,
	}
}
