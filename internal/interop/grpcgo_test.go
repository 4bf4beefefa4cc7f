package interop

import (
	"context"
	"crypto/tls"
	stderrors "errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	grpcinterop "google.golang.org/grpc/interop"
	pb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/seed-9a4e2794/micro"
	"github.com/seed-9a4e2794/micro/client"
	"github.com/seed-9a4e2794/micro/errors"
	"github.com/seed-9a4e2794/micro/internal/leaktest"
	micrometadata "github.com/seed-9a4e2794/micro/metadata"
	"github.com/seed-9a4e2794/micro/microtest"
	"github.com/seed-9a4e2794/micro/transport/port"
)

// serveGRPCGo runs a server of grpc-go's until the test ends, and returns it as
// a node.
func serveGRPCGo(t *testing.T, secure bool, register func(*grpc.Server), opts ...grpc.ServerOption) *node {
	t.Helper()
	n := &node{net: microtest.New(t)}
	var cfg port.Config
	if secure {
		creds := newCredentials(t)
		opts = append(opts, grpc.Creds(credentials.NewTLS(foreignTLS(t, creds.Server()))))
		cfg.ClientTLS = func() *tls.Config { return creds.Client() }
	}
	n.transport = port.New(cfg)
	s := grpc.NewServer(opts...)
	register(s)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(ln) }()
	t.Cleanup(func() {
		s.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	n.addr = ln.Addr().String()
	return n
}

// foreignTLS returns the settings of a listener of others: with the certificate
// of ours, which they would be given anew at each handshake.
func foreignTLS(t *testing.T, own *tls.Config) *tls.Config {
	t.Helper()
	if own.GetConfigForClient != nil {
		var err error
		if own, err = own.GetConfigForClient(&tls.ClientHelloInfo{}); err != nil {
			t.Fatal(err)
		}
	}
	return &tls.Config{Certificates: own.Certificates, GetCertificate: own.GetCertificate}
}

// registerGRPCGo adds the endpoints of echo to a server of grpc-go's.
func (e *echo) registerGRPCGo(s *grpc.Server) {
	do := func(ctx context.Context, what string) error {
		switch what {
		case doError:
			return status.Error(codes.FailedPrecondition, "not today")
		case doPanic: // which grpc-go does not survive
			return status.Error(codes.Internal, "panic")
		}
		if err := e.do(ctx, what); err != nil {
			return status.FromContextError(err).Err()
		}
		return nil
	}
	recv := func(s grpc.ServerStream) (string, error) {
		m := new(text)
		err := s.RecvMsg(m)
		return m.Value, err
	}
	s.RegisterService(&grpc.ServiceDesc{
		ServiceName: "interop.Echo",
		HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{{MethodName: "Unary", Handler: func(_ any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			m := new(text)
			if err := decode(m); err != nil {
				return nil, err
			}
			return m, do(ctx, m.Value)
		}}},
		Streams: []grpc.StreamDesc{
			{StreamName: "Server", ServerStreams: true, Handler: func(_ any, s grpc.ServerStream) error {
				what, err := recv(s)
				if err != nil {
					return err
				}
				if err := s.SendMsg(wrapperspb.String(what + " 1")); err != nil {
					return err
				}
				if err := do(s.Context(), what); err != nil {
					return err
				}
				return s.SendMsg(wrapperspb.String(what + " 2"))
			}},
			{StreamName: "Client", ClientStreams: true, Handler: func(_ any, s grpc.ServerStream) error {
				var all []string
				for {
					what, err := recv(s)
					if err == io.EOF {
						return s.SendMsg(wrapperspb.String(strings.Join(all, " ")))
					}
					if err != nil {
						return err
					}
					if err := do(s.Context(), what); err != nil {
						return err
					}
					all = append(all, what)
				}
			}},
			{StreamName: "Bidi", ServerStreams: true, ClientStreams: true, Handler: func(_ any, s grpc.ServerStream) error {
				for {
					what, err := recv(s)
					if err == io.EOF {
						return nil
					}
					if err != nil {
						return err
					}
					if err := s.SendMsg(wrapperspb.String(what)); err != nil {
						return err
					}
					if err := do(s.Context(), what); err != nil {
						return err
					}
				}
			}},
		},
	}, e)
}

// TestOurClientCallsGRPCGoServers is the other direction of
// TestEveryProtocolEndToEnd.
func TestOurClientCallsGRPCGoServers(t *testing.T) {
	sides(t, func(t *testing.T, secure bool) {
		leaktest.Check(t)
		e := newEcho()
		n := serveGRPCGo(t, secure, e.registerGRPCGo)
		c := clientCaller(t, n, "grpc")
		for _, call := range c.calls() {
			t.Run(call.kind, func(t *testing.T) { e.check(t, c, call) })
		}
	})
}

func TestOurClientReadsGRPCErrorDetails(t *testing.T) {
	leaktest.Check(t)
	want := &errdetails.BadRequest{FieldViolations: []*errdetails.BadRequest_FieldViolation{{Field: "name", Description: "is empty ✗"}}}
	n := serveGRPCGo(t, false, func(s *grpc.Server) {}, grpc.UnknownServiceHandler(func(any, grpc.ServerStream) error {
		s, err := status.New(codes.InvalidArgument, "a name is needed: 100% ✓").WithDetails(want)
		if err != nil {
			return err
		}
		return s.Err()
	}))
	c := n.net.Client(t, client.Transport(n.transport), client.Protocol("grpc"))
	ctx, cancel := within(t)
	defer cancel()
	_, err := micro.Call[text](ctx, c, "any", "Thing.Do", wrapperspb.String(""), client.WithAddress(n.addr))
	var e *errors.Error
	if !stderrors.As(err, &e) || e.GRPCCode() != errors.CodeInvalidArgument || e.Detail != "a name is needed: 100% ✓" {
		t.Fatalf("got %v", err)
	}
	if len(e.Details) != 1 || !strings.HasSuffix(e.Details[0].Type, "google.rpc.BadRequest") {
		t.Fatalf("got the details %v", e.Details)
	}
	got := new(errdetails.BadRequest)
	if err := proto.Unmarshal(e.Details[0].Value, got); err != nil || !proto.Equal(got, want) {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
}

// TestOurClientCallsGRPCInteropServer calls the service that grpc-go tests its
// own client with: large messages, metadata both ways, unknown methods.
func TestOurClientCallsGRPCInteropServer(t *testing.T) {
	sides(t, func(t *testing.T, secure bool) {
		leaktest.Check(t)
		n := serveGRPCGo(t, secure, func(s *grpc.Server) { pb.RegisterTestServiceServer(s, grpcinterop.NewTestServer()) })
		c := n.net.Client(t, client.Transport(n.transport), client.Protocol("grpc"))
		ctx, cancel := within(t)
		defer cancel()

		const binary = "\x00\xff\x01"
		var header, trailer micrometadata.Header
		var md micrometadata.Header
		md.Add(echoInitial, "first")
		md.Add(echoTrailing, binary)
		rsp, err := micro.Call[pb.SimpleResponse](micrometadata.NewHeaderContext(ctx, md), c, "grpc.testing", "TestService.UnaryCall",
			&pb.SimpleRequest{ResponseSize: 314159, Payload: payload(271828)}, client.WithAddress(n.addr), client.WithReplyHeader(&header), client.WithReplyTrailer(&trailer))
		if err != nil || len(rsp.GetPayload().GetBody()) != 314159 {
			t.Fatalf("got %d bytes, %v", len(rsp.GetPayload().GetBody()), err)
		}
		if v, _ := header.Get(echoInitial); v != "first" {
			t.Errorf("the header is %q", header)
		}
		if v, _ := trailer.Get(echoTrailing); v != binary {
			t.Errorf("the trailer is %q", trailer)
		}

		_, err = micro.Call[pb.SimpleResponse](ctx, c, "grpc.testing", "TestService.Nope", &pb.SimpleRequest{}, client.WithAddress(n.addr))
		if e := errors.From("", err); e == nil || e.GRPCCode() != errors.CodeUnimplemented {
			t.Errorf("an unknown method: %v", err)
		}
		_, err = micro.Call[pb.SimpleResponse](ctx, c, "grpc.testing", "TestService.UnaryCall", &pb.SimpleRequest{ResponseSize: 8 << 20}, client.WithAddress(n.addr))
		if e := errors.From("", err); e == nil || e.GRPCCode() != errors.CodeResourceExhausted {
			t.Errorf("an answer over the limit: %v", err)
		}

		const streams, each = 20, 20
		failed := make(chan error, streams)
		for range streams {
			go func() { failed <- pingPong(ctx, c, n.addr, each) }()
		}
		for range streams {
			if err := <-failed; err != nil {
				t.Error(err)
			}
		}
	})
}

// pingPong sends and receives in turns on one stream.
func pingPong(ctx context.Context, c client.Client, addr string, turns int) error {
	s, err := micro.BidiStream[pb.StreamingOutputCallRequest, pb.StreamingOutputCallResponse](ctx, c, "grpc.testing", "TestService.FullDuplexCall", client.WithAddress(addr))
	if err != nil {
		return err
	}
	for i := range turns {
		if err := s.Send(&pb.StreamingOutputCallRequest{ResponseParameters: []*pb.ResponseParameters{{Size: int32(1000 * i)}}}); err != nil {
			return err
		}
		m, err := s.Recv()
		if err != nil {
			return err
		}
		if len(m.GetPayload().GetBody()) != 1000*i {
			return fmt.Errorf("got %d bytes, want %d", len(m.GetPayload().GetBody()), 1000*i)
		}
	}
	if err := s.CloseSend(); err != nil {
		return err
	}
	if _, err := s.Recv(); err != io.EOF {
		return fmt.Errorf("the stream ended with %v", err)
	}
	return nil
}
