package selector

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-9a4e2794/micro/internal/leaktest"
	"github.com/seed-9a4e2794/micro/registry"
	"github.com/seed-9a4e2794/micro/registry/memory"
	"github.com/seed-9a4e2794/micro/transport"
)

// run makes calls, so many at once, each as long as took says, and returns how
// many each node got.
func run(t *testing.T, p Picker, at, calls int, took func(id string) time.Duration) map[string]int {
	var mu sync.Mutex
	got := make(map[string]int)
	var wg sync.WaitGroup
	for range at {
		wg.Go(func() {
			for range calls {
				c, err := p.Pick(t.Context(), "greeter", nil)
				if err != nil {
					t.Error(err)
					return
				}
				d := took(c.Node.Id)
				<-time.After(d)
				c.Done(d, nil)
				mu.Lock()
				got[c.Node.Id]++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return got
}

func TestCallsSpreadEvenlyOverEqualNodes(t *testing.T) {
	for _, at := range []int{1, 32} {
		synctest.Test(t, func(t *testing.T) {
			w, _ := three(t, nil)
			// Latencies that differ by half are noise.
			got := run(t, w, at, 9600/at, func(string) time.Duration { return time.Millisecond + rand.N(time.Millisecond/2) })
			for id, n := range got {
				if n < 2900 || n > 3500 {
					t.Fatalf("%d at once: node %q got %d of 9600: %v", at, id, n, got)
				}
			}
		})
	}
}

func TestSlowNodeGetsLessAndIsTriedAgainWhenItHasRecovered(t *testing.T) {
	for _, at := range []int{1, 32} {
		synctest.Test(t, func(t *testing.T) {
			w, _ := three(t, nil)
			const total = 9600
			got := run(t, w, at, total/at, func(id string) time.Duration {
				if id == "a" {
					return 10 * time.Millisecond
				}
				return time.Millisecond
			})
			t.Logf("%d at once, a 10x slower: %v", at, got)
			if got["a"] == 0 || got["a"] > total/20 {
				t.Fatalf("%d at once: the slow node got %v, want some and at most 5 %%", at, got)
			}
			<-time.After(10 * time.Second)
			got = run(t, w, at, 3*total/at, func(string) time.Duration { return time.Millisecond })
			t.Logf("%d at once, recovered: %v", at, got)
			if got["a"] < 3*total/5 {
				t.Fatalf("%d at once: the node that recovered got %v, want near a third of %d", at, got, 3*total)
			}
		})
	}
}

func TestNodeThatHangsGetsFewCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _ := three(t, nil)
		var hung atomic.Int64
		var wg sync.WaitGroup
		for range 3000 { // one call a millisecond, for three seconds
			<-time.After(time.Millisecond)
			c := pick(t, w, nil)
			wg.Go(func() {
				d := time.Millisecond
				var err error
				if c.Node.Id == "a" {
					hung.Add(1)
					d, err = 5*time.Second, context.DeadlineExceeded
				}
				<-time.After(d)
				c.Done(d, err)
			})
		}
		wg.Wait()
		if n := hung.Load(); n == 0 || n > 30 {
			t.Fatalf("%d of 3000 calls went to the node that hangs, want some and at most 1 %%", n)
		}
		// Its latency is known now: a caller who waits for each call meets it rarely.
		if got := run(t, w, 1, 1000, func(string) time.Duration { return time.Millisecond }); got["a"] > 10 {
			t.Fatalf("got %v", got)
		}
	})
}

func TestNodeThatFailsFastDoesNotLookFast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _ := three(t, nil)
		got := make(map[string]int)
		for range 3000 {
			c := pick(t, w, nil)
			got[c.Node.Id]++
			if c.Node.Id == "a" {
				c.Done(time.Microsecond, fmt.Errorf("handler: no"))
				continue
			}
			<-time.After(time.Millisecond)
			c.Done(time.Millisecond, nil)
		}
		if got["a"] > 1300 {
			t.Fatalf("the node that fails got %v of 3000", got)
		}
	})
}

