package http_test

import (
	"context"
	"net"
	nethttp "net/http"
	"testing"

	"connectrpc.com/connect"

	"github.com/seed-9a4e2794/micro/transport/http"
)

func BenchmarkUnary(b *testing.B) {
	for _, p := range []http.Protocol{http.GRPC, http.GRPCWeb, http.Connect} {
		b.Run(string(p), func(b *testing.B) {
			mux := nethttp.NewServeMux()
			mux.Handle("/Test/Echo", connect.NewUnaryHandler("/Test/Echo", func(_ context.Context, r *connect.Request[str]) (*connect.Response[str], error) {
				return connect.NewResponse(r.Msg), nil
			}))
			s := &nethttp.Server{Handler: mux, Protocols: new(nethttp.Protocols)}
			s.Protocols.SetUnencryptedHTTP2(true)
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				b.Fatal(err)
			}
			done := make(chan struct{})
			go func() { defer close(done); _ = s.Serve(ln) }() // it ends with Close
			defer func() { s.Close(); <-done }()
			c, err := http.New(http.Config{Protocol: p}).Dial(context.Background(), ln.Addr().String())
			if err != nil {
				b.Fatal(err)
			}
			defer c.Close()
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					rsp, err := c.Call(context.Background(), ask("Echo", "hello"))
					if err != nil {
						b.Error(err)
						return
					}
					rsp.Body.Release()
				}
			})
		})
	}
}
