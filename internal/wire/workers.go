package wire

import (
	"context"
	"sync"
)

// workers is a stock of goroutines that serve calls. The one that became idle
// last is used first: its stack is warm and already as large as handlers need.
type workers struct {
	mu     sync.Mutex
	idle   []*worker
	busy   int           // workers that serve
	quiet  chan struct{} // closed when none does; nil when nobody waits for that
	closed bool
}

const (
	// maxIdle is how many idle workers are kept.
	maxIdle = 256
	// maxTurns is how often a worker is used before it is replaced, so that a
	// stack that one deep call has grown does not stay for ever.
	maxTurns = 1 << 16
)

type worker struct {
	work  chan *serverConn
	turns int
}

// run has a worker serve the calls that wait on conn.
func (p *workers) run(conn *serverConn) {
	p.mu.Lock()
	p.busy++
	if n := len(p.idle); n > 0 {
		w := p.idle[n-1]
		p.idle[n-1] = nil
		p.idle = p.idle[:n-1]
		p.mu.Unlock()
		w.work <- conn
		return
	}
	p.mu.Unlock()
	go p.serve(conn)
}

func (p *workers) serve(conn *serverConn) {
	w := &worker{work: make(chan *serverConn, 1)}
	rested := false
	defer func() {
		if !rested { // a handler has ended the goroutine
			p.mu.Lock()
			p.restLocked()
			p.mu.Unlock()
		}
	}()
	for conn != nil {
		rested = false
		conn.work()
		w.turns++
		p.mu.Lock()
		p.restLocked()
		rested = true
		if p.closed || len(p.idle) >= maxIdle || w.turns >= maxTurns {
			p.mu.Unlock()
			return
		}
		p.idle = append(p.idle, w)
		p.mu.Unlock()
		conn = <-w.work
	}
}

// restLocked says that a worker serves no more. The lock is held.
func (p *workers) restLocked() {
	if p.busy--; p.busy == 0 && p.quiet != nil {
		close(p.quiet)
		p.quiet = nil
	}
}

// wait waits until no worker serves, also for calls whose connection has ended
// or whose caller has given up. It returns ctx's error when that ends first.
func (p *workers) wait(ctx context.Context) error {
	p.mu.Lock()
	if p.busy == 0 {
		p.mu.Unlock()
		return nil
	}
	if p.quiet == nil {
		p.quiet = make(chan struct{})
	}
	quiet := p.quiet
	p.mu.Unlock()
	select {
	case <-quiet:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// close ends the idle workers; the others end when they have finished.
func (p *workers) close() {
	p.mu.Lock()
	p.closed = true
	idle := p.idle
	p.idle = nil
	p.mu.Unlock()
	for _, w := range idle {
		w.work <- nil
	}
}
