// Package microtest runs services and clients in memory, for the tests of
// programs that use package micro.
//
//	func TestHello(t *testing.T) {
//		net := microtest.New(t)
//		greeter := net.NewService(micro.Name("greeter"))
//		micro.RegisterHandler(greeter.Server(), new(Greeter))
//		net.Start(t, greeter)
//
//		rsp, err := micro.Call[HelloResponse](t.Context(), net.Client(t), "greeter", "Greeter.Hello", &HelloRequest{Name: "Ada"})
//		...
//	}
//
// Messages are encoded, framed and decoded as they are between processes, and
// nothing is opened that another test could meet: no port, no file, no signal,
// no flag, no environment variable. A [Net] is a world of its own, so tests
// that have one each may run in parallel. It works inside bubbles of
// testing/synctest, where time passes by itself: make the Net inside the
// bubble.
package microtest

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/seed-9a4e2794/micro"
	brokermemory "github.com/seed-9a4e2794/micro/broker/memory"
	"github.com/seed-9a4e2794/micro/client"
	"github.com/seed-9a4e2794/micro/registry"
	"github.com/seed-9a4e2794/micro/registry/memory"
	transportmemory "github.com/seed-9a4e2794/micro/transport/memory"
)

const (
	// startTimeout bounds the start of a service: hooks and registration.
	startTimeout = 30 * time.Second
	// closeTimeout bounds the disconnecting of a client's broker.
	closeTimeout = 5 * time.Second
)

// Net is a network of services in memory, with a registry and a broker. Its
// methods may run concurrently; those that take a test must be called from
// that test's goroutine, as they end it when something fails.
type Net struct {
	registry  *memory.Registry
	transport *transportmemory.Transport
	broker    *brokermemory.Broker // never connected: its peers are
	logger    *slog.Logger

	mu      sync.Mutex
	running map[micro.Service]*running
}

// running is a service that has been started.
type running struct {
	cancel context.CancelFunc
	done   chan struct{} // closed when Run has returned
	err    error         // what it returned
}

// New returns an empty network. Warnings of its services go to the output of
// t; what they log beneath that goes nowhere.
func New(t testing.TB) *Net {
	out := &testOutput{w: t.Output()}
	t.Cleanup(out.end) // runs last: all that was started is stopped by then
	return &Net{
		registry:  memory.New(),
		transport: transportmemory.New(transportmemory.Config{}),
		broker:    brokermemory.New(),
		logger:    slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{Level: slog.LevelWarn})),
		running:   make(map[micro.Service]*running),
	}
}

// Options returns what puts a service on the network. It is for programs that
// make their service in a function of their own:
//
//	greeter := newGreeter(net.Options()...)
//	net.Start(t, greeter)
//
// The options make Init ignore flags and environment, and Run ignore signals.
// Each call returns options for one service.
func (n *Net) Options() []micro.Option {
	return []micro.Option{
		micro.Registry(n.registry),
		micro.Transport(n.transport),
		micro.Broker(n.broker.Peer()),
		micro.Logger(n.logger),
		micro.Args(nil),
		micro.HandleSignal(false),
	}
}

// NewService returns a service on the network that does not run yet: register
// its handlers and subscribers, and give it to Start. Options replace those of
// the network.
func (n *Net) NewService(opts ...micro.Option) micro.Service {
	return micro.NewService(append(n.Options(), opts...)...)
}

// Service returns a service on the network that runs already. Handlers and
// subscribers may be registered with it afterwards.
func (n *Net) Service(t testing.TB, opts ...micro.Option) micro.Service {
	t.Helper()
	s := n.NewService(opts...)
	n.Start(t, s)
	return s
}

// Start runs a service made with Options or NewService until the test ends, or
// until Stop. When it returns the service is registered, its subscribers
// receive, and its AfterStart hooks have run. A service that does not start
// ends the test; one whose Run returns an error later fails it.
func (n *Net) Start(t testing.TB, s micro.Service) {
	t.Helper()
	n.mu.Lock()
	_, twice := n.running[s]
	n.mu.Unlock()
	if twice {
		t.Fatalf("microtest: %s has been started already", s.Name())
	}
	parent := s.Options().Context
	if parent == nil {
		parent = context.Background()
	}
	ctx, cancel := context.WithCancel(parent)
	started := make(chan struct{})
	err := s.Init(micro.Args(nil), micro.HandleSignal(false), micro.Context(ctx),
		micro.AfterStart(func() error { close(started); return nil }))
	if err != nil {
		cancel()
		t.Fatalf("microtest: %s: %v", s.Name(), err)
	}
	r := &running{cancel: cancel, done: make(chan struct{})}
	n.mu.Lock()
	n.running[s] = r
	n.mu.Unlock()
	go func() { // the cleanup waits for it
		defer close(r.done)
		r.err = s.Run()
	}()
	t.Cleanup(func() {
		if err := n.stop(s); err != nil {
			t.Errorf("microtest: %s: %v", s.Name(), err)
		}
	})
	timer := time.NewTimer(startTimeout)
	defer timer.Stop()
	select {
	case <-started:
	case <-r.done:
		if err := n.stop(s); err != nil { // nil: it has started and its context has ended
			t.Fatalf("microtest: %s: %v", s.Name(), err)
		}
	case <-timer.C:
		cancel()
		n.forget(s) // or the cleanup would wait for what waits for ever
		t.Fatalf("microtest: %s has not started after %v: does a hook wait?", s.Name(), startTimeout)
	}
}

// Stop stops a service that Start has started, as a signal would: it leaves
// the registry and finishes what it has accepted. When it returns Run has
// returned. A service that does not run is none of its business. An error of
// Run fails the test.
func (n *Net) Stop(t testing.TB, s micro.Service) {
	t.Helper()
	if err := n.stop(s); err != nil {
		t.Errorf("microtest: %s: %v", s.Name(), err)
	}
}

// forget takes a service out of those that run; nil is not among them.
func (n *Net) forget(s micro.Service) *running {
	n.mu.Lock()
	defer n.mu.Unlock()
	r := n.running[s]
	delete(n.running, s)
	return r
}

// stop stops a service and returns the error of Run, once.
func (n *Net) stop(s micro.Service) error {
	r := n.forget(s)
	if r == nil {
		return nil
	}
	r.cancel()
	<-r.done
	return r.err
}

// Client returns a client on the network, which is closed when the test ends.
func (n *Net) Client(t testing.TB, opts ...client.Option) client.Client {
	t.Helper()
	b := n.broker.Peer()
	c := client.NewClient(append([]client.Option{
		client.Registry(n.registry), client.Transport(n.transport), client.Broker(b), client.Logger(n.logger),
	}, opts...)...)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
		defer cancel()
		err := b.Disconnect(ctx)
		if closer, ok := c.(io.Closer); ok {
			err = errors.Join(err, closer.Close())
		}
		if err != nil {
			t.Errorf("microtest: closing a client: %v", err)
		}
	})
	return c
}

// Registry returns the registry of the network: what is registered, and a
// place to register nodes that do not exist.
func (n *Net) Registry() registry.Registry { return n.registry }

// testOutput is the output of a test until its end: writing later panics.
type testOutput struct {
	mu sync.Mutex
	w  io.Writer // nil after the end
}

// Write implements io.Writer.
func (o *testOutput) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.w == nil {
		return len(b), nil
	}
	return o.w.Write(b)
}

func (o *testOutput) end() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.w = nil
}
