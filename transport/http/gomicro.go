package http

import (
	"context"
	nethttp "net/http"

	"github.com/seed-9a4e2794/micro/errors"
	"github.com/seed-9a4e2794/micro/internal/ctxkey"
	"github.com/seed-9a4e2794/micro/internal/mucp"
	"github.com/seed-9a4e2794/micro/transport"
)

// goMicro answers programs built with go-micro on their own wire.
type goMicro struct {
	h      *Handler
	server *mucp.Server
}

func newGoMicro(h *Handler) *goMicro {
	return &goMicro{h: h, server: mucp.NewServer(h.cfg.mucp(), h.serve, h.opts)}
}

// mucp returns the limits for go-micro's wire.
func (c Config) mucp() mucp.Config {
	return mucp.Config{MaxMessage: c.MaxMessage, MaxHeader: c.MaxHeader, ReadTimeout: c.StallTimeout, StallTimeout: c.StallTimeout,
		DialTimeout: c.DialTimeout, Legacy: c.Protocol == MUCPLegacy, TLS: c.TLS, Logger: c.Logger}
}

// is reports whether a request is of go-micro's wire.
func (g *goMicro) is(r *nethttp.Request) bool { return mucp.Is(r.Header, r.Method, r.URL.Path) }

// serve answers a request of go-micro's wire. Over HTTP/1.x the connection is
// taken over: its messages answer each other in no fixed order.
func (g *goMicro) serve(w nethttp.ResponseWriter, r *nethttp.Request) {
	peer := transport.Peer{Protocol: mucp.Protocol}
	if p, ok := r.Context().Value(ctxkey.Peer{}).(*connPeer); ok {
		peer = p.get()
		peer.Protocol = mucp.Protocol
	}
	if r.ProtoMajor != 1 {
		g.server.ServeOne(w, r, peer)
		return
	}
	conn, buffered, err := nethttp.NewResponseController(w).Hijack()
	if err != nil {
		g.h.answer(w, r, nethttp.StatusInternalServerError, errors.Wrap(handlerId, errors.CodeInternal, err))
		return
	}
	g.server.ServeConn(conn, buffered.Reader, r, peer)
}

func (g *goMicro) shutdown(ctx context.Context) error { return g.server.Shutdown(ctx) }
func (g *goMicro) close() error                       { return g.server.Close() }
