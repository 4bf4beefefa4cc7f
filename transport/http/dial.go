package http

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	nethttp "net/http"
	"slices"
	"strings"
	"time"

	"github.com/seed-9a4e2794/micro/internal/mucp"
	"github.com/seed-9a4e2794/micro/transport"
)

// Transport carries calls over HTTP. Dial speaks the one protocol that the
// Config names.
//
// gRPC runs over HTTP/2: by ALPN where there is TLS, with prior knowledge where
// there is not. gRPC-Web and Connect do the same, and fall back to HTTP/1.1
// when the server has nothing else; a connection then is a few connections, as
// HTTP/1.1 carries one call at a time, and has no streams.
//
// A call that finds as many streams open as the peer allows waits for one to
// end, within its deadline. A peer that has gone silent is noticed by HTTP/2
// pings and TCP's keep-alive; besides, an HTTP/2 connection on which a call has
// timed out without a byte coming in takes no new calls.
type Transport struct {
	cfg Config
	h2  *nethttp.Transport // begins HTTP/2 on a connection that is there
}

// New returns a transport.
func New(cfg Config) *Transport {
	t := &Transport{cfg: cfg.withDefaults()}
	t.h2 = &nethttp.Transport{
		Protocols:              new(nethttp.Protocols),
		DialContext:            handOver,
		DisableCompression:     true, // the protocols have their own
		IdleConnTimeout:        t.cfg.IdleTimeout,
		MaxResponseHeaderBytes: int64(t.cfg.MaxHeader),
		HTTP2: &nethttp.HTTP2Config{
			// A receiver that does not take holds this much, not the 4 MiB of
			// net/http.
			MaxReceiveBufferPerStream: 256 << 10,
			SendPingTimeout:           pingAfter(t.cfg.Protocol),
			PingTimeout:               pingPatience,
			WriteByteTimeout:          t.cfg.StallTimeout,
		},
	}
	// TLS, where there is some, has been made before HTTP begins.
	t.h2.Protocols.SetUnencryptedHTTP2(true)
	return t
}

// pingPatience is how long a ping may go without an answer.
const pingPatience = 10 * time.Second

// pingAfter is how long a connection is silent before it is pinged. gRPC's
// servers allow a ping each five minutes by default and end the connection of
// a caller that sends more; the others have no such rule.
func pingAfter(p Protocol) time.Duration {
	if p == GRPC {
		return 5*time.Minute + 10*time.Second
	}
	return 15 * time.Second
}

// preparedKey is the key in a context for the connection that HTTP/2 is to
// begin on.
type preparedKey struct{}

// handOver gives net/http the connection that has been made for it.
func handOver(ctx context.Context, _, _ string) (net.Conn, error) {
	if c, ok := ctx.Value(preparedKey{}).(net.Conn); ok {
		return c, nil
	}
	return nil, errors.New("http: a connection of another's making was asked for")
}

// Dial connects to addr, host:port or unix:PATH; see transport.Transport.
func (t *Transport) Dial(ctx context.Context, addr string) (transport.Conn, error) {
	if _, has := ctx.Deadline(); !has {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, t.cfg.DialTimeout)
		defer cancel()
	}
	switch t.cfg.Protocol {
	case GRPC, GRPCWeb, Connect:
	case MUCP, MUCPLegacy:
		return mucp.Dial(ctx, addr, t.cfg.mucp())
	default:
		return nil, fmt.Errorf("%w: %s: the protocol %q is none of %s, %s, %s, %s, %s", transport.ErrUnreachable, addr,
			t.cfg.Protocol, GRPC, GRPCWeb, Connect, MUCP, MUCPLegacy)
	}
	c, err := t.dial(ctx, addr)
	if err != nil {
		if errors.Is(err, transport.ErrUnreachable) {
			return nil, err
		}
		return nil, fmt.Errorf("%w: %s: %w", transport.ErrUnreachable, addr, err)
	}
	return c, nil
}

// errNoHTTP2 says that a server does not agree on what gRPC runs over.
var errNoHTTP2 = errors.New("gRPC needs HTTP/2 and the server does not agree to it by ALPN: let it offer h2, or call it by Connect or gRPC-Web")

