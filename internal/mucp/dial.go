package mucp

import (
	"context"
	"crypto/tls"
	stderrors "errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-9a4e2794/micro/errors"
	"github.com/seed-9a4e2794/micro/transport"
)

// maxConns is how many TCP connections a Conn has, idle ones included.
const maxConns = 100

// client is a transport.Conn to a go-micro server: a stock of TCP connections,
// each with one unary call at a time, and one for each stream.
type client struct {
	cfg    Config
	addr   string
	local  string
	remote string
	nextID atomic.Uint64
	slots  chan struct{} // has one for each connection that is busy or being made
	closed chan struct{} // closed by Close

	mu    sync.Mutex
	idle  []*clientConn // the one used last is the last
	busy  map[*clientConn]struct{}
	group sync.WaitGroup // readers of streams
	err   error          // why no more calls can be made
	sweep *time.Timer
}

var _ transport.Conn = (*client)(nil)

// Dial connects to the go-micro server at addr, host:port. It gives up when
// ctx ends or after cfg.DialTimeout. Its error wraps transport.ErrUnreachable.
//
// A unary call has a TCP connection for itself, which afterwards serves
// another one unless the answer was an error; connections that are idle for
// cfg.IdleTimeout are closed. Open makes one for each stream. There are at most
// 100: what needs a further one waits, within its deadline, until another is
// done with. CloseSend sends the end of the stream, after which go-micro's
// servers go on answering; go-micro's own clients close the connection then.
//
// Details and the exact code of an error, trailers of unary calls, repeated
// and binary metadata have no place on this wire. All that follows the answer
// is its Header; metadata that no HTTP header can carry is an error.
func Dial(ctx context.Context, addr string, cfg Config) (transport.Conn, error) {
	c := newClient(cfg.withDefaults(clientIdle), addr)
	c.slots <- struct{}{}
	cc, err := c.dial(ctx)
	if err != nil {
		return nil, err
	}
	c.local, c.remote = cc.conn.LocalAddr().String(), cc.conn.RemoteAddr().String()
	c.give(cc)
	return c, nil
}

// newClient returns a client without a connection.
func newClient(cfg Config, addr string) *client {
	return &client{cfg: cfg, addr: addr, busy: make(map[*clientConn]struct{}), slots: make(chan struct{}, maxConns), closed: make(chan struct{})}
}

// tls returns what the next connection is encrypted with.
func (c *client) tls() *tls.Config {
	cfg := new(tls.Config)
	if own := c.cfg.TLS(); own != nil {
		cfg = own.Clone()
	}
	cfg.NextProtos = []string{"http/1.1"}
	if host, _, err := net.SplitHostPort(c.addr); err == nil && cfg.ServerName == "" {
		cfg.ServerName = host
	}
	return cfg
}

// dial makes a TCP connection and counts it busy. Its slot has been taken.
func (c *client) dial(ctx context.Context) (*clientConn, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.DialTimeout)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", c.addr)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", transport.ErrUnreachable, err)
	}
	raw := conn
	if c.cfg.TLS != nil {
		secure := tls.Client(conn, c.tls())
		if err := secure.HandshakeContext(ctx); err != nil {
			conn.Close()
			return nil, fmt.Errorf("%w: %s: TLS: %w", transport.ErrUnreachable, c.addr, err)
		}
		conn = secure
	}
	cc := &clientConn{conn: conn, raw: raw, in: newInbound(conn, conn, &c.cfg)}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		conn.Close()
		return nil, fmt.Errorf("%w: %w", transport.ErrUnreachable, c.err)
	}
	c.busy[cc] = struct{}{}
	return cc, nil
}

