package http

import (
	"context"
	"fmt"
	"io"
	"net"
	nethttp "net/http"
	"sync"

	"github.com/seed-9a4e2794/micro/transport"
)

// maxHTTP1 is how many connections of HTTP/1.1 stand for one: each carries one
// call at a time. Further calls wait for one of them.
const maxHTTP1 = 64

// http1 makes calls over connections of HTTP/1.1.
type http1 struct {
	t    *nethttp.Transport
	ctx  context.Context // of the caller
	dial func(context.Context) (net.Conn, error)
	fail func(error) // told when no further connection can be made

	mu    sync.Mutex
	first net.Conn // made by Dial and not in use
	lines map[*watched]struct{}
	going sync.WaitGroup // those who dial; it grows under the lock, and not when ctx has ended
}

// begin1 begins HTTP/1.1 on a connection, which it takes over.
func (t *Transport) begin1(addr string, conn net.Conn) *caller {
	c := newCaller(t.cfg, t.base(addr), conn)
	h := &http1{ctx: c.ctx, first: conn, lines: make(map[*watched]struct{}), fail: c.broken}
	h.dial = func(ctx context.Context) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, t.cfg.DialTimeout)
		defer cancel()
		conn, _, err := t.connect(ctx, addr)
		if err != nil {
			err = fmt.Errorf("%w: %s: %w", transport.ErrUnreachable, addr, err)
		}
		return conn, err
	}
	h.t = &nethttp.Transport{
		Protocols:              new(nethttp.Protocols),
		DialContext:            h.line,
		DialTLSContext:         h.line,
		DisableCompression:     true,
		MaxConnsPerHost:        maxHTTP1,
		MaxIdleConnsPerHost:    maxHTTP1,
		IdleConnTimeout:        t.cfg.IdleTimeout,
		MaxResponseHeaderBytes: int64(t.cfg.MaxHeader),
	}
	h.t.Protocols.SetHTTP1(true)
	c.rt, c.h1 = h, h
	return c
}

// line makes a connection for net/http.
func (h *http1) line(ctx context.Context, _, _ string) (net.Conn, error) {
	h.mu.Lock()
	if h.ctx.Err() != nil {
		h.mu.Unlock()
		return nil, transport.ErrClosed
	}
	conn := h.first
	h.first = nil
	h.going.Add(1)
	h.mu.Unlock()
	defer h.going.Done()
	if conn == nil {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(h.ctx, cancel)()
		var err error
		if conn, err = h.dial(ctx); err != nil {
			if ctx.Err() == nil {
				h.fail(err)
			}
			return nil, err
		}
	}
	w := newWatched(conn, false)
	h.mu.Lock()
	h.lines[w] = struct{}{}
	h.mu.Unlock()
	w.onEnd(func() {
		h.mu.Lock()
		if h.ctx.Err() == nil { // else close looks after it
			delete(h.lines, w)
		}
		h.mu.Unlock()
	})
	return w, nil
}

// RoundTrip implements http.RoundTripper. The exchange ends with the caller.
func (h *http1) RoundTrip(req *nethttp.Request) (*nethttp.Response, error) {
	ctx, cancel := context.WithCancel(req.Context())
	stop := context.AfterFunc(h.ctx, cancel)
	done := func() { stop(); cancel() }
	res, err := h.t.RoundTrip(req.WithContext(ctx))
	if err != nil {
		done()
		return nil, err
	}
	res.Body = &closing{res.Body, done}
	return res, nil
}

// closing is a body whose end is told.
type closing struct {
	io.ReadCloser
	done func()
}

func (c *closing) Close() error {
	defer c.done()
	return c.ReadCloser.Close()
}

// close ends the connections, once ctx has ended, and waits for who uses them.
func (h *http1) close() {
	h.mu.Lock()
	first := h.first
	h.first = nil
	h.mu.Unlock()
	if first != nil {
		first.Close()
	}
	h.going.Wait()
	h.t.CloseIdleConnections()
	h.mu.Lock()
	lines := h.lines
	h.lines = nil
	h.mu.Unlock()
	for w := range lines {
		w.Close()
		w.wait()
	}
}
