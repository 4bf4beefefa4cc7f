package interop

import (
	"bytes"
	"context"
	stderrors "errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	pb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/seed-9a4e2794/micro"
	"github.com/seed-9a4e2794/micro/errors"
	"github.com/seed-9a4e2794/micro/internal/leaktest"
	micrometadata "github.com/seed-9a4e2794/micro/metadata"
	"github.com/seed-9a4e2794/micro/transport/http"
	"github.com/seed-9a4e2794/micro/transport/port"
)

func TestGRPCErrorDetailsArrive(t *testing.T) {
	want := &errdetails.BadRequest{FieldViolations: []*errdetails.BadRequest_FieldViolation{{Field: "name", Description: "is empty ✗"}}}
	value, err := proto.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	sides(t, func(t *testing.T, secure bool) {
		leaktest.Check(t)
		n := serve(t, secure, port.Config{}, func(s micro.Service) error {
			return micro.Handle(s, "Echo.Unary", func(context.Context, *text) (*text, error) {
				e := errors.NewCode("greeter", errors.CodeInvalidArgument, "%s", "a name is needed: 100% ✓")
				e.Details = []errors.Detail{{Type: "google.rpc.BadRequest", Value: value}}
				return nil, e
			})
		})
		ctx, cancel := within(t)
		defer cancel()
		err := n.grpc(t).Invoke(ctx, "/any.package.Echo/Unary", wrapperspb.String(""), new(text))
		s := status.Convert(err)
		if s.Code() != codes.InvalidArgument || s.Message() != "a name is needed: 100% ✓" {
			t.Errorf("got %v, %q", s.Code(), s.Message())
		}
		if len(s.Details()) != 1 {
			t.Fatalf("got the details %v, want one", s.Details())
		}
		if got, ok := s.Details()[0].(proto.Message); !ok || !proto.Equal(got, want) {
			t.Errorf("got the detail %v, want %v", s.Details()[0], want)
		}
	})
}

func TestGRPCMetadataTravelsBothWays(t *testing.T) {
	leaktest.Check(t)
	const binary = "\x00\xff\x01,\n"
	n := serve(t, false, port.Config{}, func(s micro.Service) error {
		return micro.Handle(s, "Echo.Unary", func(ctx context.Context, req *text) (*text, error) {
			many, bin := micrometadata.Values(ctx, "x-many"), micrometadata.Values(ctx, "x-bin")
			if !slices.Equal(many, []string{"a", "b, c"}) || !slices.Equal(bin, []string{binary, ""}) {
				return nil, errors.NewCode("", errors.CodeInvalidArgument, "x-many is %q and x-bin is %q", many, bin)
			}
			return req, stderrors.Join(micrometadata.SetHeader(ctx, "x-first-bin", binary), micrometadata.SetHeader(ctx, "x-first", "1", "2"),
				micrometadata.SetTrailer(ctx, "x-last-bin", binary), micrometadata.SetTrailer(ctx, "x-last", "3", "4"))
		})
	})
	ctx, cancel := within(t)
	defer cancel()
	ctx = metadata.AppendToOutgoingContext(ctx, "x-many", "a", "x-bin", binary, "x-many", "b, c", "x-bin", "")
	var header, trailer metadata.MD
	if err := n.grpc(t).Invoke(ctx, "/interop.Echo/Unary", wrapperspb.String("x"), new(text), grpc.Header(&header), grpc.Trailer(&trailer)); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		md   metadata.MD
		key  string
		want []string
	}{
		{header, "x-first-bin", []string{binary}}, {header, "x-first", []string{"1", "2"}},
		{trailer, "x-last-bin", []string{binary}}, {trailer, "x-last", []string{"3", "4"}},
		{header, "x-last", nil}, {trailer, "x-first", nil},
	} {
		if got := c.md.Get(c.key); !slices.Equal(got, c.want) {
			t.Errorf("%s is %q, want %q", c.key, got, c.want)
		}
	}
}

