package selector

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-9a4e2794/micro/internal/leaktest"
	"github.com/seed-9a4e2794/micro/registry"
	"github.com/seed-9a4e2794/micro/registry/memory"
	"github.com/seed-9a4e2794/micro/transport"
)

func TestManyFirstUsesShareOneWatch(t *testing.T) {
	leaktest.Check(t)
	r := &broken{present: []*registry.Service{greeter("a")}}
	w := quiet(t, r, nil)
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if c, err := w.Pick(t.Context(), "greeter", nil); err != nil || c.Node.Id != "a" {
				t.Errorf("got %v, %v", c.Node, err)
			}
		})
	}
	wg.Wait()
	if n := r.calls(); n != 1 {
		t.Fatalf("%d watches for one service", n)
	}
}

func TestPickWaitsForTheFirstSyncAndNoLongerThanItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &broken{hold: true, present: []*registry.Service{greeter("a")}}
		w := quiet(t, r, nil)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		_, err := w.Pick(ctx, "greeter", nil)
		if !errors.Is(err, registry.ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("want unavailable and deadline, got %v", err)
		}
		if d := time.Since(began); d != time.Second {
			t.Fatalf("waited %s", d)
		}
		ctx, cancel = context.WithCancel(t.Context())
		cancel()
		if _, err := w.Pick(ctx, "greeter", nil); !errors.Is(err, context.Canceled) || errors.Is(err, registry.ErrUnavailable) {
			t.Fatalf("a caller who went away does not say that the registry is down: %v", err)
		}
		time.AfterFunc(time.Minute, func() { r.tell(registry.Sync) })
		if c := pick(t, w, nil); c.Node.Id != "a" {
			t.Fatalf("got %v", c.Node)
		}
	})
}

func TestServiceWithoutNodesIsNotFoundAndNamed(t *testing.T) {
	leaktest.Check(t)
	w := quiet(t, memory.New(), nil)
	_, err := w.Pick(t.Context(), "gree ter", nil)
	if !errors.Is(err, ErrNotFound) || !errors.Is(err, registry.ErrNotFound) || errors.Is(err, registry.ErrUnavailable) {
		t.Fatalf("want not found, got %v", err)
	}
	if want := `selector: service not found: no node of "gree ter" is registered`; err.Error() != want {
		t.Fatalf("got %q, want %q", err, want)
	}
}

func TestNodeThatAppearsIsPickedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := memory.New()
		w := quiet(t, r, nil)
		if _, err := w.Pick(t.Context(), "greeter", nil); !errors.Is(err, ErrNotFound) {
			t.Fatalf("got %v", err)
		}
		register(t, r, greeter("a"))
		synctest.Wait()
		have(t, w, "a")
	})
}

func TestNodeThatIsDeletedIsNotPickedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, r := three(t, nil)
		have(t, w, "a", "b", "c")
		for _, id := range []string{"b", "a", "c"} {
			if err := r.Deregister(t.Context(), greeter(id)); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if id == "b" {
				have(t, w, "a", "c")
			}
		}
		if _, err := w.Pick(t.Context(), "greeter", nil); !errors.Is(err, ErrNotFound) {
			t.Fatalf("got %v", err)
		}
	})
}

func TestUpdateMovesTheNodeAndKeepsItsHealthOnlyAtTheSameAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, r := three(t, nil)
		take(t, w, "a").Done(0, transport.ErrUnreachable)
		s := greeter("a")
		s.Nodes[0].Metadata = map[string]string{"zone": "x"}
		register(t, r, s)
		synctest.Wait()
		have(t, w, "b", "c")
		s.Nodes[0].Address = "elsewhere:1"
		register(t, r, s)
		synctest.Wait()
		have(t, w, "a", "b", "c")
		if n := take(t, w, "a").Node; n.Address != "elsewhere:1" || n.Metadata["zone"] != "x" {
			t.Fatalf("got %v", n)
		}
	})
}

func TestRegistryThatIsDownIsSaidWithoutWaitingForTheContext(t *testing.T) {
	for _, cause := range []error{registry.ErrUnavailable, errors.New("dial: no route")} {
		synctest.Test(t, func(t *testing.T) {
			r := &broken{err: cause}
			w := quiet(t, r, nil)
			began := time.Now()
			for range 3 {
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				_, err := w.Pick(ctx, "greeter", nil)
				if !errors.Is(err, registry.ErrUnavailable) || !errors.Is(err, cause) || errors.Is(err, ErrNotFound) {
					t.Fatalf("want unavailable because of %v, got %v", cause, err)
				}
			}
			if d := time.Since(began); d != 0 {
				t.Fatalf("waited %s", d)
			}
		})
	}
}

