package client

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-9a4e2794/micro/transport"
)

// pool keeps one connection a node. A connection carries any number of calls.
type pool struct {
	peers atomic.Pointer[map[target]*peer] // the map is replaced, not changed

	mu      sync.Mutex // held to replace peers
	closed  bool
	retired map[*held]struct{} // connections that take no more calls and have some under way
	closing sync.WaitGroup     // those that are being closed; it grows under the lock, and not when closed
}

// peer is a node and the connection to it.
type peer struct {
	conn atomic.Pointer[held]

	mu      sync.Mutex
	dialing *dial // nil when nobody dials
	gone    bool  // the pool has forgotten this peer: nothing is dialled for it
}

// held is a connection in use.
type held struct {
	transport.Conn
	calls   atomic.Int64 // under way, streams included
	retired atomic.Bool  // no new calls are made; the last one under way closes it
	awaited bool         // the pool's end waits for its closing; set by who closes it
}

// dial is a connecting that callers wait for together.
type dial struct {
	cancel context.CancelFunc
	done   chan struct{}
	conn   *held
	err    error
}

var (
	// errClientClosed is returned by calls after Close.
	errClientClosed = errors.New("the client has been closed")
	// errForgotten says that a peer is no longer the pool's.
	errForgotten = errors.New("the peer has been forgotten")
)

// maxPeers is how many nodes are remembered before those without a connection
// are forgotten.
const maxPeers = 1024

func (p *pool) peer(to target) (*peer, error) {
	if peers := p.peers.Load(); peers != nil {
		if n := (*peers)[to]; n != nil {
			return n, nil
		}
	}
	var over []*held
	defer func() { p.finish(over...) }() // without the lock
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, errClientClosed
	}
	old := p.peers.Load()
	fresh := make(map[target]*peer)
	if old != nil {
		if n := (*old)[to]; n != nil {
			return n, nil
		}
		for k, v := range *old {
			if len(*old) >= maxPeers {
				gone, c := p.forget(v)
				if c != nil {
					over = append(over, c)
				}
				if gone {
					continue
				}
			}
			fresh[k] = v
		}
	}
	n := new(peer)
	fresh[to] = n
	p.peers.Store(&fresh)
	return n, nil
}

// forget gives a peer up if it has no connection and is not getting one. It
// returns a connection to finish, or nil. The lock is held.
func (p *pool) forget(n *peer) (gone bool, over *held) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if c := n.conn.Load(); c != nil && c.Err() != nil && n.conn.CompareAndSwap(c, nil) {
		over = p.retireLocked(c)
	}
	n.gone = n.dialing == nil && n.conn.Load() == nil
	return n.gone, over
}

// connect dials once for all callers that want the connection.
func (p *pool) connect(ctx context.Context, n *peer, t transport.Transport, addr string, timeout time.Duration) (*held, error) {
	n.mu.Lock()
	if c := n.conn.Load(); c != nil {
		n.mu.Unlock()
		return c, nil
	}
	if n.gone {
		n.mu.Unlock()
		return nil, errForgotten
	}
	d := n.dialing
	if d == nil {
		// The dial is not this caller's alone: it has its own time.
		dctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
		d = &dial{cancel: cancel, done: make(chan struct{})}
		n.dialing = d
		go func() { // close waits for it
			defer cancel()
			n.dial(dctx, d, t, addr, timeout)
		}()
	}
	n.mu.Unlock()
	select {
	case <-d.done:
		return d.conn, d.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// dial connects and tells those who wait. It ends within the context's time.
func (n *peer) dial(ctx context.Context, d *dial, t transport.Transport, addr string, timeout time.Duration) {
	conn, err := t.Dial(ctx, addr)
	if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		// It is not the call whose time is over.
		err = unconnected(addr, timeout)
	}
	n.mu.Lock()
	n.dialing = nil
	switch {
	case err != nil:
		d.err = err
	case n.gone:
		d.err = errClientClosed
	default:
		d.conn = &held{Conn: conn}
		n.conn.Store(d.conn)
	}
	n.mu.Unlock()
	if err == nil && d.conn == nil {
		conn.Close() // nobody has it
	}
	close(d.done)
}

// unconnected is the error of a connecting that took too long.
func unconnected(addr string, after time.Duration) error {
	return fmt.Errorf("%w: %s: no connection after %v", transport.ErrUnreachable, addr, after.Round(time.Millisecond))
}

// drop forgets a connection that takes no more calls. It is closed when the
// calls that it still carries have ended.
func (p *pool) drop(n *peer, c *held) {
	if !n.conn.CompareAndSwap(c, nil) {
		return // somebody else has
	}
	p.mu.Lock()
	over := p.retireLocked(c)
	p.mu.Unlock()
	p.finish(over)
}

// retireLocked keeps a connection for the calls under way on it. If there are
// none, it returns it, to be finished. The lock is held.
func (p *pool) retireLocked(c *held) *held {
	if p.retired == nil {
		p.retired = make(map[*held]struct{})
	}
	p.retired[c] = struct{}{}
	c.retired.Store(true)
	if c.calls.Load() == 0 {
		return p.release(c)
	}
	return nil
}

// begin counts a call on a connection; end must be called after it.
func (c *held) begin() { c.calls.Add(1) }

// end says that a call is over.
func (p *pool) end(c *held) {
	if c.calls.Add(-1) == 0 && c.retired.Load() {
		p.mu.Lock()
		over := p.release(c)
		p.mu.Unlock()
		p.finish(over)
	}
}

// release takes out a connection that takes no more calls and has none under
// way, and returns it to be finished; nil when somebody else has. The lock is
// held.
func (p *pool) release(c *held) *held {
	if _, mine := p.retired[c]; !mine {
		return nil
	}
	delete(p.retired, c)
	if !p.closed {
		p.closing.Add(1)
		c.awaited = true
	}
	return c
}

// finish closes connections that release has returned. A call that comes late
// is refused by them. The lock is not held: closing waits for the connection's
// goroutines, and all nodes' calls go through the pool.
func (p *pool) finish(over ...*held) {
	for _, c := range over {
		if c == nil {
			continue
		}
		c.Close() // ends what has ended already
		if c.awaited {
			p.closing.Done()
		}
	}
}

// close closes all connections and waits for those who dial.
func (p *pool) close() {
	p.mu.Lock()
	p.closed = true
	peers := p.peers.Swap(nil)
	var conns []*held
	for c := range p.retired {
		conns = append(conns, c)
	}
	p.retired = nil
	p.mu.Unlock()
	if peers != nil {
		for _, n := range *peers {
			n.mu.Lock()
			n.gone = true
			d := n.dialing
			if d != nil {
				d.cancel()
			}
			n.mu.Unlock()
			if d != nil {
				<-d.done
			}
			if c := n.conn.Swap(nil); c != nil {
				conns = append(conns, c)
			}
		}
	}
	for _, c := range conns {
		c.Close() // calls under way on it fail
	}
	p.closing.Wait()
}
