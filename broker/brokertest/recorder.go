package brokertest

import (
	"context"
	"fmt"
	"sync"

	"github.com/seed-9a4e2794/micro/broker"
)

// probeHeader marks messages that only find out whether a subscriber can be
// reached.
const probeHeader = "Brokertest-Probe"

// recorder is a handler that keeps what it gets.
type recorder struct {
	mu     sync.Mutex
	bodies []string
	probes map[string]bool
	bell   chan struct{} // the case's, rung with each message
}

func (e *env) recorder() *recorder {
	return &recorder{probes: make(map[string]bool), bell: e.bell}
}

func (r *recorder) handle(_ context.Context, ev broker.Event) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if id, ok := ev.Message().Header[probeHeader]; ok {
		r.probes[id] = true
		return nil
	}
	r.bodies = append(r.bodies, string(ev.Message().Body))
	select {
	case r.bell <- struct{}{}:
	default: // rung already
	}
	return nil
}

// skipProbes makes h a handler that does not see probes, which r records.
func (r *recorder) skipProbes(h broker.Handler) broker.Handler {
	return func(ctx context.Context, ev broker.Event) error {
		if _, ok := ev.Message().Header[probeHeader]; ok {
			return r.handle(ctx, ev)
		}
		return h(ctx, ev)
	}
}

func (r *recorder) probed(id string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.probes[id]
}

// got returns the bodies so far, in the order they came.
func (r *recorder) got() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.bodies...)
}

// await waits until the recorders have n messages between them. One await of a
// case runs at a time.
func (e *env) await(n int, what string, rs ...*recorder) {
	e.Helper()
	for {
		have := 0
		for _, r := range rs {
			have += len(r.got())
		}
		if have >= n {
			return
		}
		select {
		case <-e.bell:
		case <-e.ctx.Done():
			e.Fatalf("waited %v for %s: %d of %d messages came", timeout, what, have, n)
		}
	}
}

// exactly fails unless the recorders have messages from to from+n-1 between
// them, each once.
func (e *env) exactly(from, n int, what string, rs ...*recorder) {
	e.Helper()
	times := make(map[string]int)
	for _, r := range rs {
		for _, b := range r.got() {
			times[b]++
		}
	}
	for i := range n {
		body := fmt.Sprintf("message %d", from+i)
		if times[body] != 1 {
			e.Errorf("%s: %q came %d times, want once", what, body, times[body])
		}
		delete(times, body)
	}
	for body, k := range times {
		e.Errorf("%s: %q came %d times, want never", what, body, k)
	}
}
