package selector

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	microerrors "github.com/seed-9a4e2794/micro/errors"
	"github.com/seed-9a4e2794/micro/registry"
	"github.com/seed-9a4e2794/micro/transport"
)

const (
	// settle is the time over which a latency is averaged, and forgotten while
	// a node is idle.
	settle = 2 * time.Second
	// weightRise and weightFall are the least weights of one sample, so that
	// the average follows within a few calls however fast they come. It rises
	// faster than it falls: trouble should show at once.
	weightRise = 1.0 / 4
	weightFall = 1.0 / 16

	ejectMin = 100 * time.Millisecond
	ejectMax = 10 * time.Second
	// probeLease is how long a pick holds the right to try an ejected node if
	// nobody says how it ended.
	probeLease = 10 * time.Second
)

// state is what calls have shown of a node. It lives as long as the id and the
// address of the node stay.
type state struct {
	owner   *watch
	address string

	inflight atomic.Int64
	latency  atomic.Uint64 // bits of a float64, nanoseconds; 0 is unknown
	stamp    atomic.Int64  // when latency was last changed

	// until is 0 for a node in order, else the time until which the node is
	// passed over. Its lowest bit tells a probe's lease (1) from an ejection
	// (0). It goes between zero and not zero only under mu.
	until atomic.Int64
	// stale is set when the registry came back empty and knows the node no
	// more.
	stale atomic.Bool

	mu      sync.Mutex
	fails   int   // ejections in a row
	ejected int64 // when the last one was

	_ [64]byte // keeps the counters of two nodes off one cache line
}

// Choice is a picked node. It is passed by value; the zero Choice has no node.
type Choice struct {
	// Node is shared and must not be changed.
	Node  *registry.Node
	state *state
	probe int64 // the lease, when this pick tries an ejected node
}

// Done says how the attempt ended, and must be called exactly once: how long
// it took, and nil or the error. A took of 0 is not averaged into the latency
// of the node; use it for streams, whose length says nothing.
//
// Errors that match transport.ErrUnreachable, transport.ErrLost or
// errors.ErrRefused eject the node for a while, 100 ms for the first and up to
// 10 s for later ones in a row, until a call that began afterwards is answered.
// Done of the zero Choice does nothing.
func (c Choice) Done(took time.Duration, err error) {
	s := c.state
	if s == nil {
		return
	}
	s.inflight.Add(-1)
	now := s.owner.now()
	if err != nil && ejects(err) {
		s.eject(now, now-int64(took), c.probe, err)
		return
	}
	s.observe(now, took, err)
	switch {
	case s.until.Load() == 0: // the usual case
	case answered(err):
		began := now - int64(took)
		if c.probe != 0 {
			began = now
		}
		s.restore(began)
	case c.probe == 0:
	case errors.Is(err, context.DeadlineExceeded):
		s.eject(now, now, c.probe, err)
	default: // cancelled, or never sent: it shows nothing, another may try
		s.until.CompareAndSwap(c.probe, now&^1)
	}
}

// mark is Done for a pick of which only the end is known.
func (s *state) mark(err error) {
	now := s.owner.now()
	switch {
	case err != nil && ejects(err):
		probe := s.until.Load()
		if probe&1 == 0 {
			probe = 0 // nobody tries it: this is news only if the wait is over
		}
		s.eject(now, now, probe, err)
	case s.until.Load() != 0 && answered(err):
		s.restore(now)
	}
}

// ejects reports whether err says that the node takes no calls.
func ejects(err error) bool {
	return errors.Is(err, transport.ErrUnreachable) || errors.Is(err, transport.ErrLost) ||
		errors.Is(err, microerrors.ErrRefused)
}

// answered reports whether a call that ended with err reached the node.
func answered(err error) bool {
	if err == nil {
		return true
	}
	var e *microerrors.Error
	return errors.As(err, &e) && e.Unwrap() == nil && !errors.Is(err, context.DeadlineExceeded) &&
		!errors.Is(err, context.Canceled)
}

