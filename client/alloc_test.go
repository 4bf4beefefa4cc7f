//go:build !race

package client_test

import (
	"context"
	"io"
	"log/slog"
	"testing"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/seed-9a4e2794/micro"
	"github.com/seed-9a4e2794/micro/client"
	"github.com/seed-9a4e2794/micro/codec/bytes"
	"github.com/seed-9a4e2794/micro/codec/proto"
	"github.com/seed-9a4e2794/micro/internal/leaktest"
	"github.com/seed-9a4e2794/micro/registry"
	registrymemory "github.com/seed-9a4e2794/micro/registry/memory"
	"github.com/seed-9a4e2794/micro/transport"
	"github.com/seed-9a4e2794/micro/transport/tcp"
)

// canned starts a peer on a socket that answers every call with the same value.
// What it allocates itself is the context of a call.
func canned(t *testing.T, m transport.Message) (address string) {
	ln, err := tcp.New(tcp.Config{Logger: slog.New(slog.DiscardHandler)}).Listen(t.Context(), "127.0.0.1:0")
	must(t, err)
	done := make(chan error, 1)
	go func() {
		done <- ln.Accept(func(s transport.Socket) { s.Reset() }, transport.WithUnary(func(transport.Method) (transport.Unary, error) {
			return func(context.Context, transport.Body) (transport.Message, error) { return m, nil }, nil
		}))
	}()
	t.Cleanup(func() {
		must(t, ln.Close())
		must(t, <-done)
	})
	return ln.Addr()
}

const peerAllocs = 1

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

func TestCallAllocatesTheAnswerAndLittleElse(t *testing.T) {
	leaktest.Check(t)
	ctx := context.Background()
	req := &timestamppb.Timestamp{Seconds: 1700000000, Nanos: 5}
	raw := &bytes.Frame{Data: []byte("0123456789")}
	stamp := canned(t, transport.Message{Value: req, Codec: proto.Codec{}})
	frames := canned(t, transport.Message{Value: raw, Codec: bytes.Codec{}})
	r := registrymemory.New()
	for name, addr := range map[string]string{"clock": stamp, "raw": frames} {
		must(t, r.Register(ctx, &registry.Service{Name: name, Version: "1", Nodes: []*registry.Node{{Id: name, Address: addr}, {Id: name + "2", Address: addr}}}))
	}
	c := client.NewClient(client.Registry(r), client.Transport(tcp.New(tcp.Config{})), client.From("caller"), client.Logger(slog.New(slog.DiscardHandler)))
	defer func() { must(t, c.(io.Closer).Close()) }()
	reused := new(bytes.Frame)
	for _, k := range []struct {
		name string
		most float64
		call func() error
	}{
		{"micro.Call", 1, func() error {
			_, err := micro.Call[timestamppb.Timestamp](ctx, c, "clock", "Clock.Add", req)
			return err
		}},
		{"Invoke into a new answer", 1, func() error {
			return c.(client.Invoker).Invoke(ctx, "clock", "Clock.Add", req, new(timestamppb.Timestamp))
		}},
		{"NewRequest and Call", 2, func() error {
			return c.Call(ctx, c.NewRequest("clock", "Clock.Add", req), new(timestamppb.Timestamp))
		}},
		{"raw bytes", 2, func() error { return c.(client.Invoker).Invoke(ctx, "raw", "Raw.Echo", raw, new(bytes.Frame)) }},
		{"raw bytes into a used frame", 0, func() error { return c.(client.Invoker).Invoke(ctx, "raw", "Raw.Echo", raw, reused) }},
	} {
		got := allocs(t, func() {
			if err := k.call(); err != nil {
				t.Fatal(err)
			}
		}) - peerAllocs
		t.Logf("%s: %v allocations", k.name, got)
		if got > k.most {
			t.Errorf("%s: %v allocations, want at most %v", k.name, got, k.most)
		}
	}
}
