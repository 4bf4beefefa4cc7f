package selector

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	microerrors "github.com/seed-9a4e2794/micro/errors"
	"github.com/seed-9a4e2794/micro/registry/memory"
	"github.com/seed-9a4e2794/micro/transport"
)

// entryOf returns what is known of a node.
func entryOf(t *testing.T, w *Watching, id string) *state {
	t.Helper()
	st := (*w.watches.Load())["greeter"].snap.Load().byID[id]
	if st == nil {
		t.Fatalf("node %q is not known", id)
	}
	return st
}

// wait returns how long the node is still ejected.
func (s *state) wait() time.Duration { return time.Duration(s.until.Load() - s.owner.now()) }

func TestKilledNodeIsAvoidedAtOnce(t *testing.T) {
	for _, err := range []error{
		fmt.Errorf("dial: %w", transport.ErrUnreachable),
		fmt.Errorf("read: %w", transport.ErrLost),
		microerrors.Refuse("greeter", microerrors.CodeUnavailable, "draining"),
	} {
		synctest.Test(t, func(t *testing.T) {
			w, _ := three(t, nil)
			take(t, w, "b").Done(time.Millisecond, err)
			for range 1000 {
				c := pick(t, w, nil)
				if c.Node.Id == "b" {
					t.Fatalf("picked after %v", err)
				}
				c.Done(0, nil)
			}
		})
	}
}

func TestOtherErrorsDoNotEject(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _ := three(t, nil)
		for _, err := range []error{
			microerrors.InternalServerError("greeter", "bug"), microerrors.NotFound("greeter", "no such person"),
			context.DeadlineExceeded, context.Canceled, transport.ErrTooLarge,
		} {
			for range 10 {
				take(t, w, "a").Done(0, err)
			}
		}
		have(t, w, "a", "b", "c")
	})
}

func TestEjectionDoublesUntilACallIsAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _ := three(t, nil)
		take(t, w, "a").Done(0, transport.ErrUnreachable)
		a := entryOf(t, w, "a")
		limit := ejectMin
		for range 12 {
			d := a.wait()
			if d < limit*3/4-1 || d > limit {
				t.Fatalf("ejected for %s, want %s to %s", d, limit*3/4, limit)
			}
			<-time.After(d - 10)
			have(t, w, "b", "c")
			<-time.After(10)
			take(t, w, "a").Done(0, transport.ErrUnreachable)
			limit = min(2*limit, ejectMax)
		}
		<-time.After(ejectMax)
		// An error of the handler that came over the wire is an answer.
		take(t, w, "a").Done(0, microerrors.NotFound("greeter", "no such person"))
		have(t, w, "a", "b", "c")
		take(t, w, "a").Done(0, transport.ErrUnreachable)
		if d := a.wait(); d > ejectMin {
			t.Fatalf("ejected for %s after a call was answered", d)
		}
	})
}

func TestOnePickAtATimeProbesAnEjectedNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _ := three(t, nil)
		take(t, w, "a").Done(0, transport.ErrUnreachable)
		<-time.After(ejectMin)
		probe := take(t, w, "a")
		have(t, w, "b", "c")

		// Cancelled, it shows nothing: the next pick may try.
		probe.Done(0, context.Canceled)
		probe = take(t, w, "a")
		have(t, w, "b", "c")

		// A node that does not answer in time is as bad as one that is away.
		probe.Done(0, context.DeadlineExceeded)
		if d := entryOf(t, w, "a").wait(); d <= ejectMin || d > 2*ejectMin {
			t.Fatalf("ejected for %s", d)
		}
		<-time.After(2 * ejectMin)

		// A probe that takes long holds the node no longer than its lease.
		probe = take(t, w, "a")
		have(t, w, "b", "c")
		<-time.After(probeLease + 1)
		take(t, w, "a").Done(0, nil)
		probe.Done(0, context.Canceled)
		have(t, w, "a", "b", "c")
	})
}

func TestCallsThatFailTogetherAreOneFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _ := three(t, nil)
		var calls []Choice
		for range 101 {
			calls = append(calls, take(t, w, "a"))
		}
		<-time.After(time.Second)
		for _, c := range calls[:100] {
			c.Done(time.Second, transport.ErrLost)
		}
		a := entryOf(t, w, "a")
		if d := a.wait(); d > ejectMin {
			t.Fatalf("100 calls on one connection that broke ejected the node for %s", d)
		}
		<-time.After(150 * time.Millisecond)
		calls[100].Done(1150*time.Millisecond, transport.ErrLost) // hears of it late
		if d := a.wait(); d > 0 {
			t.Fatalf("a call from before the ejection ejected again, for %s", d)
		}
	})
}

func TestDrainingNodeThatFinishesOldCallsStaysEjected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _ := three(t, nil)
		old := take(t, w, "a")
		<-time.After(time.Second)
		take(t, w, "a").Done(0, microerrors.Refuse("greeter", microerrors.CodeUnavailable, "draining"))
		<-time.After(10 * time.Millisecond)
		old.Done(1010*time.Millisecond, nil)
		have(t, w, "b", "c")
	})
}

func TestAllEjectedNodesAreAllPicked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, strategy := range []Strategy{nil, Random} {
			w, _ := three(t, strategy)
			for _, id := range []string{"a", "b", "c"} {
				take(t, w, id).Done(0, transport.ErrUnreachable)
			}
			got := make(map[string]int)
			for range 300 {
				c := pick(t, w, nil)
				got[c.Node.Id]++
				c.Done(0, transport.ErrUnreachable)
			}
			if len(got) != 3 {
				t.Fatalf("got %v", got)
			}
			// Their failures do not drive the wait up, and one success is enough.
			if d := entryOf(t, w, "a").wait(); d > ejectMin {
				t.Fatalf("ejected for %s", d)
			}
			<-time.After(10 * time.Millisecond)
			take(t, w, "b").Done(time.Millisecond, nil)
			have(t, w, "b")
		}
	})
}

func TestEjectedNodesAreFoundAmongMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := memory.New()
		for i := range 100 {
			register(t, r, greeter(fmt.Sprint(i)))
		}
		w := quiet(t, r, nil)
		for range 97 { // whichever come, until three are left
			pick(t, w, nil).Done(0, transport.ErrUnreachable)
		}
		got := share(t, w, 3000)
		if len(got) != 3 {
			t.Fatalf("three of 100 nodes are in order, got %v", got)
		}
		for _, n := range got {
			if n < 850 || n > 1150 {
				t.Fatalf("uneven among those in order: %v", got)
			}
		}
	})
}

func TestMarkIsDoneForSelect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, strategy := range []Strategy{nil, NewRoundRobin()} {
			w, _ := three(t, strategy)
			have(t, w, "a", "b", "c") // the watch has begun
			seen := func() map[string]int {
				got := make(map[string]int)
				for range 300 {
					next, err := w.Select(t.Context(), "greeter")
					if err != nil {
						t.Fatal(err)
					}
					n, err := next()
					if err != nil {
						t.Fatal(err)
					}
					got[n.Id]++
				}
				return got
			}
			a := greeter("a").Nodes[0]
			w.Mark("greeter", a, transport.ErrUnreachable)
			w.Mark("greeter", a, transport.ErrUnreachable)
			if got := seen(); len(got) != 2 || got["a"] != 0 {
				t.Fatalf("got %v", got)
			}
			<-time.After(ejectMin)
			if got := seen(); got["a"] != 1 {
				t.Fatalf("want one probe, got %v", got)
			}
			w.Mark("greeter", a, transport.ErrUnreachable)
			if d := entryOf(t, w, "a").wait(); d <= ejectMin || d > 2*ejectMin {
				t.Fatalf("ejected for %s", d)
			}
			<-time.After(2 * ejectMin)
			seen()
			w.Mark("greeter", a, nil)
			if got := seen(); got["a"] < 50 {
				t.Fatalf("got %v", got)
			}
			w.Mark("greeter", nil, transport.ErrLost)
			w.Mark("nobody", a, transport.ErrLost)
			w.Mark("greeter", greeter("nobody").Nodes[0], transport.ErrLost)
			a.Address = "elsewhere:1" // another node by now
			w.Mark("greeter", a, transport.ErrLost)
			have(t, w, "a", "b", "c")
		}
	})
}
