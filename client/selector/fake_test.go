package selector

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/seed-9a4e2794/micro/registry"
	"github.com/seed-9a4e2794/micro/registry/memory"
)

// broken is a registry whose faults the test makes: what Watch returns, and
// what its watchers deliver and when they fail.
type broken struct {
	registry.Registry // the methods a selector does not use: nil, so that a use is seen

	mu       sync.Mutex
	err      error
	hold     bool // watchers do not begin with a sync
	present  []*registry.Service
	watches  []time.Time // when Watch was called
	watchers []*brokenWatcher
}

type brokenWatcher struct {
	results chan *registry.Result
	fail    chan error
	stop    func()
	ctx     context.Context
}

func (b *broken) Watch(ctx context.Context, opts ...registry.WatchOption) (registry.Watcher, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.watches = append(b.watches, time.Now())
	if b.err != nil {
		return nil, b.err
	}
	ctx, cancel := context.WithCancel(ctx)
	w := &brokenWatcher{results: make(chan *registry.Result, 4096), fail: make(chan error, 1), stop: cancel, ctx: ctx}
	for _, s := range b.present {
		w.results <- &registry.Result{Action: registry.Create, Service: s}
	}
	if !b.hold {
		w.results <- &registry.Result{Action: registry.Sync}
	}
	b.watchers = append(b.watchers, w)
	return w, nil
}

func (w *brokenWatcher) Next() (*registry.Result, error) {
	select {
	case r := <-w.results:
		return r, nil
	default:
	}
	select {
	case r := <-w.results:
		return r, nil
	case err := <-w.fail:
		return nil, err
	case <-w.ctx.Done():
		return nil, registry.ErrWatcherStopped
	}
}

func (w *brokenWatcher) Stop() { w.stop() }

// set changes what Watch returns from now on.
func (b *broken) set(err error, present ...*registry.Service) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.err, b.present = err, present
}

// last returns the newest watcher.
func (b *broken) last() *brokenWatcher {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.watchers[len(b.watchers)-1]
}

// tell delivers results to the newest watcher.
func (b *broken) tell(action string, services ...*registry.Service) {
	w := b.last()
	if action == registry.Sync {
		w.results <- &registry.Result{Action: registry.Sync}
	}
	for _, s := range services {
		w.results <- &registry.Result{Action: action, Service: s}
	}
}

func (b *broken) calls() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.watches)
}

// greeter is a record of one node, whose address follows from its id.
func greeter(id string) *registry.Service { return version("1", id) }

func version(v string, ids ...string) *registry.Service {
	s := &registry.Service{Name: "greeter", Version: v}
	for _, id := range ids {
		s.Nodes = append(s.Nodes, &registry.Node{Id: id, Address: id + ":1"})
	}
	return s
}

// quiet makes a selector that logs nothing and is closed after the test.
func quiet(t testing.TB, r registry.Registry, strategy Strategy) *Watching {
	w := New(Config{Registry: r, Strategy: strategy, Logger: slog.New(slog.DiscardHandler)})
	t.Cleanup(func() { w.Close() })
	return w
}

// three is a selector over a memory registry with the nodes a, b and c.
func three(t testing.TB, strategy Strategy) (*Watching, *memory.Registry) {
	r := memory.New()
	for _, id := range []string{"a", "b", "c"} {
		register(t, r, greeter(id))
	}
	return quiet(t, r, strategy), r
}

func register(t testing.TB, r registry.Registry, s *registry.Service) {
	t.Helper()
	if err := r.Register(context.Background(), s); err != nil {
		t.Fatal(err)
	}
}

// pick picks, and fails the test if it cannot.
func pick(t testing.TB, p Picker, avoid *registry.Node) Choice {
	t.Helper()
	c, err := p.Pick(context.Background(), "greeter", avoid)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// take picks until it has the node with that id and then gives the others
// back: held, they make that node the one with the least load.
func take(t testing.TB, p Picker, id string) Choice {
	t.Helper()
	var others []Choice
	defer func() {
		for _, c := range others {
			c.Done(0, context.Canceled)
		}
	}()
	for range 10_000 {
		c := pick(t, p, nil)
		if c.Node.Id == id {
			return c
		}
		others = append(others, c)
	}
	t.Fatalf("node %q is never picked", id)
	return Choice{}
}

// share picks n times, one call after the other, and counts the nodes.
func share(t testing.TB, p Picker, n int) map[string]int {
	t.Helper()
	got := make(map[string]int)
	for range n {
		c := pick(t, p, nil)
		got[c.Node.Id]++
		c.Done(0, nil)
	}
	return got
}

// have fails the test unless exactly these nodes are picked.
func have(t testing.TB, p Picker, ids ...string) {
	t.Helper()
	got := share(t, p, 400)
	for _, id := range ids {
		if got[id] == 0 {
			t.Fatalf("node %q is not picked: %v", id, got)
		}
	}
	if len(got) != len(ids) {
		t.Fatalf("want the nodes %v, got %v", ids, got)
	}
}
