package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	brokermemory "github.com/seed-9a4e2794/micro/broker/memory"
	"github.com/seed-9a4e2794/micro/client"
	"github.com/seed-9a4e2794/micro/registry"
	registrymemory "github.com/seed-9a4e2794/micro/registry/memory"
	"github.com/seed-9a4e2794/micro/server"
	"github.com/seed-9a4e2794/micro/transport"
	transportmemory "github.com/seed-9a4e2794/micro/transport/memory"
)

type Ask struct {
	Name string `json:"name"`
}

type Answer struct {
	Text string `json:"text"`
}

// world is what the services and clients of a test share.
type world struct {
	registry  *registrymemory.Registry
	broker    *brokermemory.Broker
	transport *network
	log       *slog.Logger
}

func newWorld() *world {
	return &world{registry: registrymemory.New(), broker: brokermemory.New(), log: slog.New(slog.DiscardHandler),
		transport: &network{Transport: transportmemory.New(transportmemory.Config{})}}
}

// serve starts a node of the service greeter and stops it after the test.
func (w *world) serve(t testing.TB, name string, handlers ...server.Handler) server.Server {
	t.Helper()
	return w.with(t, name, nil, handlers...)
}

// with is serve with options of the server.
func (w *world) with(t testing.TB, name string, opts []server.Option, handlers ...server.Handler) server.Server {
	t.Helper()
	s := server.NewServer(append([]server.Option{server.Name("greeter"), server.Id(name), server.Address(name + ":1"), server.Registry(w.registry),
		server.Transport(w.transport), server.Broker(w.broker), server.Logger(w.log)}, opts...)...)
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
	c := client.NewClient(append([]client.Option{client.Registry(w.registry), client.Transport(w.transport), client.Broker(w.broker), client.Logger(w.log)}, opts...)...)
	t.Cleanup(func() { must(t, c.(io.Closer).Close()) })
	return c
}

// ask calls an endpoint of the service greeter.
func ask(ctx context.Context, c client.Client, endpoint, name string, opts ...client.CallOption) (string, error) {
	var rsp Answer
	err := c.Call(ctx, c.NewRequest("greeter", endpoint, &Ask{name}), &rsp, opts...)
	return rsp.Text, err
}

// answering is the handler Greeter.Hello that counts and does what f says.
func answering(count *atomic.Int64, f func(ctx context.Context, req *Ask) (*Answer, error)) server.Handler {
	return server.Typed("Greeter.Hello", func(ctx context.Context, req *Ask) (*Answer, error) {
		count.Add(1)
		return f(ctx, req)
	})
}

func well(_ context.Context, req *Ask) (*Answer, error) { return &Answer{"Hello " + req.Name}, nil }

// network is a transport that can be told to fail, and counts.
type network struct {
	*transportmemory.Transport
	dials atomic.Int64
	calls atomic.Int64

	mu    sync.Mutex
	hook  func(ctx context.Context, addr string) error // before a dial
	conns []*netConn
}

type netConn struct {
	transport.Conn
	n      *network
	closed atomic.Bool
}

func (c *netConn) Call(ctx context.Context, r transport.Request) (transport.Reply, error) {
	c.n.calls.Add(1)
	return c.Conn.Call(ctx, r)
}

func (n *network) Dial(ctx context.Context, addr string) (transport.Conn, error) {
	n.dials.Add(1)
	n.mu.Lock()
	hook := n.hook
	n.mu.Unlock()
	if hook != nil {
		if err := hook(ctx, addr); err != nil {
			return nil, err
		}
	}
	c, err := n.Transport.Dial(ctx, addr)
	if err != nil {
		return nil, err
	}
	k := &netConn{Conn: c, n: n}
	n.mu.Lock()
	n.conns = append(n.conns, k)
	n.mu.Unlock()
	return k, nil
}

func (n *network) onDial(hook func(ctx context.Context, addr string) error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.hook = hook
}

// open returns how many connections have not been closed by their client.
func (n *network) open() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	open := 0
	for _, c := range n.conns {
		if !c.closed.Load() {
			open++
		}
	}
	return open
}

func (c *netConn) Close() error {
	c.closed.Store(true)
	return c.Conn.Close()
}

// unreachable is a dial that fails for nodes whose address begins with a text.
func unreachable(prefix string) func(context.Context, string) error {
	return func(_ context.Context, addr string) error {
		if strings.HasPrefix(addr, prefix) {
			return fmt.Errorf("%w: %s", transport.ErrUnreachable, addr)
		}
		return nil
	}
}

// node registers a node of greeter that nobody serves.
func (w *world) node(t testing.TB, name string) {
	t.Helper()
	must(t, w.registry.Register(context.Background(), &registry.Service{Name: "greeter", Version: "latest", Nodes: []*registry.Node{{Id: name, Address: name + ":1"}}}))
}

// attempts returns what an error says was tried.
func attempts(t testing.TB, err error) []client.Attempt {
	t.Helper()
	var tried *client.Tried
	if !errors.As(err, &tried) {
		t.Fatalf("the error does not say what was tried: %v", err)
	}
	return tried.Attempts
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

// cut ends all connections as the end of a process does.
func (n *network) cut() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, c := range n.conns {
		c.Conn.Close()
	}
}

func isLost(err error) bool { return errors.Is(err, transport.ErrLost) }

// cutting is a transport whose nodes can be killed: what is connected breaks,
// and nothing connects any more.
type cutting struct {
	transport.Transport

	mu    sync.Mutex
	dead  map[string]bool
	conns map[string][]transport.Conn
}

func (c *cutting) Dial(ctx context.Context, addr string) (transport.Conn, error) {
	conn, err := c.Transport.Dial(ctx, addr)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil && c.dead[addr] {
		conn.Close()
		return nil, fmt.Errorf("%w: %s was killed", transport.ErrUnreachable, addr)
	}
	if c.conns == nil {
		c.conns = make(map[string][]transport.Conn)
	}
	if err == nil {
		c.conns[addr] = append(c.conns[addr], conn)
	}
	return conn, err
}

func (c *cutting) kill(addr string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dead[addr] = true
	for _, conn := range c.conns[addr] {
		conn.Close()
	}
}
