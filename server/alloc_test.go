//go:build !race && !purego

package server_test

import (
	"context"
	"io"
	"log/slog"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/seed-9a4e2794/micro"
	"github.com/seed-9a4e2794/micro/client"
	"github.com/seed-9a4e2794/micro/codec"
	"github.com/seed-9a4e2794/micro/codec/bytes"
	"github.com/seed-9a4e2794/micro/codec/proto"
	"github.com/seed-9a4e2794/micro/internal/leaktest"
	"github.com/seed-9a4e2794/micro/server"
	"github.com/seed-9a4e2794/micro/transport"
	"github.com/seed-9a4e2794/micro/transport/tcp"
)

// Clock answers timestamps, the message of two scalar fields that comes with
// the protobuf module.
type Clock struct{}

func (*Clock) Add(_ context.Context, req, rsp *timestamppb.Timestamp) error {
	rsp.Seconds, rsp.Nanos = req.Seconds+1, req.Nanos
	return nil
}

// clock starts a server on a socket with all that is on by default.
func clock(t *testing.T, w *world) server.Server {
	typed := server.Typed("Clock.Typed", func(_ context.Context, req *timestamppb.Timestamp) (*timestamppb.Timestamp, error) {
		return &timestamppb.Timestamp{Seconds: req.Seconds + 1, Nanos: req.Nanos}, nil
	})
	raw := server.Typed("Clock.Raw", func(_ context.Context, req *bytes.Frame) (*bytes.Frame, error) { return req, nil })
	return w.serve(t, []server.Handler{server.NewServer().NewHandler(new(Clock)), typed, raw},
		server.Transport(tcp.New(tcp.Config{Logger: slog.New(slog.DiscardHandler)})))
}

// allocs returns the allocations of f in the whole process, without those that
// come once in many calls.
func allocs(t *testing.T, f func()) float64 {
	t.Helper()
	for range 1000 { // buffers, workers, interned names
		f()
	}
	best := testing.AllocsPerRun(2000, f)
	for range 2 { // the collector empties pools now and then
		best = min(best, testing.AllocsPerRun(2000, f))
	}
	return best
}

func TestServerAllocatesContextRequestAndResponseAndNoMore(t *testing.T) {
	leaktest.Check(t)
	w := newWorld()
	s := clock(t, w)
	conn, err := tcp.New(tcp.Config{}).Dial(t.Context(), s.Options().Address)
	must(t, err)
	defer conn.Close()
	// The caller is the bare connection, which allocates nothing: its request
	// is encoded already, and its answer is not decoded.
	frame, err := proto.Codec{}.Append(nil, &timestamppb.Timestamp{Seconds: 1700000000, Nanos: 5})
	must(t, err)
	for _, k := range []struct {
		endpoint string
		name     string
		most     float64
	}{{"Clock.Add", codec.Proto, 3}, {"Clock.Typed", codec.Proto, 3}, {"Clock.Raw", codec.Bytes, 3}} {
		var message any = frame
		req := transport.Request{Method: transport.Method{Service: "greeter", Endpoint: k.endpoint, Strict: true},
			Message: transport.Message{Value: message, Codec: named{name: k.name}}, Deadline: time.Now().Add(time.Hour)}
		got := allocs(t, func() {
			reply, err := conn.Call(context.Background(), req)
			if err != nil || len(reply.Body.Data) == 0 {
				t.Fatalf("got %q, %v", reply.Body.Data, err)
			}
			reply.Body.Release()
		})
		t.Logf("%s: %v allocations a call", k.endpoint, got)
		if got > k.most {
			t.Errorf("%s: %v allocations a call, want at most %v", k.endpoint, got, k.most)
		}
	}
}

// named is raw bytes under another name.
type named struct {
	bytes.Codec
	name string
}

func (n named) Name() string { return n.name }

func TestWholeLoopInOneProcessAllocatesAtMostFour(t *testing.T) {
	leaktest.Check(t)
	w := newWorld()
	clock(t, w)
	c := client.NewClient(client.Registry(w.registry), client.Transport(tcp.New(tcp.Config{})), client.Logger(slog.New(slog.DiscardHandler)))
	defer func() { must(t, c.(io.Closer).Close()) }()
	ctx := context.Background()
	req := &timestamppb.Timestamp{Seconds: 1700000000, Nanos: 5}
	got := allocs(t, func() {
		rsp, err := micro.Call[timestamppb.Timestamp](ctx, c, "greeter", "Clock.Add", req)
		if err != nil || rsp.Seconds != req.Seconds+1 {
			t.Fatalf("got %v, %v", rsp, err)
		}
	})
	t.Logf("%v allocations a call", got)
	if got > 4 {
		t.Errorf("%v allocations a call, want at most 4", got)
	}
}
