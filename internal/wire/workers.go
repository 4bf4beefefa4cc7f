package wire

import "sync"

// workers is a stock of goroutines that serve calls. The one that became idle
// last is used first: its stack is warm and already as large as handlers need.
type workers struct {
	mu     sync.Mutex
	idle   []*worker
	closed bool
	group  sync.WaitGroup
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
	if n := len(p.idle); n > 0 {
		w := p.idle[n-1]
		p.idle[n-1] = nil
		p.idle = p.idle[:n-1]
		p.mu.Unlock()
		w.work <- conn
		return
	}
	p.group.Add(1)
	p.mu.Unlock()
	go p.serve(conn)
}

func (p *workers) serve(conn *serverConn) {
	defer p.group.Done()
	w := &worker{work: make(chan *serverConn, 1)}
	for conn != nil {
		conn.work()
		w.turns++
		p.mu.Lock()
		if p.closed || len(p.idle) >= maxIdle || w.turns >= maxTurns {
			p.mu.Unlock()
			return
		}
		p.idle = append(p.idle, w)
		p.mu.Unlock()
		conn = <-w.work
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
