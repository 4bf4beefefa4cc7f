package mucp

import (
	"bufio"
	"context"
	stderrors "errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/seed-9a4e2794/micro/errors"
	"github.com/seed-9a4e2794/micro/transport"
)

// serverConn is one connection at the server. One goroutine reads it; whoever
// holds lock writes.
type serverConn struct {
	s    *Server
	conn net.Conn
	in   *inbound
	peer transport.Peer

	base   context.Context // of the calls
	cancel context.CancelFunc
	gone   chan struct{} // closed when the connection has ended
	once   sync.Once

	lock      chan struct{} // holds a token while someone writes
	out, body []byte        // the writer's

	mu      sync.Mutex
	live    int  // calls under way
	held    int  // request bytes of unary calls
	waiting bool // the reader waits for the next request
	closing bool // no further request is read
	going   bool // the server is stopping
	streams map[string]*serverStream
	past    []string // streams that have ended, whose messages may still come
	pastAt  int
}

const (
	// maxStreamID is the longest id of a stream; go-micro's are numbers.
	maxStreamID = 128
	// maxPast is how many streams that have ended a connection remembers.
	maxPast = 64
	// keepBuffer is the largest buffer kept for the next answer.
	keepBuffer = 64 << 10
	// piece is what must be written within StallTimeout.
	piece = 256 << 10
)

func newServerConn(s *Server, conn net.Conn, br *bufio.Reader, peer transport.Peer) *serverConn {
	c := &serverConn{s: s, conn: conn, peer: peer, gone: make(chan struct{}), lock: make(chan struct{}, 1)}
	c.in = newInbound(conn, br, &s.cfg)
	c.base, c.cancel = context.WithCancel(context.Background())
	return c
}

// run reads the connection until it ends.
func (c *serverConn) run(first *http.Request) {
	defer c.end(transport.ErrClosed)
	r, err := c.in.resume(first)
	for more := true; ; {
		if err == nil {
			more, err = c.handle(r)
		}
		if err != nil && c.reject(err) {
			return
		}
		if err != nil || !more {
			break
		}
		if err = c.await(); err != nil {
			break
		}
		r, err = c.in.request()
	}
	c.mu.Lock()
	c.closing = true
	idle := c.live == 0
	c.mu.Unlock()
	if idle {
		return
	}
	if err == nil { // the peer has said that it sends no more; it may still leave
		_ = c.conn.SetReadDeadline(time.Time{}) // fails with the connection, which the read below finds out
		_, _ = io.Copy(io.Discard, c.in.r)      // likewise
	}
	// The peer has gone, or has closed its side and waits for the answers.
	c.cancel()
	c.mu.Lock()
	for _, st := range c.streams {
		st.in.close(contextError(serverId, context.Canceled))
	}
	c.mu.Unlock()
	<-c.gone
}

// await waits for the first byte of the next request.
func (c *serverConn) await() error {
	c.mu.Lock()
	if c.going && c.live == 0 {
		c.mu.Unlock()
		return transport.ErrClosed
	}
	c.waiting = true
	err := c.idleLocked()
	c.mu.Unlock()
	if err == nil {
		_, err = c.in.r.Peek(1)
	}
	c.mu.Lock()
	c.waiting = false
	c.mu.Unlock()
	return err
}

// idleLocked sets the deadline of a reader that waits. The lock is held.
func (c *serverConn) idleLocked() error {
	if c.live > 0 {
		return c.conn.SetReadDeadline(time.Time{})
	}
	return c.conn.SetReadDeadline(time.Now().Add(c.s.cfg.IdleTimeout))
}

// handle takes one request. It reports whether there may be more.
func (c *serverConn) handle(r *http.Request) (bool, error) {
	q := parseRequest(r)
	if r.ContentLength != 0 && strings.EqualFold(r.Header.Get("Expect"), "100-continue") {
		if err := c.write(context.Background(), func(dst []byte) ([]byte, error) {
			return append(dst, "HTTP/1.1 100 Continue\r\n\r\n"...), nil
		}); err != nil {
			return false, err
		}
	}
	body, err := c.in.body(r.Body, r.ContentLength)
	if stderrors.Is(err, errBody) {
		q.last = true
		c.refuse(&q, errors.From("", errors.New(serverId, err.Error(), http.StatusRequestEntityTooLarge)))
		c.linger()
		return false, nil
	}
	if err != nil {
		return false, err
	}
	more := !q.last || q.stream != ""
	if q.stream != "" {
		if len(q.stream) > maxStreamID {
			q.last = true
			c.refuse(&q, errors.BadRequest(serverId, "the id of the stream has %d bytes, the limit is %d", len(q.stream), maxStreamID))
			return false, nil
		}
		if c.stream(&q, body) {
			return more, nil
		}
	} else if q.err == endOfStream {
		return more, nil // of a stream without a name, which has not been opened
	}
	if refused := c.admit(&q, len(body)); refused != nil {
		c.refuse(&q, refused)
		return more && !q.last, nil
	}
	c.begin(q, body)
	return more, nil
}