func TestGRPCMessagesOverTheLimitAreRefused(t *testing.T) {
	const limit = 10 << 10
	leaktest.Check(t)
	n := serve(t, false, port.Config{HTTP: http.Config{MaxMessage: limit}}, registerTestService)
	c := pb.NewTestServiceClient(n.grpc(t))
	ctx, cancel := within(t)
	defer cancel()
	for _, test := range []struct {
		name string
		req  *pb.SimpleRequest
		want codes.Code
	}{
		{"within", &pb.SimpleRequest{Payload: payload(limit - 100), ResponseSize: limit - 100}, codes.OK},
		{"request over", &pb.SimpleRequest{Payload: payload(limit + 1)}, codes.ResourceExhausted},
		{"response over", &pb.SimpleRequest{ResponseSize: limit + 1}, codes.ResourceExhausted},
		{"within again", &pb.SimpleRequest{Payload: payload(limit - 100)}, codes.OK},
	} {
		if _, err := c.UnaryCall(ctx, test.req); status.Code(err) != test.want {
			t.Errorf("%s: got %v, want %v", test.name, err, test.want)
		}
	}
}

func TestGRPCManyCallsAtOnceOnOneConnection(t *testing.T) {
	const callers, each = 100, 10
	sides(t, func(t *testing.T, secure bool) {
		leaktest.Check(t)
		n := serve(t, secure, port.Config{}, registerTestService)
		c := pb.NewTestServiceClient(n.grpc(t))
		ctx, cancel := within(t)
		defer cancel()
		failed := make(chan error, callers)
		for i := range callers {
			go func() {
				for range each {
					rsp, err := c.UnaryCall(ctx, &pb.SimpleRequest{Payload: payload(100), ResponseSize: int32(i)})
					if err == nil && len(rsp.GetPayload().GetBody()) != i {
						err = fmt.Errorf("got %d bytes, want %d", len(rsp.GetPayload().GetBody()), i)
					}
					if err != nil {
						failed <- err
						return
					}
				}
				failed <- nil
			}()
		}
		for range callers {
			if err := <-failed; err != nil {
				t.Error(err)
			}
		}
	})
}

// A caller's slow stream must not hold up its other calls, nor take memory
// without end at the service.
func TestGRPCStreamThatNobodyReadsHoldsUpNoOther(t *testing.T) {
	leaktest.Check(t)
	n := serve(t, false, port.Config{}, registerTestService)
	c := pb.NewTestServiceClient(n.grpc(t))
	ctx, cancel := within(t)
	defer cancel()
	req := new(pb.StreamingOutputCallRequest)
	for range 200 {
		req.ResponseParameters = append(req.ResponseParameters, &pb.ResponseParameters{Size: 100 << 10})
	}
	stream, err := c.StreamingOutputCall(ctx, req)
	if err != nil {
		t.Fatal(err)
	}
	for range 50 {
		if _, err := c.UnaryCall(ctx, &pb.SimpleRequest{ResponseSize: 10}); err != nil {
			t.Fatal(err)
		}
	}
	got := 0
	for {
		_, err := stream.Recv()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		got++
	}
	if got != 200 {
		t.Errorf("got %d messages, want 200", got)
	}
}

func TestGRPCCallUnderWayIsFinishedWhenTheServiceStops(t *testing.T) {
	leaktest.Check(t)
	begun, finish := make(chan struct{}), make(chan struct{})
	var service micro.Service
	n := serve(t, false, port.Config{}, func(s micro.Service) error {
		service = s
		return micro.Handle(s, "Echo.Unary", func(_ context.Context, req *text) (*text, error) {
			close(begun)
			<-finish
			return req, nil
		})
	})
	ctx, cancel := within(t)
	defer cancel()
	cc := n.grpc(t)
	answered := make(chan error, 1)
	go func() {
		answered <- cc.Invoke(ctx, "/interop.Echo/Unary", wrapperspb.String("x"), new(text))
	}()
	<-begun
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		n.net.Stop(t, service)
	}()
	// The service has heard of its end when it takes no more connections.
	for ctx.Err() == nil {
		other := n.grpc(t)
		err := other.Invoke(ctx, "/interop.Echo/Nothing", wrapperspb.String("x"), new(text))
		other.Close()
		if status.Code(err) == codes.Unavailable {
			break
		}
	}
	select {
	case <-stopped:
		t.Error("the service has stopped with a call under way")
	default:
	}
	close(finish)
	if err := <-answered; err != nil {
		t.Errorf("the call under way: %v", err)
	}
	<-stopped
}

