package client

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-9a4e2794/micro/transport"
)

// pool keeps one connection a node. A connection carries any number of calls.
type pool struct {
	peers atomic.Pointer[map[string]*peer] // the map is replaced, not changed

	mu     sync.Mutex // held to replace peers
	closed bool
}

// peer is a node and the connection to it.
type peer struct {
	conn atomic.Pointer[held]

	mu      sync.Mutex
	dialing *dial // nil when nobody dials
}

// held is a connection in use.
type held struct{ transport.Conn }

// dial is a connecting that callers wait for together.
type dial struct {
	done chan struct{}
	conn *held
	err  error
}

// errClientClosed is returned by calls after Close.
var errClientClosed = errors.New("the client has been closed")

// maxPeers is how many nodes are remembered before those without a connection
// are forgotten.
const maxPeers = 1024

func (p *pool) peer(addr string) (*peer, error) {
	if peers := p.peers.Load(); peers != nil {
		if n := (*peers)[addr]; n != nil {
			return n, nil
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, errClientClosed
	}
	old := p.peers.Load()
	fresh := make(map[string]*peer)
	if old != nil {
		if n := (*old)[addr]; n != nil {
			return n, nil
		}
		for k, v := range *old {
			if len(*old) >= maxPeers && v.idle() {
				continue
			}
			fresh[k] = v
		}
	}
	n := new(peer)
	fresh[addr] = n
	p.peers.Store(&fresh)
	return n, nil
}

// idle reports whether a peer has no connection and is not getting one.
func (n *peer) idle() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.dialing == nil && n.conn.Load() == nil
}

// connect dials once for all callers that want the connection.
func (p *pool) connect(ctx context.Context, n *peer, t transport.Transport, addr string, timeout time.Duration) (*held, error) {
	n.mu.Lock()
	if c := n.conn.Load(); c != nil {
		n.mu.Unlock()
		return c, nil
	}
	d := n.dialing
	if d == nil {
		d = &dial{done: make(chan struct{})}
		n.dialing = d
		n.mu.Unlock()
		// The dial is not this caller's alone: it has its own time.
		dctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
		go func() {
			defer cancel()
			p.dial(dctx, n, d, t, addr)
		}()
	} else {
		n.mu.Unlock()
	}
	select {
	case <-d.done:
		return d.conn, d.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// dial connects and tells those who wait. It ends within the context's time.
func (p *pool) dial(ctx context.Context, n *peer, d *dial, t transport.Transport, addr string) {
	conn, err := t.Dial(ctx, addr)
	n.mu.Lock()
	n.dialing = nil
	if err == nil {
		d.conn = &held{conn}
		n.conn.Store(d.conn)
	}
	d.err = err
	n.mu.Unlock()
	p.mu.Lock()
	closed := p.closed
	p.mu.Unlock()
	if closed && conn != nil { // Close did not see it
		n.drop(d.conn)
		conn.Close()
		d.conn, d.err = nil, errClientClosed
	}
	close(d.done)
}

// drop forgets a connection that takes no more calls.
func (n *peer) drop(c *held) { n.conn.CompareAndSwap(c, nil) }

// close closes all connections.
func (p *pool) close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	peers := p.peers.Load()
	if peers == nil {
		return
	}
	for _, n := range *peers {
		n.mu.Lock()
		d := n.dialing
		n.mu.Unlock()
		if d != nil {
			<-d.done
		}
		if c := n.conn.Swap(nil); c != nil {
			c.Close()
		}
	}
}
