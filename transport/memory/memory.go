// Package memory carries calls within one process, for tests: the native wire
// over pipes instead of sockets. It works in bubbles of testing/synctest.
package memory

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"

	"github.com/seed-9a4e2794/micro/internal/wire"
	"github.com/seed-9a4e2794/micro/transport"
)

// Transport is a network of its own: what listens on it can be dialled through
// the same Transport only.
type Transport struct {
	cfg wire.Config

	mu        sync.Mutex
	listeners map[string]*listener
	nextPort  int
}

var _ transport.Transport = (*Transport)(nil)

// Config holds the limits of connections. The zero Config is usable.
type Config struct {
	// MaxMessage is the largest encoded message, in bytes. Default 4 MiB.
	MaxMessage int
}

// New returns a new network.
func New(cfg Config) *Transport {
	return &Transport{cfg: wire.Config{MaxMessage: cfg.MaxMessage}, listeners: make(map[string]*listener), nextPort: 10000}
}

// Dial connects to a listener of this network.
func (t *Transport) Dial(ctx context.Context, addr string) (transport.Conn, error) {
	t.mu.Lock()
	l := t.listeners[addr]
	t.mu.Unlock()
	if l == nil {
		return nil, fmt.Errorf("%w: nothing listens on %s in memory", transport.ErrUnreachable, addr)
	}
	near, far := net.Pipe()
	select {
	case l.backlog <- &conn{Conn: far, local: l.addr, remote: "memory:0"}:
	case <-l.done:
		return nil, fmt.Errorf("%w: nothing listens on %s in memory", transport.ErrUnreachable, addr)
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %s: %w", transport.ErrUnreachable, addr, ctx.Err())
	}
	c, err := wire.NewCaller(ctx, &conn{Conn: near, local: "memory:0", remote: l.addr}, t.cfg)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", transport.ErrUnreachable, addr, err)
	}
	return c, nil
}

// Listen binds an address of this network. Any text is an address; an empty
// one, and a port of 0 or none, get a port that is free.
func (t *Transport) Listen(_ context.Context, addr string) (transport.Listener, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		host, port = addr, ""
	}
	if port == "" || port == "0" || strings.Contains(port, "-") {
		if host == "" {
			host = "memory"
		}
		t.nextPort++
		addr = net.JoinHostPort(host, fmt.Sprint(t.nextPort))
	}
	if t.listeners[addr] != nil {
		return nil, fmt.Errorf("memory: listen on %s: the address is in use", addr)
	}
	l := &listener{t: t, addr: address(addr), backlog: make(chan net.Conn), done: make(chan struct{})}
	t.listeners[addr] = l
	return wire.NewListener(l, t.cfg), nil
}

// listener is a net.Listener of the network.
type listener struct {
	t       *Transport
	addr    address
	backlog chan net.Conn
	once    sync.Once
	done    chan struct{}
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.backlog:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (l *listener) Close() error {
	l.once.Do(func() {
		l.t.mu.Lock()
		delete(l.t.listeners, string(l.addr))
		l.t.mu.Unlock()
		close(l.done)
	})
	return nil
}

// Addr implements net.Listener.
func (l *listener) Addr() net.Addr { return l.addr }

// address is an address of the network.
type address string

// Network implements net.Addr.
func (address) Network() string { return "memory" }

// String implements net.Addr.
func (a address) String() string { return string(a) }

// conn is one end of a pipe with addresses.
type conn struct {
	net.Conn
	local, remote address
}

// LocalAddr implements net.Conn.
func (c *conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr implements net.Conn.
func (c *conn) RemoteAddr() net.Addr { return c.remote }