// take returns a connection for a call, an idle one if there is one that is
// still good. It waits while there are as many as there may be.
func (c *client) take(ctx context.Context, fresh bool) (_ *clientConn, reused bool, err error) {
	select {
	case c.slots <- struct{}{}:
	default:
		select {
		case c.slots <- struct{}{}:
		case <-c.closed:
			return nil, false, c.refused(transport.ErrClosed)
		case <-ctx.Done():
			return nil, false, contextError(clientId, ctx.Err())
		}
	}
	for !fresh {
		cc, err := c.rested()
		if err != nil {
			<-c.slots
			return nil, false, c.refused(err)
		}
		if cc == nil {
			break
		}
		if time.Since(cc.since) < c.cfg.IdleTimeout && cc.alive() {
			return cc, true, nil
		}
		cc.conn.Close()
		c.mu.Lock()
		delete(c.busy, cc) // its slot is that of the next one
		c.mu.Unlock()
	}
	c.makeRoom()
	cc, err := c.dial(ctx)
	if err == nil {
		return cc, false, nil
	}
	<-c.slots
	if cerr := ctx.Err(); cerr != nil {
		return nil, false, contextError(clientId, cerr)
	}
	c.mu.Lock()
	if c.err == nil {
		c.err = err
	}
	c.mu.Unlock()
	return nil, false, errors.Wrap(clientId, errors.CodeUnavailable, fmt.Errorf("%w: %w", errors.ErrRefused, err))
}

// refused is the error of a call that was surely not executed.
func (c *client) refused(why error) error {
	return errors.Wrap(clientId, errors.CodeUnavailable, fmt.Errorf("%w: the connection to %s takes no more calls: %w", errors.ErrRefused, c.addr, why))
}

// rested makes the idle connection that was used last a busy one. It returns
// nil when there is none.
func (c *client) rested() (*clientConn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := len(c.idle)
	if c.err != nil || n == 0 {
		return nil, c.err
	}
	cc := c.idle[n-1]
	c.idle[n-1] = nil
	c.idle = c.idle[:n-1]
	c.busy[cc] = struct{}{}
	return cc, nil
}

// makeRoom closes the oldest idle connections while there are too many with
// those that have slots.
func (c *client) makeRoom() {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := min(len(c.idle), max(0, len(c.idle)+len(c.slots)-maxConns))
	for _, cc := range c.idle[:n] {
		cc.conn.Close()
	}
	c.idle = append(c.idle[:0], c.idle[n:]...)
}

// give takes a connection back for the next call.
func (c *client) give(cc *clientConn) {
	cc.since = time.Now()
	c.mu.Lock()
	defer func() { <-c.slots }() // not before it is idle: it counts all the time
	delete(c.busy, cc)
	if c.err != nil {
		c.mu.Unlock()
		cc.conn.Close()
		return
	}
	c.idle = append(c.idle, cc)
	if c.sweep == nil {
		c.sweep = time.AfterFunc(c.cfg.IdleTimeout, c.sweepIdle)
	}
	c.mu.Unlock()
}

// sweepIdle closes the connections that have been idle for too long.
func (c *client) sweepIdle() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sweep = nil
	old := 0
	for old < len(c.idle) && time.Since(c.idle[old].since) >= c.cfg.IdleTimeout {
		c.idle[old].conn.Close()
		old++
	}
	c.idle = append(c.idle[:0], c.idle[old:]...)
	if len(c.idle) > 0 {
		c.sweep = time.AfterFunc(c.cfg.IdleTimeout-time.Since(c.idle[0].since), c.sweepIdle)
	}
}

// drop closes a connection that is busy.
func (c *client) drop(cc *clientConn) {
	cc.conn.Close()
	c.mu.Lock()
	delete(c.busy, cc)
	c.mu.Unlock()
	<-c.slots
}

// Err implements transport.Conn.
func (c *client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Close implements transport.Conn.
func (c *client) Close() error {
	c.mu.Lock()
	if c.err == nil || !stderrors.Is(c.err, transport.ErrClosed) {
		c.err = transport.ErrClosed
		close(c.closed)
	}
	conns := c.idle
	c.idle = nil
	for cc := range c.busy {
		conns = append(conns, cc)
	}
	if c.sweep != nil {
		c.sweep.Stop()
		c.sweep = nil
	}
	c.mu.Unlock()
	for _, cc := range conns {
		cc.conn.Close()
	}
	c.group.Wait()
	return nil
}

// Local implements transport.Conn: the address of the first connection.
func (c *client) Local() string { return c.local }

// Remote implements transport.Conn.
func (c *client) Remote() string { return c.remote }