// open reports whether a pick may take the node now. One that was ejected and
// has waited long enough is open until somebody claims it.
func (s *state) open(m *moment) bool {
	u := s.until.Load()
	return u == 0 || u <= m.now()
}

// claim takes an open node. For one that was ejected it returns the lease of
// the probe, and false when another pick was first.
func (s *state) claim(m *moment) (probe int64, ok bool) {
	u := s.until.Load()
	if u == 0 {
		return 0, true
	}
	now := m.now()
	if u > now {
		return 0, false
	}
	lease := (now + int64(probeLease)) | 1
	if !s.until.CompareAndSwap(u, lease) {
		return 0, false
	}
	return lease, true
}

// eject passes the node over from now on. began is when the call began, probe
// its lease if it had one. A node that the registry does not know any more
// goes for good when it could not be reached.
func (s *state) eject(now, began, probe int64, err error) {
	if wait := s.closeFor(now, began, probe); wait > 0 {
		s.owner.log.Debug("selector: node ejected", slog.String("service", s.owner.name),
			slog.String("address", s.address), slog.Duration("for", wait), slog.Any("error", err))
	}
	if s.stale.Load() && errors.Is(err, transport.ErrUnreachable) {
		s.owner.dropStale(s)
	}
}

// closeFor returns how long it has closed the node, 0 when it is closed
// already and this failure is part of the same: calls that fail together, or
// were picked because no other node is left, must not drive the wait up.
func (s *state) closeFor(now, began, probe int64) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.until.Load()
	if u != 0 && u != probe && (u > now || began < s.ejected) {
		return 0
	}
	s.fails++
	wait := ejectMax
	if s.fails < 8 { // 100 ms << 7 is more than ejectMax
		wait = min(ejectMin<<(s.fails-1), ejectMax)
	}
	wait -= rand.N(wait / 4)
	s.ejected = now
	s.until.Store((now + int64(wait)) &^ 1)
	return wait
}

// restore puts the node in order after a call that began at began was
// answered. Calls from before the ejection say nothing: a draining node
// finishes them well and takes no others.
func (s *state) restore(began int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if began >= s.ejected {
		s.fails = 0
		s.until.Store(0)
	}
}

// observe averages the time a call took into the latency. The time of a call
// that failed counts only where it is longer than the average, so that a node
// that fails fast does not look fast.
func (s *state) observe(now int64, took time.Duration, err error) {
	if took <= 0 || err != nil && s.latency.Load() == 0 && !errors.Is(err, context.DeadlineExceeded) {
		return
	}
	sample := float64(took)
	last := s.stamp.Load()
	for {
		bits := s.latency.Load()
		old := math.Float64frombits(bits)
		if err != nil && sample <= old {
			return
		}
		avg := sample
		if bits != 0 {
			dt := float64(max(now-last, 0))
			weight := dt / (dt + float64(settle))
			if sample > old {
				weight = max(weight, weightRise)
			} else {
				weight = max(weight, weightFall)
			}
			avg = old + weight*(sample-old)
		}
		if s.latency.CompareAndSwap(bits, math.Float64bits(avg)) {
			s.stamp.Store(now)
			return
		}
	}
}

// average returns the latency in nanoseconds, 0 when it is unknown.
func (s *state) average() float64 { return math.Float64frombits(s.latency.Load()) }

// faded returns what is left of the latency at now. It fades while no call
// ends, so that a node that was slow once is tried again; much slower while
// calls are under way, because then a node that hangs looks the same.
func (s *state) faded(latency float64, now int64) float64 {
	fade := float64(settle)
	if s.inflight.Load() > 0 {
		fade *= 10
	}
	idle := 1 + float64(max(now-s.stamp.Load(), 0))/fade
	return latency / (idle * idle)
}
