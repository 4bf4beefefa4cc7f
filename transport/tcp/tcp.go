// Package tcp is the native wire over TCP and unix sockets: the fastest way
// between two services of this framework.
//
// An address is host:port, or unix:PATH for a unix socket.
package tcp

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/seed-9a4e2794/micro/internal/wire"
	"github.com/seed-9a4e2794/micro/transport"
)

// Config holds the limits of the transport's connections. The zero Config is
// usable: each zero field stands for its default.
type Config struct {
	// MaxMessage is the largest encoded message taken or sent, in bytes.
	// Default 4 MiB.
	MaxMessage int
	// MaxCalls is the largest number of calls at once on one connection.
	// Default 16,384.
	MaxCalls int
	// MaxStreams is how many of them may be streams. Default 1,024.
	MaxStreams int
	// Window is how many bytes of a stream may be on their way unread.
	// Default 64 KiB.
	Window int
	// DialTimeout bounds connecting where the context does not. Default 5 s.
	DialTimeout time.Duration
	// HelloTimeout is how long a peer may take to begin. Default 5 s.
	HelloTimeout time.Duration
	// StallTimeout is how long a peer may stop in the middle of a frame, or
	// take nothing of what is sent to it. Default 20 s.
	StallTimeout time.Duration
	// KeepAlive is how long a caller with calls under way waits in silence
	// before it asks whether the peer is there, and as long again for the
	// answer. Default 10 s.
	KeepAlive time.Duration
	// TLS makes Dial encrypt, and verify who it has reached. It is called for
	// each connection, so that certificates can change; nil is plain text. A
	// listener with TLS is that of transport/port.
	TLS func() *tls.Config
	// Logger gets what no caller can be told. Default slog.Default.
	Logger *slog.Logger
}

// Transport is the native wire over sockets.
type Transport struct {
	wire wire.Config
	dial time.Duration
	tls  func() *tls.Config
}

var _ transport.Transport = (*Transport)(nil)

// New returns a transport.
func New(cfg Config) *Transport {
	t := &Transport{dial: cfg.DialTimeout, tls: cfg.TLS, wire: wire.Config{
		MaxMessage: cfg.MaxMessage, MaxCalls: cfg.MaxCalls, MaxStreams: cfg.MaxStreams, Window: cfg.Window,
		HelloTimeout: cfg.HelloTimeout, StallTimeout: cfg.StallTimeout, KeepAlive: cfg.KeepAlive, Logger: cfg.Logger,
	}}
	if t.dial <= 0 {
		t.dial = 5 * time.Second
	}
	return t
}

// Dial connects to addr; see transport.Transport.
func (t *Transport) Dial(ctx context.Context, addr string) (transport.Conn, error) {
	network := "tcp"
	if path, ok := strings.CutPrefix(addr, "unix:"); ok {
		network, addr = "unix", path
	}
	if _, has := ctx.Deadline(); !has {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, t.dial)
		defer cancel()
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, network, addr)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", transport.ErrUnreachable, err)
	}
	if t.tls != nil {
		if conn, err = secure(ctx, conn, addr, t.tls()); err != nil {
			return nil, fmt.Errorf("%w: %s: %w", transport.ErrUnreachable, addr, err)
		}
	}
	c, err := wire.NewCaller(ctx, conn, t.wire)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", transport.ErrUnreachable, addr, err)
	}
	return c, nil
}

// ALPN is the name of the native wire in TLS's choice of protocols.
const ALPN = "micro/1"

// secure encrypts a connection. It closes it when it fails.
func secure(ctx context.Context, conn net.Conn, addr string, cfg *tls.Config) (net.Conn, error) {
	cfg = cfg.Clone()
	cfg.NextProtos = []string{ALPN}
	if cfg.ServerName == "" {
		cfg.ServerName = addr
		if host, _, err := net.SplitHostPort(addr); err == nil {
			cfg.ServerName = host
		}
	}
	tc := tls.Client(conn, cfg)
	if err := tc.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, fmt.Errorf("TLS: %w", err)
	}
	return tc, nil
}

// Listen binds addr; see transport.Transport.
func (t *Transport) Listen(ctx context.Context, addr string) (transport.Listener, error) {
	ln, err := Bind(ctx, addr)
	if err != nil {
		return nil, err
	}
	return t.Serving(ln), nil
}

// Listener is the listening side of the native wire.
type Listener interface {
	transport.Listener
	// Serve serves a connection that was accepted elsewhere, once Accept has
	// been called. read is what has been read from it already, at most 16 KiB.
	Serve(conn net.Conn, read []byte)
}

// Serving returns the listening side of the native wire over the connections
// that ln accepts, which it takes over.
func (t *Transport) Serving(ln net.Listener) Listener { return wire.NewListener(ln, t.wire) }

// Bind binds an address of the form that Listen takes.
func Bind(ctx context.Context, addr string) (net.Listener, error) {
	var lc net.ListenConfig
	if path, ok := strings.CutPrefix(addr, "unix:"); ok {
		return listenUnix(ctx, path)
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		if !strings.Contains(err.Error(), "missing port") {
			return nil, fmt.Errorf("listen on %q: %w", addr, err)
		}
		host, port = strings.Trim(addr, "[]"), "0"
	}
	if port == "" {
		port = "0"
	}
	low, high, isRange := strings.Cut(port, "-")
	if !isRange {
		return lc.Listen(ctx, "tcp", net.JoinHostPort(host, port))
	}
	from, err1 := strconv.ParseUint(low, 10, 16)
	to, err2 := strconv.ParseUint(high, 10, 16)
	if err := errors.Join(err1, err2); err != nil || from > to {
		return nil, fmt.Errorf("listen on %q: the port range is not two ports, lower first", addr)
	}
	var last error
	for p := from; p <= to; p++ {
		ln, err := lc.Listen(ctx, "tcp", net.JoinHostPort(host, strconv.FormatUint(p, 10)))
		if err == nil {
			return ln, nil
		}
		last = err
	}
	return nil, fmt.Errorf("listen on %q: no port of the range is free: %w", addr, last)
}

// listenUnix binds a unix socket. A file that a process left behind when it was
// killed is taken over: nobody answers on it.
func listenUnix(ctx context.Context, path string) (net.Listener, error) {
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "unix", path)
	if !errors.Is(err, syscall.EADDRINUSE) {
		return ln, err
	}
	var d net.Dialer
	conn, dialErr := d.DialContext(ctx, "unix", path)
	if dialErr == nil {
		conn.Close()
		return nil, err
	}
	if !errors.Is(dialErr, syscall.ECONNREFUSED) {
		return nil, err
	}
	if rmErr := os.Remove(path); rmErr != nil {
		return nil, errors.Join(err, rmErr)
	}
	return lc.Listen(ctx, "unix", path)
}