// A caller that keeps its connection alive is answered, however often it asks.
func TestGRPCKeepalivePingsAreAnswered(t *testing.T) {
	leaktest.Check(t)
	n := serve(t, false, port.Config{}, registerTestService)
	conn := n.dial(t)
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	var hello bytes.Buffer
	hello.WriteString(http2.ClientPreface)
	framer := http2.NewFramer(&hello, conn)
	if err := framer.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	const pings = 50
	for i := range pings {
		if err := framer.WritePing(false, [8]byte{byte(i)}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := conn.Write(hello.Bytes()); err != nil {
		t.Fatal(err)
	}
	for acked := 0; acked < pings; {
		f, err := framer.ReadFrame()
		if err != nil {
			t.Fatalf("after %d answers: %v", acked, err)
		}
		switch f := f.(type) {
		case *http2.PingFrame:
			if f.IsAck() {
				acked++
			}
		case *http2.GoAwayFrame:
			t.Fatalf("GOAWAY after %d answers: %v %q", acked, f.ErrCode, f.DebugData())
		}
	}
}

// grpc-go pings every ten seconds at most, so this takes a while.
func TestGRPCIdleStreamLivesOnKeepalive(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	leaktest.Check(t)
	n := serve(t, false, port.Config{}, registerTestService)
	cc := n.grpc(t, grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 5 * time.Second, PermitWithoutStream: true}))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	stream, err := pb.NewTestServiceClient(cc).FullDuplexCall(ctx)
	if err != nil {
		t.Fatal(err)
	}
	ask := &pb.StreamingOutputCallRequest{ResponseParameters: []*pb.ResponseParameters{{Size: 1}}}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for range 2 {
		<-timer.C
		if err := stream.Send(ask); err != nil {
			t.Fatal(err)
		}
		if _, err := stream.Recv(); err != nil {
			t.Fatal(err)
		}
		timer.Reset(25 * time.Second)
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != io.EOF {
		t.Errorf("got %v, want the end", err)
	}
}

func TestGRPCUnknownEndpointsAreUnimplemented(t *testing.T) {
	leaktest.Check(t)
	n := serve(t, false, port.Config{}, registerTestService)
	cc := n.grpc(t)
	ctx, cancel := within(t)
	defer cancel()
	for _, method := range []string{"/grpc.testing.TestService/Nope", "/grpc.testing.Nope/UnaryCall", "/Nope/Nope", "/a/b/c"} {
		err := cc.Invoke(ctx, method, wrapperspb.String(""), new(text))
		if status.Code(err) != codes.Unimplemented {
			t.Errorf("%s: got %v, want Unimplemented", method, err)
		}
	}
}

// An undecodable request is the caller's fault and is said so.
func TestGRPCRequestThatCannotBeDecodedIsInvalid(t *testing.T) {
	leaktest.Check(t)
	n := serve(t, false, port.Config{}, registerTestService)
	ctx, cancel := within(t)
	defer cancel()
	err := n.grpc(t).Invoke(ctx, "/grpc.testing.TestService/UnaryCall", []byte("\xff\xff\xff"), new([]byte), grpc.ForceCodec(rawCodec{}))
	if code := status.Code(err); code != codes.InvalidArgument && code != codes.Internal || strings.Contains(status.Convert(err).Message(), "panic") {
		t.Errorf("got %v, want InvalidArgument", err)
	}
}

// rawCodec carries bytes as they are.
type rawCodec struct{}

func (rawCodec) Name() string { return "proto" }
func (rawCodec) Marshal(v any) ([]byte, error) {
	return v.([]byte), nil
}
func (rawCodec) Unmarshal(b []byte, v any) error {
	*v.(*[]byte) = slices.Clone(b)
	return nil
}
