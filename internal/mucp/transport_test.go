package mucp

import (
	"context"
	"net"
	"net/http"
	"sync"
	"testing"

	"github.com/seed-9a4e2794/micro/transport"
	"github.com/seed-9a4e2794/micro/transport/transporttest"
)

// network is this wire as a transport.Transport: a net/http server whose
// handler takes every connection over.
type network struct {
	server, client Config
}

func (n *network) Dial(ctx context.Context, addr string) (transport.Conn, error) {
	return Dial(ctx, addr, n.client)
}

func (n *network) Listen(ctx context.Context, addr string) (transport.Listener, error) {
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	return &listener{ln: ln, cfg: n.server, closed: make(chan struct{})}, nil
}

type listener struct {
	ln     net.Listener
	cfg    Config
	mu     sync.Mutex
	srv    *Server
	http   *http.Server
	once   sync.Once
	closed chan struct{}
}

func (l *listener) Addr() string { return l.ln.Addr().String() }

func (l *listener) Accept(serve func(transport.Socket), opts ...transport.AcceptOption) error {
	srv := NewServer(l.cfg, serve, transport.NewAcceptOptions(opts...))
	h := &http.Server{Handler: takeOver(srv)}
	l.mu.Lock()
	l.srv, l.http = srv, h
	l.mu.Unlock()
	_ = h.Serve(l.ln) // ends with an error that says that it was closed
	<-l.closed
	return nil
}

// takeOver is a handler that hands every connection to srv.
func takeOver(srv *Server) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		peer := transport.Peer{Local: r.Context().Value(http.LocalAddrContextKey).(net.Addr).String(), Remote: r.RemoteAddr}
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			srv.ServeOne(w, r, peer)
			return
		}
		srv.ServeConn(conn, rw.Reader, r, peer)
	})
}

func (l *listener) Shutdown(ctx context.Context) error {
	l.ln.Close()
	l.mu.Lock()
	srv := l.srv
	l.mu.Unlock()
	var err error
	if srv != nil {
		err = srv.Shutdown(ctx)
	}
	l.Close()
	return err
}

func (l *listener) Close() error {
	l.once.Do(func() {
		l.ln.Close()
		l.mu.Lock()
		srv, h := l.srv, l.http
		l.mu.Unlock()
		if h != nil {
			h.Close()
			srv.Close()
		}
		close(l.closed)
	})
	return nil
}

func TestTransport(t *testing.T) {
	transporttest.Run(t, transporttest.Config{
		New: func(*testing.T) transport.Transport {
			return &network{server: Config{MaxMessage: 1 << 20}, client: Config{MaxMessage: 1 << 20}}
		},
		Addr: "127.0.0.1:0",
		Without: map[string]string{
			"UnaryError":         "an error is four JSON keys: its details and exact code have no place",
			"UnaryMetadata":      "there are no trailers, and a header holds no arbitrary bytes",
			"StreamBackPressure": "there is no window but that of TCP, whose buffers take more than the rule allows",
			"ShutdownWaits":      "there is no GOAWAY: a caller learns of a shutdown with its next call",
			"ShutdownRefuses":    "idle connections are closed, and a call that crosses that is lost: TestShutdownWaitsForCallsAndRefusesOthers has the rest",
		},
	})
}