// admit counts a call in, or returns why it is refused.
func (c *serverConn) admit(q *request, size int) error {
	if err := c.s.refusing(); err != nil {
		q.last = true
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch cfg := &c.s.cfg; {
	case c.live >= cfg.MaxCalls:
		return errors.Refuse(serverId, errors.CodeResourceExhausted, "%d calls are under way on this connection, no more are taken", c.live)
	case c.held+size > cfg.MaxHeld && c.live > 0:
		return errors.Refuse(serverId, errors.CodeResourceExhausted, "the calls under way on this connection have %d bytes of requests, no more are taken", c.held)
	}
	c.live++
	c.held += size
	return nil
}

// refuse answers a request that is not served.
func (c *serverConn) refuse(q *request, err error) {
	k := newCall(c.base, *q, &c.peer)
	defer k.cancel()
	_ = c.respond(k, transport.Message{}, err) // fails with the connection
}

// begin has a goroutine serve a call that has been counted in.
func (c *serverConn) begin(q request, body []byte) {
	k := newCall(c.base, q, &c.peer)
	err := k.open(body)
	held := len(body)
	var st *serverStream
	if q.stream != "" && err == nil {
		st = newServerStream(c, k)
		k.body = nil // it only opens the stream
		c.mu.Lock()
		c.held -= held
		held = 0
		if c.streams == nil {
			c.streams = make(map[string]*serverStream)
		}
		c.streams[q.stream] = st
		c.mu.Unlock()
	}
	c.s.begin()
	go func() {
		defer c.s.done()
		defer c.finish(held)
		defer k.cancel()
		switch {
		case err != nil:
			_ = c.respond(k, transport.Message{}, err) // fails with the connection
		case st != nil:
			st.serve()
		default:
			c.s.answer(k, func(m transport.Message, err error) error { return c.respond(k, m, err) })
		}
	}()
}

// finish counts a call out.
func (c *serverConn) finish(size int) {
	c.mu.Lock()
	c.live--
	c.held -= size
	over := c.live == 0 && (c.closing || c.going && c.waiting)
	if c.waiting && c.live == 0 && !over {
		_ = c.idleLocked() // fails with the connection
	}
	c.mu.Unlock()
	if over {
		c.end(transport.ErrClosed)
	}
}

// drain says that the server is stopping.
func (c *serverConn) drain() {
	c.mu.Lock()
	c.going = true
	over := c.live == 0 && c.waiting
	c.mu.Unlock()
	if over {
		c.end(transport.ErrClosed)
	}
}

// respond sends the answer of a unary call, or an error.
func (c *serverConn) respond(k *call, m transport.Message, err error) error {
	return c.write(context.Background(), func(dst []byte) ([]byte, error) {
		r := k.answer(c.body[:0], m, err, k.reply.Header(), k.reply.Trailer(), &c.s.cfg)
		c.keepBody(r.body)
		return r.append(dst, &k.req, c.lastOf(&k.req)), nil
	})
}

// keepBody keeps the buffer of a body that will have been copied.
func (c *serverConn) keepBody(b []byte) {
	if cap(b) <= keepBuffer {
		c.body = b[:0]
	}
}

// lastOf reports whether the connection closes after the answer to q.
func (c *serverConn) lastOf(q *request) bool {
	if q.last {
		return true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.going && q.stream == ""
}

// write sends what compose appends, which is not called before all others have
// written: answers that nobody reads are not made. It waits for the peer until
// the context ends, and where that cannot end for StallTimeout. A message that could
// not be sent whole ends the connection.
func (c *serverConn) write(ctx context.Context, compose func(dst []byte) ([]byte, error)) error {
	done := ctx.Done()
	select {
	case c.lock <- struct{}{}:
	case <-c.gone:
		return transport.ErrLost
	case <-done:
		return ctx.Err()
	}
	defer func() { <-c.lock }()
	b, err := compose(c.out[:0])
	if cap(b) <= keepBuffer {
		c.out = b[:0]
	}
	if err != nil || len(b) == 0 {
		return err
	}
	if done != nil {
		defer cutShort(ctx, c.conn)()
	}
	for len(b) > 0 && err == nil {
		if done == nil {
			err = c.conn.SetWriteDeadline(time.Now().Add(c.s.cfg.StallTimeout))
		}
		n := min(len(b), piece)
		if err == nil {
			_, err = c.conn.Write(b[:n])
		}
		b = b[n:]
	}
	if err != nil {
		c.end(err)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("%w: %w", transport.ErrLost, err)
	}
	return nil
}

// cutShort ends the writing to conn when ctx ends, until the function that it
// returns is called.
func cutShort(ctx context.Context, conn net.Conn) func() {
	_ = conn.SetWriteDeadline(time.Time{}) // fails with the connection, as the write will
	var mu sync.Mutex
	over := false
	stop := context.AfterFunc(ctx, func() {
		mu.Lock()
		defer mu.Unlock()
		if !over {
			_ = conn.SetWriteDeadline(time.Unix(1, 0)) // likewise
		}
	})
	return func() {
		stop()
		mu.Lock()
		over = true
		mu.Unlock()
	}
}

// end closes the connection. The contexts of its calls end.
func (c *serverConn) end(error) {
	c.once.Do(func() {
		c.conn.Close()
		c.cancel()
		c.mu.Lock()
		c.closing = true
		for _, st := range c.streams {
			st.in.close(contextError(serverId, context.Canceled))
		}
		c.mu.Unlock()
		close(c.gone)
	})
}
