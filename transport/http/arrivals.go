package http

import (
	"io"
	nethttp "net/http"
	"sync"
	"time"

	"github.com/seed-9a4e2794/micro/errors"
)

// arrivals are the unary requests of a listener whose bodies are still coming,
// so that their calls have not begun. net/http waits for them when it stops,
// and over HTTP/2 without an end at any other time. All have one timer: one for
// each would cost a small call more than reading it does.
type arrivals struct {
	limit time.Duration // how long a body may take

	mu          sync.Mutex
	over        bool   // no more are taken
	first, last *guard // the oldest is the first
	timer       *time.Timer
	armed       bool
}

// arrival is the place of a request among the arrivals.
type arrival struct {
	of         *arrivals // nil when it is not there, or no more
	prev, next *guard
	began      time.Time
	refused    bool // cut off because the service stops
}

// join takes a request. It returns false when the service has stopped.
func (a *arrivals) join(g *guard) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.over {
		return false
	}
	g.arrival = arrival{of: a, prev: a.last, began: time.Now()}
	if a.last == nil {
		a.first = g
	} else {
		a.last.arrival.next = g
	}
	a.last = g
	if !a.armed {
		a.armed = true
		if a.timer == nil {
			a.timer = time.AfterFunc(a.limit, a.sweep)
		} else {
			a.timer.Reset(a.limit)
		}
	}
	return true
}

// remove takes a request out. The lock is held.
func (a *arrivals) remove(g *guard) {
	at := &g.arrival
	if at.prev == nil {
		a.first = at.next
	} else {
		at.prev.arrival.next = at.next
	}
	if at.next == nil {
		a.last = at.prev
	} else {
		at.next.arrival.prev = at.prev
	}
	at.prev, at.next = nil, nil
}

// sweep cuts off what has not come in time.
func (a *arrivals) sweep() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for g := a.first; g != nil; g = a.first {
		if left := a.limit - time.Since(g.arrival.began); left > 0 {
			if !a.over {
				a.timer.Reset(left)
			}
			return
		}
		a.remove(g)
		g.arrival.of = nil
		if !g.old { // else its connection has a limit of its own
			g.cut()
		}
	}
	a.armed = false
}

// stop cuts off all that is coming, and takes no more.
func (a *arrivals) stop() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.over = true
	if a.timer != nil {
		a.timer.Stop()
	}
	for g := a.first; g != nil; g = a.first {
		a.remove(g)
		g.arrival.of, g.arrival.refused = nil, true
		g.cut()
	}
}

// cut ends the body of a request. What of it has come is read nevertheless.
// The lock of the arrivals is held, so the handler has not returned.
func (g *guard) cut() {
	_ = nethttp.NewResponseController(g.ResponseWriter).SetReadDeadline(time.Unix(1, 0))
}

// arrived ends the wait for the body of a request, and reports whether it was
// cut off because the service stops.
func (g *guard) arrived() bool {
	a := g.arrivals
	if a == nil {
		return false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if g.arrival.of != nil {
		a.remove(g)
		g.arrival.of = nil
	}
	return g.arrival.refused
}

// arriving is the body of a request among the arrivals.
type arriving struct {
	io.ReadCloser
	g *guard
}

// Read implements io.Reader. Its error is connect's own where the service has
// stopped, which connect passes on as it is.
func (b *arriving) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && b.g.arrived() && err != io.EOF {
		err = toConnect(errStopping(), fromGoMicro(b.g.request.Header))
	}
	return n, err
}

// errStopping is the error of a call that was surely not executed.
func errStopping() error {
	return errors.Refuse(handlerId, errors.CodeUnavailable, "the service is stopping")
}