func TestNewNodeIsNeitherFloodedNorStarved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, r := three(t, nil)
		run(t, w, 8, 100, func(string) time.Duration { return 20 * time.Millisecond })
		register(t, r, greeter("new"))
		synctest.Wait()
		// Before anything has been answered only the calls under way count.
		got := make(map[string]int)
		var open []Choice
		for range 400 {
			c := pick(t, w, nil)
			got[c.Node.Id]++
			open = append(open, c)
		}
		if got["new"] < 80 || got["new"] > 120 {
			t.Fatalf("the new node got %v, want about 100", got)
		}
		for _, c := range open {
			c.Done(20*time.Millisecond, nil)
		}
	})
}

func TestLoadStaysLevelWithManyCallsUnderWay(t *testing.T) {
	w, _ := three(t, nil)
	got := make(map[string]int)
	for range 3000 {
		c := pick(t, w, nil)
		got[c.Node.Id]++
	}
	for _, n := range got {
		if n < 990 || n > 1010 {
			t.Fatalf("calls under way: %v", got)
		}
	}
}

func TestAvoidedNodeIsPickedOnlyWhenNoOtherIsInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, strategy := range []Strategy{nil, Random, NewRoundRobin()} {
			w, r := three(t, strategy)
			avoid := &registry.Node{Id: "a", Address: "a:1"} // an equal record does
			count := func(want ...string) {
				t.Helper()
				got := make(map[string]int)
				for range 200 {
					c := pick(t, w, avoid)
					got[c.Node.Id]++
					c.Done(0, nil)
				}
				for _, id := range want {
					if got[id] == 0 || len(got) != len(want) {
						t.Fatalf("want %v, got %v", want, got)
					}
				}
			}
			count("b", "c")
			take(t, w, "b").Done(0, transport.ErrLost)
			count("c")
			take(t, w, "c").Done(0, transport.ErrLost)
			count("a") // the only one in order
			take(t, w, "a").Done(0, transport.ErrLost)
			c := pick(t, w, avoid)
			if c.Node.Id == "a" {
				t.Fatal("all are ejected, and the avoided one is picked")
			}
			c.Done(0, transport.ErrLost)
			for _, id := range []string{"b", "c"} {
				if err := r.Deregister(t.Context(), greeter(id)); err != nil {
					t.Fatal(err)
				}
			}
			synctest.Wait()
			count("a") // the only one
		}
	})
}

func TestPicksAreSafeWhileNodesComeAndGo(t *testing.T) {
	leaktest.Check(t)
	r := memory.New()
	register(t, r, greeter("stays"))
	w := quiet(t, r, nil)
	pick(t, w, nil).Done(0, nil)
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for range 4 {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				c, err := w.Pick(t.Context(), "greeter", nil)
				if err != nil {
					t.Error(err)
					return
				}
				var failure error
				if c.Node.Id != "stays" && i%7 == 0 {
					failure = transport.ErrUnreachable
				}
				c.Done(time.Duration(i%1000), failure)
				if next, err := w.Select(t.Context(), "greeter", WithFilter(FilterVersion("1"))); err == nil {
					n, _ := next()
					w.Mark("greeter", n, failure)
				}
			}
		})
	}
	for i := range 2000 {
		s := greeter(fmt.Sprint(i % 20))
		if i%3 == 0 {
			if err := r.Deregister(t.Context(), s); err != nil {
				t.Fatal(err)
			}
			continue
		}
		s.Version = fmt.Sprint(i % 2)
		register(t, r, s)
	}
	close(stop)
	wg.Wait()
	for _, e := range (*w.watches.Load())["greeter"].snap.Load().entries {
		if n := e.state.inflight.Load(); n != 0 {
			t.Fatalf("node %q has %d calls under way after all have ended", e.node.Id, n)
		}
	}
}
