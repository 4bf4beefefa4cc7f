package http

import (
	"fmt"
	"io"
	nethttp "net/http"
	"time"

	"connectrpc.com/connect"

	"github.com/seed-9a4e2794/micro/errors"
	"github.com/seed-9a4e2794/micro/internal/ctxkey"
)

// envelope is what gRPC puts before a message, in bytes.
const envelope = 5

// unaryBounds holds the calls of a handler to the limits of unary ones: on the
// size of the request, the time that it takes to come, and that of an answer
// which nobody takes. limit is the largest message, in bytes.
func (h *Handler) unaryBounds(inner nethttp.Handler, limit int) nethttp.Handler {
	return nethttp.HandlerFunc(func(w nethttp.ResponseWriter, r *nethttp.Request) {
		g := &guard{ResponseWriter: w, old: r.ProtoMajor == 1, unary: true, limit: h.cfg.StallTimeout}
		if r.Body == nil || r.Body == nethttp.NoBody {
			inner.ServeHTTP(g, r)
			return
		}
		rpc := isRPC(r)
		if !rpc && r.ContentLength > int64(limit) {
			if g.old {
				w.Header().Set("Connection", "close") // what comes is not read
			}
			h.answer(w, r, nethttp.StatusRequestEntityTooLarge, errors.NewCode(handlerId, errors.CodeResourceExhausted,
				"the request has %d bytes, and no more than %d are taken", r.ContentLength, limit))
			return
		}
		g.body = requestBody{ReadCloser: r.Body, left: int64(limit), limit: limit}
		if p, ok := r.Context().Value(ctxkey.Peer{}).(*connPeer); ok && p.arrivals != nil {
			if !p.arrivals.join(g) {
				h.fail(w, r, errStopping())
				return
			}
			g.arrivals = p.arrivals
			defer g.arrived()
			g.coming = arriving{r.Body, g}
			g.body.ReadCloser = &g.coming
		}
		if rpc {
			g.body.left += envelope
		} else {
			g.plain = true
		}
		if g.old {
			// net/http takes the limit back at the end of the body. Where it
			// breaks off the limit stays, and nobody waits for the rest.
			_ = nethttp.NewResponseController(w).SetReadDeadline(time.Now().Add(h.cfg.StallTimeout))
		}
		// net/http looks at the body of its own request afterwards.
		g.request = *r
		g.request.Body = &g.body
		inner.ServeHTTP(g, &g.request)
	})
}

// streamBounds holds the calls of a handler to the limit of streams: what is
// sent must be taken some time. Over HTTP/2 a caller may take messages as
// slowly as it likes, while it answers otherwise.
func (h *Handler) streamBounds(inner nethttp.Handler) nethttp.Handler {
	return nethttp.HandlerFunc(func(w nethttp.ResponseWriter, r *nethttp.Request) {
		if r.ProtoMajor == 1 {
			w = &guard{ResponseWriter: w, old: true, limit: h.cfg.StallTimeout}
		}
		inner.ServeHTTP(w, r)
	})
}

// requestBody bounds the size of a request.
type requestBody struct {
	io.ReadCloser
	left  int64 // how many bytes may still come
	limit int   // how large the message may be, for the error
	over  bool  // more has come
}

// Read implements io.Reader.
func (b *requestBody) Read(p []byte) (int, error) {
	if b.over {
		return 0, b.tooLarge()
	}
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.ReadCloser.Read(p)
	if int64(n) > b.left {
		b.over = true
		return int(b.left), b.tooLarge()
	}
	b.left -= int64(n)
	return n, err
}

// tooLarge is connect's own error, which it passes on as it is.
func (b *requestBody) tooLarge() error {
	return connect.NewError(connect.CodeResourceExhausted, fmt.Errorf("the request is larger than %d bytes, and no more are taken", b.limit))
}

// guard ends a connection that takes none of what is sent to it, and over
// HTTP/2 the call of a large answer that is not taken.
type guard struct {
	nethttp.ResponseWriter
	old   bool // HTTP/1.x
	unary bool
	plain bool // a status of HTTP says more than connect's code
	limit time.Duration

	body    requestBody
	request nethttp.Request // with the body above

	arrivals *arrivals // of the listener; nil when there is none
	arrival  arrival   // under the lock of the arrivals
	coming   arriving
}

// piece is how much is sent under one deadline, in bytes: a caller that takes
// so much in that time is slow but well.
const piece = 64 << 10

// buffered is what net/http keeps of an answer until the handler has returned,
// in bytes. What is smaller is not worth a timer.
const buffered = 4 << 10

// Unwrap is for http.ResponseController.
func (g *guard) Unwrap() nethttp.ResponseWriter { return g.ResponseWriter }

// WriteHeader implements http.ResponseWriter.
func (g *guard) WriteHeader(status int) {
	if g.plain && g.body.over {
		status = nethttp.StatusRequestEntityTooLarge
	}
	if g.old && g.body.over {
		g.Header().Set("Connection", "close")
	}
	g.ResponseWriter.WriteHeader(status)
}

// Flush implements http.Flusher.
func (g *guard) Flush() {
	if g.old {
		g.extend() // net/http takes the limit back when the answer has been sent
	}
	if f, ok := g.ResponseWriter.(nethttp.Flusher); ok {
		f.Flush()
	}
}

// Write implements io.Writer.
func (g *guard) Write(p []byte) (int, error) {
	if g.old {
		return g.pieces(p, g.extend)
	}
	if !g.unary || len(p) < buffered {
		return g.ResponseWriter.Write(p)
	}
	rc := nethttp.NewResponseController(g.ResponseWriter)
	ended := make(chan struct{})
	timer := time.AfterFunc(g.limit, func() {
		_ = rc.SetWriteDeadline(time.Unix(1, 0)) // resets the stream
		close(ended)
	})
	n, err := g.pieces(p, func() {
		if timer.Stop() {
			timer.Reset(g.limit)
		}
	})
	if err == nil {
		err = rc.Flush() // the rest of it has the limit, too
	}
	if !timer.Stop() {
		<-ended // the stream must not be touched once the handler has returned
	}
	return n, err
}

// extend gives the connection the whole limit again. net/http may have no
// connection to set it for, in tests.
func (g *guard) extend() {
	_ = nethttp.NewResponseController(g.ResponseWriter).SetWriteDeadline(time.Now().Add(g.limit))
}

// pieces writes p, and calls before with each piece.
func (g *guard) pieces(p []byte, before func()) (int, error) {
	done := 0
	for {
		before()
		n, err := g.ResponseWriter.Write(p[done:min(len(p), done+piece)])
		done += n
		if err != nil || done >= len(p) {
			return done, err
		}
	}
}
