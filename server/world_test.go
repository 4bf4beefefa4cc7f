package server_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-9a4e2794/micro/broker"
	brokermemory "github.com/seed-9a4e2794/micro/broker/memory"
	"github.com/seed-9a4e2794/micro/client"
	"github.com/seed-9a4e2794/micro/registry"
	registrymemory "github.com/seed-9a4e2794/micro/registry/memory"
	"github.com/seed-9a4e2794/micro/server"
	transportmemory "github.com/seed-9a4e2794/micro/transport/memory"
)

type Ask struct {
	Name string `json:"name"`
}

type Answer struct {
	Text string `json:"text"`
}

// world is what the services of a test share. Its registry and broker can be
// made to fail.
type world struct {
	registry  *faultyRegistry
	broker    *faultyBroker
	transport *transportmemory.Transport
	log       *logBuffer
}

func newWorld() *world {
	return &world{
		registry: &faultyRegistry{Registry: registrymemory.New()}, broker: &faultyBroker{Broker: brokermemory.New()},
		transport: transportmemory.New(transportmemory.Config{}), log: new(logBuffer),
	}
}

// server returns a server of the world that has not been started.
func (w *world) server(opts ...server.Option) server.Server {
	base := []server.Option{server.Name("greeter"), server.Registry(w.registry), server.Broker(w.broker),
		server.Transport(w.transport), server.Logger(slog.New(slog.NewTextHandler(w.log, nil)))}
	return server.NewServer(append(base, opts...)...)
}

// serve starts a server with handlers and stops it after the test.
func (w *world) serve(t testing.TB, handlers []server.Handler, opts ...server.Option) server.Server {
	t.Helper()
	s := w.server(opts...)
	for _, h := range handlers {
		must(t, s.Handle(h))
	}
	must(t, s.Start())
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Errorf("Stop: %v", err)
		}
	})
	return s
}

// client returns a client of the world, closed after the test.
func (w *world) client(t testing.TB, opts ...client.Option) client.Client {
	t.Helper()
	base := []client.Option{client.Registry(w.registry), client.Transport(w.transport), client.Broker(w.broker),
		client.Logger(slog.New(slog.NewTextHandler(w.log, nil)))}
	c := client.NewClient(append(base, opts...)...)
	t.Cleanup(func() { must(t, c.(io.Closer).Close()) })
	return c
}

// ask calls an endpoint of the service greeter.
func ask(c client.Client, endpoint, name string, opts ...client.CallOption) (string, error) {
	var rsp Answer
	err := c.Call(context.Background(), c.NewRequest("greeter", endpoint, &Ask{name}), &rsp, opts...)
	return rsp.Text, err
}

// hello is the usual handler.
func hello() server.Handler {
	return server.Typed("Greeter.Hello", func(_ context.Context, req *Ask) (*Answer, error) {
		return &Answer{"Hello " + req.Name}, nil
	})
}

// health returns how a server is.
func health(s server.Server) server.Health {
	return s.(interface{ Health() server.Health }).Health()
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// want fails the test unless err says all of these texts.
func want(t testing.TB, err error, texts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error; want one that says %q", texts)
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("the error %q does not say %q", err, text)
		}
	}
}

// faultyRegistry is a registry that can be taken down.
type faultyRegistry struct {
	*registrymemory.Registry
	remote bool

	mu         sync.Mutex
	err        error
	registered []time.Time
	left       []time.Time
	last       *registry.Service
}

func (r *faultyRegistry) Remote() bool { return r.remote }

func (r *faultyRegistry) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.err = err
}

func (r *faultyRegistry) Register(ctx context.Context, s *registry.Service, opts ...registry.RegisterOption) error {
	r.mu.Lock()
	r.registered = append(r.registered, time.Now())
	r.last = s.Clone()
	err := r.err
	r.mu.Unlock()
	if err != nil {
		return err
	}
	return r.Registry.Register(ctx, s, opts...)
}

func (r *faultyRegistry) Deregister(ctx context.Context, s *registry.Service) error {
	r.mu.Lock()
	r.left = append(r.left, time.Now())
	err := r.err
	r.mu.Unlock()
	if err != nil {
		return err
	}
	return r.Registry.Deregister(ctx, s)
}

// times returns when Register was called.
func (r *faultyRegistry) times() []time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]time.Time(nil), r.registered...)
}

// nodes returns how many nodes of the service greeter are registered.
func (r *faultyRegistry) nodes() int {
	n := 0
	found, _ := r.GetService(context.Background(), "greeter") // none is an error, and 0
	for _, s := range found {
		n += len(s.Nodes)
	}
	return n
}

// faultyBroker is a broker that can be taken down.
type faultyBroker struct {
	*brokermemory.Broker
	down         atomic.Bool
	connects     atomic.Int64
	disconnected atomic.Int64
}

func (b *faultyBroker) Connect(ctx context.Context) error {
	b.connects.Add(1)
	if b.down.Load() {
		return fmt.Errorf("test: %w", broker.ErrUnavailable)
	}
	return b.Broker.Connect(ctx)
}

func (b *faultyBroker) Disconnect(ctx context.Context) error {
	b.disconnected.Add(1)
	return b.Broker.Disconnect(ctx)
}

func (b *faultyBroker) Subscribe(ctx context.Context, topic string, h broker.Handler, opts ...broker.SubscribeOption) (broker.Subscriber, error) {
	if b.down.Load() {
		return nil, fmt.Errorf("test: %w", broker.ErrUnavailable)
	}
	return b.Broker.Subscribe(ctx, topic, h, opts...)
}

// logBuffer gathers a log.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// String returns all that was logged.
func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// count returns how many lines have the text.
func (l *logBuffer) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.b.String(), text)
}