func TestWatchIsRetriedWithGrowingWaitsUntilTheRegistryAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &broken{err: registry.ErrUnavailable}
		w := quiet(t, r, nil)
		if _, err := w.Pick(t.Context(), "greeter", nil); err == nil {
			t.Fatal("want an error")
		}
		<-time.After(time.Minute)
		synctest.Wait()
		r.mu.Lock()
		at := r.watches
		r.mu.Unlock()
		limit := retryMin
		for i := 1; i < len(at); i++ {
			if d := at[i].Sub(at[i-1]); d < limit/2 || d > limit {
				t.Fatalf("attempt %d came after %s, want %s to %s", i, d, limit/2, limit)
			}
			limit = min(2*limit, retryMax)
		}
		if len(at) < 15 {
			t.Fatalf("only %d attempts in a minute", len(at))
		}
		r.set(nil, greeter("a"))
		<-time.After(retryMax)
		synctest.Wait()
		have(t, w, "a")
	})
}

func TestLastNodesServeWhileTheRegistryIsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &broken{present: []*registry.Service{greeter("a"), greeter("b")}}
		w := quiet(t, r, nil)
		have(t, w, "a", "b")
		r.set(registry.ErrUnavailable)
		r.last().fail <- errors.New("connection reset")
		for range 10 {
			<-time.After(time.Minute)
			have(t, w, "a", "b")
		}
		// Back with one gone and one new: what is missing at the sync goes.
		r.set(nil, greeter("b"), greeter("c"))
		<-time.After(retryMax)
		synctest.Wait()
		have(t, w, "b", "c")
	})
}

func TestOutageThatTheWatcherHealsDeletesWhatIsMissingAtTheSync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &broken{present: []*registry.Service{greeter("a"), greeter("b")}}
		w := quiet(t, r, nil)
		have(t, w, "a", "b")
		// c is news, and so named after the last sync, but gone after the outage.
		r.tell(registry.Create, greeter("c"))
		r.tell(registry.Update, version("2", "a"))
		synctest.Wait()
		have(t, w, "a", "b", "c")
		r.tell(registry.Create, greeter("d"), greeter("b"))
		synctest.Wait()
		have(t, w, "a", "b", "c", "d")
		r.tell(registry.Sync)
		synctest.Wait()
		have(t, w, "b", "d")
	})
}

func TestNodeCreatedBeforeAnOutageAndGoneInItIsDeleted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := new(broken)
		r.set(nil, greeter("a"))
		w := quiet(t, r, nil)
		pick(t, w, nil).Done(time.Millisecond, nil)
		r.tell(registry.Create, greeter("b"))
		synctest.Wait()
		r.last().results <- &registry.Result{Action: registry.Lost}
		r.tell(registry.Create, greeter("c"))
		r.tell(registry.Sync)
		synctest.Wait()
		for range 50 {
			c := pick(t, w, nil)
			if c.Node.Id != "c" {
				t.Fatalf("picked %s, which the registry no longer names", c.Node.Id)
			}
			c.Done(time.Millisecond, nil)
		}
	})
}

func TestRegistryThatComesBackEmptyTakesNoNodesAway(t *testing.T) {
	for _, how := range []string{"within the watch", "within the watch, after news", "with a new watch"} {
		t.Run(how, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := &broken{present: []*registry.Service{greeter("a"), greeter("b")}}
				w := quiet(t, r, nil)
				have(t, w, "a", "b")
				empty := func() {
					r.set(nil)
					switch how {
					case "with a new watch":
						r.last().fail <- registry.ErrUnavailable
						<-time.After(retryMin)
					default:
						r.tell(registry.Sync)
					}
					synctest.Wait()
				}
				if how == "within the watch, after news" {
					r.tell(registry.Create, greeter("c"))
					empty()
					have(t, w, "a", "b", "c")
					r.tell(registry.Delete, greeter("c")) // explicit
					synctest.Wait()
				} else {
					empty()
				}
				have(t, w, "a", "b")

				// A refusal shows that it lives; it is ejected and stays.
				take(t, w, "a").Done(0, transport.ErrLost)
				<-time.After(time.Second)
				have(t, w, "a", "b")
				// Unreachable shows that the registry was right.
				take(t, w, "a").Done(0, transport.ErrUnreachable)
				<-time.After(time.Hour)
				have(t, w, "b")

				// b registers again, so the registry vouches for it: it is
				// ejected when it cannot be reached, but not taken away.
				r.tell(registry.Create, greeter("b"))
				synctest.Wait()
				take(t, w, "b").Done(0, transport.ErrUnreachable)
				have(t, w, "b")

				// At the next state with nodes the rest goes.
				r.tell(registry.Create, greeter("b"), greeter("d"))
				r.tell(registry.Sync)
				<-time.After(time.Second)
				have(t, w, "b", "d")
			})
		})
	}
}

