package http

import (
	"context"
	"crypto/tls"
	stderrors "errors"
	"log/slog"
	"net"
	nethttp "net/http"
	"sync"

	"github.com/seed-9a4e2794/micro/internal/ctxkey"
	"github.com/seed-9a4e2794/micro/transport"
)

// Listener is the listening side.
type Listener struct {
	cfg      Config
	ln       net.Listener
	arrivals *arrivals

	mu       sync.Mutex
	over     bool            // no more is taken
	handler  *Handler        // nil before Accept is called
	server   *nethttp.Server // likewise
	accepted chan struct{}   // closed when Accept has returned; nil before it is called
}

var _ transport.Listener = (*Listener)(nil)

// NewListener returns a listener for the connections that ln accepts, which it
// takes over. Where they are encrypted they are of type *tls.Conn and have
// agreed on h2 or http/1.1.
func NewListener(cfg Config, ln net.Listener) *Listener {
	cfg = cfg.withDefaults()
	return &Listener{cfg: cfg, ln: closed{ln}, arrivals: &arrivals{limit: cfg.StallTimeout}}
}

// closed is a listener that can be closed again: here and by net/http's server.
type closed struct{ net.Listener }

// Close implements net.Listener.
func (c closed) Close() error {
	if err := c.Listener.Close(); !stderrors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// Addr returns the bound address.
func (l *Listener) Addr() string { return l.ln.Addr().String() }

// Accept serves connections; see transport.Listener.
func (l *Listener) Accept(serve func(transport.Socket), opts ...transport.AcceptOption) error {
	l.mu.Lock()
	if l.over {
		l.mu.Unlock()
		return nil
	}
	if l.accepted != nil {
		l.mu.Unlock()
		return stderrors.New("http: Accept has been called before")
	}
	l.accepted = make(chan struct{})
	defer close(l.accepted)
	l.handler = NewHandler(l.cfg, serve, opts...)
	protocols := new(nethttp.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	l.server = &nethttp.Server{
		Handler:           l.handler,
		Protocols:         protocols,
		ReadHeaderTimeout: l.cfg.HelloTimeout,
		IdleTimeout:       l.cfg.IdleTimeout,
		MaxHeaderBytes:    l.cfg.MaxHeader,
		HTTP2: &nethttp.HTTP2Config{
			MaxConcurrentStreams: l.cfg.MaxCalls,
			// By net/http's defaults one stream whose messages nobody takes
			// fills the window of the connection, and all calls wait.
			MaxReceiveBufferPerStream:     64 << 10,
			MaxReceiveBufferPerConnection: 4<<20 - 1,
			SendPingTimeout:               l.cfg.StallTimeout, // without a frame from the peer
			PingTimeout:                   l.cfg.StallTimeout,
			WriteByteTimeout:              l.cfg.StallTimeout,
		},
		// Any stranger can make a connection fail, so it is told only to those
		// who look.
		ErrorLog:    slog.NewLogLogger(l.cfg.Logger.Handler(), slog.LevelDebug),
		ConnContext: l.withPeer,
	}
	l.mu.Unlock()
	err := l.server.Serve(l.ln)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over || stderrors.Is(err, nethttp.ErrServerClosed) {
		return nil
	}
	return err
}

// withPeer puts the peer of a connection into the context of its requests.
func (l *Listener) withPeer(ctx context.Context, conn net.Conn) context.Context {
	p := &connPeer{conn: conn, arrivals: l.arrivals, peer: transport.Peer{Local: conn.LocalAddr().String(), Remote: conn.RemoteAddr().String()}}
	return context.WithValue(ctx, ctxkey.Peer{}, p)
}

// connPeer is the peer of a connection. Over TLS it is known once the handshake
// is done, which it is when there is a request.
type connPeer struct {
	conn     net.Conn
	arrivals *arrivals // of its listener
	once     sync.Once
	peer     transport.Peer
}

func (p *connPeer) get() transport.Peer {
	p.once.Do(func() {
		if tc, ok := p.conn.(interface{ ConnectionState() tls.ConnectionState }); ok {
			state := tc.ConnectionState()
			p.peer.Secure, p.peer.Identity = true, transport.NewIdentity(&state)
		}
	})
	return p.peer
}

// Shutdown stops taking connections and calls, and waits for those under way;
// see transport.Listener. A unary call whose request has not come whole is not
// under way: it is refused.
func (l *Listener) Shutdown(ctx context.Context) error {
	handler, server := l.stop()
	if server == nil {
		return nil
	}
	var group sync.WaitGroup
	var gone error
	group.Go(func() { gone = handler.Shutdown(ctx) })
	err := server.Shutdown(ctx)
	group.Wait()
	if err == nil {
		err = gone
	}
	return stderrors.Join(err, l.Close())
}

// Close stops at once; see transport.Listener.
func (l *Listener) Close() error {
	handler, server := l.stop()
	if server == nil {
		return nil
	}
	err := stderrors.Join(server.Close(), handler.Close())
	<-l.accepted
	return err
}

// stop stops taking connections, and the requests that are still coming.
func (l *Listener) stop() (*Handler, *nethttp.Server) {
	l.arrivals.stop()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.over = true
	l.ln.Close() // a second close says so, which does not matter
	return l.handler, l.server
}

// Listen binds addr, host:port; an empty port or port 0 takes a free one. The
// listener has no TLS: that of transport/port has.
func (t *Transport) Listen(ctx context.Context, addr string) (transport.Listener, error) {
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	return NewListener(t.cfg, ln), nil
}