// dial connects and finds out which HTTP the peer speaks.
func (t *Transport) dial(ctx context.Context, addr string) (*caller, error) {
	conn, proto, err := t.connect(ctx, addr)
	if err != nil {
		return nil, err
	}
	if t.cfg.TLS != nil && proto != "h2" {
		if t.cfg.Protocol == GRPC {
			conn.Close()
			return nil, fmt.Errorf("%w: it chose %q", errNoHTTP2, proto)
		}
		return t.begin1(addr, conn), nil
	}
	c, err := t.begin2(ctx, addr, conn)
	var other *otherProtocol
	if errors.As(err, &other) && other.http1() && t.cfg.Protocol != GRPC {
		if conn, _, err = t.connect(ctx, addr); err != nil {
			return nil, err
		}
		return t.begin1(addr, conn), nil
	}
	return c, err
}

// connect makes a connection, encrypted if it is to be. It returns the
// protocol that TLS has settled on, "" when on none.
func (t *Transport) connect(ctx context.Context, addr string) (net.Conn, string, error) {
	network, host := "tcp", ""
	if path, ok := strings.CutPrefix(addr, "unix:"); ok {
		network, addr, host = "unix", path, "localhost"
	} else {
		var err error
		if host, _, err = net.SplitHostPort(addr); err != nil {
			return nil, "", fmt.Errorf("the address is not host:port: %w", err)
		}
	}
	// Probes after 15 s of silence; the third without an answer ends it.
	d := net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 3}}
	raw, err := d.DialContext(ctx, network, addr)
	if err != nil || t.cfg.TLS == nil {
		return raw, "", err
	}
	cfg := new(tls.Config)
	if own := t.cfg.TLS(); own != nil {
		cfg = own.Clone()
	}
	if cfg.ServerName == "" {
		cfg.ServerName = host
	}
	cfg.NextProtos = []string{"h2"}
	if t.cfg.Protocol != GRPC {
		cfg.NextProtos = append(cfg.NextProtos, "http/1.1")
	}
	conn := tls.Client(raw, cfg)
	if err := conn.HandshakeContext(ctx); err != nil {
		raw.Close()
		// The alert has no name outside crypto/tls.
		if t.cfg.Protocol == GRPC && strings.Contains(err.Error(), "no application protocol") {
			return nil, "", fmt.Errorf("%w: %w", errNoHTTP2, err)
		}
		return nil, "", fmt.Errorf("TLS: %w", err)
	}
	return conn, conn.ConnectionState().NegotiatedProtocol, nil
}

// begin2 begins HTTP/2 on a connection, which it takes over, and waits for the
// peer's greeting: so it is known that the peer speaks HTTP/2.
func (t *Transport) begin2(ctx context.Context, addr string, conn net.Conn) (*caller, error) {
	w := newWatched(conn, true)
	cc, err := t.h2.NewClientConn(context.WithValue(ctx, preparedKey{}, net.Conn(w)), "http", "prepared:80")
	if err != nil {
		conn.Close()
		return nil, err
	}
	select {
	case <-w.begun:
		err = w.refused
	case <-w.ended:
		select {
		case <-w.begun: // first: net/http ends what is no HTTP/2
			err = w.refused
		default:
			err = fmt.Errorf("the server ended the connection before it answered the greeting of HTTP/2: %w", w.cause())
		}
	case <-ctx.Done():
		err = fmt.Errorf("the server has not answered the greeting of HTTP/2, it may speak another protocol: %w", ctx.Err())
	}
	if err != nil {
		cc.Close()
		w.Close()
		w.wait()
		return nil, err
	}
	c := newCaller(t.cfg, t.base(addr), conn)
	c.rt, c.h2, c.line = cc, cc, w
	w.onEnd(c.cancel)
	return c, nil
}

// base returns the URL that paths are appended to.
func (t *Transport) base(addr string) string {
	scheme := "http://"
	if t.cfg.TLS != nil {
		scheme = "https://"
	}
	if strings.HasPrefix(addr, "unix:") {
		addr = "localhost"
	}
	return scheme + addr
}

// otherProtocol is the error of a server that does not speak HTTP/2.
type otherProtocol struct{ first []byte }

func (e *otherProtocol) Error() string {
	if e.http1() {
		line, _, _ := strings.Cut(string(e.first), "\r\n")
		return fmt.Sprintf("the server speaks HTTP/1 only (%q): gRPC needs HTTP/2", line)
	}
	return fmt.Sprintf("the server does not speak HTTP/2: it answered %q", e.first)
}

// http1 reports whether the server speaks HTTP/1.
func (e *otherProtocol) http1() bool {
	return slices.Equal(e.first[:min(len(e.first), 7)], []byte("HTTP/1."))
}