func TestLastStaleNodeThatIsUnreachableLeavesTheServiceNotFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &broken{present: []*registry.Service{greeter("a")}}
		w := quiet(t, r, nil)
		c := pick(t, w, nil)
		r.tell(registry.Sync)
		synctest.Wait()
		c.Done(0, fmt.Errorf("dial: %w", transport.ErrUnreachable))
		if _, err := w.Pick(t.Context(), "greeter", nil); !errors.Is(err, ErrNotFound) {
			t.Fatalf("got %v", err)
		}
	})
}

func TestResultsAboutOtherServicesAndWithoutContentAreIgnored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &broken{present: []*registry.Service{greeter("a")}}
		w := quiet(t, r, nil)
		have(t, w, "a")
		other := greeter("b")
		other.Name = "other"
		r.tell(registry.Create, nil, other, &registry.Service{Name: "greeter", Nodes: []*registry.Node{nil}})
		r.tell(registry.Delete, nil, greeter("nobody"))
		r.tell("rename", greeter("c"))
		synctest.Wait()
		have(t, w, "a")
	})
}

func TestCloseEndsWatchesAndThoseWhoWait(t *testing.T) {
	leaktest.Check(t)
	r := &broken{hold: true}
	w := quiet(t, r, nil)
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := w.Pick(context.Background(), "greeter", nil); !errors.Is(err, ErrClosed) {
			t.Errorf("got %v", err)
		}
	})
	for deadline := time.Now().Add(10 * time.Second); r.calls() == 0; {
		if time.Now().After(deadline) {
			t.Fatal("no watch was begun")
		}
		<-time.After(time.Millisecond)
	}
	for range 2 {
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	wg.Wait()
	if _, err := w.Select(context.Background(), "greeter"); !errors.Is(err, ErrClosed) {
		t.Fatalf("got %v", err)
	}
}

func TestCloseEndsAWatchThatWaitsToTryAgain(t *testing.T) {
	leaktest.Check(t)
	w := quiet(t, &broken{err: registry.ErrUnavailable}, nil)
	if _, err := w.Pick(t.Context(), "greeter", nil); !errors.Is(err, registry.ErrUnavailable) {
		t.Fatalf("got %v", err)
	}
	w.Close()
}

func TestWatchesOfNamesThatNobodyHasAreBoundedAndGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := memory.New()
		register(t, r, greeter("a"))
		w := quiet(t, r, nil)
		have(t, w, "a")
		ask := func(name string) {
			if _, err := w.Pick(t.Context(), name, nil); !errors.Is(err, ErrNotFound) {
				t.Fatalf("got %v", err)
			}
		}
		for i := range 2 * emptyMax {
			ask(fmt.Sprint("nobody-", i))
		}
		if n := len(*w.watches.Load()); n != emptyMax+1 {
			t.Fatalf("%d watches, want %d of nobody and the greeter's", n, emptyMax)
		}
		<-time.After(emptyLife + time.Second)
		ask("one-more")
		if n := len(*w.watches.Load()); n != 2 {
			t.Fatalf("%d watches, want 2", n)
		}
		have(t, w, "a")
		ask("nobody-0") // given up, and watched again when asked for
	})
}

func TestNoRegistryIsUnavailable(t *testing.T) {
	w := New(Config{})
	defer w.Close()
	if _, err := w.Pick(t.Context(), "greeter", nil); !errors.Is(err, registry.ErrUnavailable) {
		t.Fatalf("got %v", err)
	}
}
