package selector

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-9a4e2794/micro/registry"
)

const (
	// emptyLife is how long the watch of a service without nodes is kept after
	// it was last asked for, and emptyMax how many of them there may be: names
	// may come from outside, such as through a gateway.
	emptyLife = time.Minute
	emptyMax  = 1024
)

// Config says how a selector works.
type Config struct {
	// Registry is watched. Without one every service is unavailable.
	Registry registry.Registry
	// Strategy picks nodes; nil is the power of two choices over calls under
	// way and latency, the only one that picks without allocating.
	Strategy Strategy
	// Logger is told when a watch is lost and found; nil is slog.Default().
	Logger *slog.Logger
}

// Watching is a Selector and Picker that keeps one watch a service, begun at
// its first use, and picks from what the watch has told. A registry that is
// down, slow or suddenly empty takes no nodes away: the last ones known stay,
// and calls judge them. All methods may run concurrently.
type Watching struct {
	registry registry.Registry
	strategy Strategy
	log      *slog.Logger
	base     time.Time

	watches atomic.Pointer[map[string]*watch] // the map is replaced, not changed

	mu      sync.Mutex // held to replace watches
	closed  bool
	running sync.WaitGroup
}

var (
	_ Selector = (*Watching)(nil)
	_ Picker   = (*Watching)(nil)
)

// New returns a selector. It starts nothing before its first use; Close ends
// what that started.
func New(cfg Config) *Watching {
	w := &Watching{registry: cfg.Registry, strategy: cfg.Strategy, log: cfg.Logger, base: time.Now()}
	if w.log == nil {
		w.log = slog.Default()
	}
	w.watches.Store(&map[string]*watch{})
	return w
}

// Pick picks a node. See Picker.
func (w *Watching) Pick(ctx context.Context, service string, avoid *registry.Node) (Choice, error) {
	s, err := w.snapshot(ctx, service)
	if err != nil {
		return Choice{}, err
	}
	if w.strategy != nil {
		return w.pickBy(s, s.services, w.strategy, avoid)
	}
	m := moment{base: w.base}
	e, probe := choose(s.entries, avoid, &m)
	e.state.inflight.Add(1)
	return Choice{Node: e.node, state: e.state, probe: probe}, nil
}

// TryPick is Pick without waiting: it reports false when no node of the service
// is known at this moment, and Pick would have to wait or fail.
func (w *Watching) TryPick(service string, avoid *registry.Node) (Choice, bool) {
	watch := (*w.watches.Load())[service]
	if watch == nil {
		return Choice{}, false
	}
	s := watch.snap.Load()
	if s == nil || len(s.entries) == 0 {
		return Choice{}, false
	}
	if w.strategy != nil {
		c, err := w.pickBy(s, s.services, w.strategy, avoid)
		return c, err == nil
	}
	m := moment{base: w.base}
	e, probe := choose(s.entries, avoid, &m)
	e.state.inflight.Add(1)
	return Choice{Node: e.node, state: e.state, probe: probe}, true
}

// PickWith is Pick with the options of Select.
func (w *Watching) PickWith(ctx context.Context, service string, avoid *registry.Node, opts ...SelectOption) (Choice, error) {
	o := w.options(opts)
	s, err := w.snapshot(ctx, service)
	if err != nil {
		return Choice{}, err
	}
	services, err := filter(service, s.services, o.Filters)
	if err != nil {
		return Choice{}, err
	}
	if o.Strategy == nil {
		if entries := s.within(services); len(entries) > 0 {
			m := moment{base: w.base}
			e, probe := choose(entries, avoid, &m)
			e.state.inflight.Add(1)
			return Choice{Node: e.node, state: e.state, probe: probe}, nil
		}
		o.Strategy = Random // a filter may name nodes of its own
	}
	return w.pickBy(s, services, o.Strategy, avoid)
}

// Select returns a function that picks nodes. The nodes are those known at the
// call of Select; their health is that of the moment with the default
// strategy, and that of the call of Select with another. Calls to nodes picked
// in this way do not count as under way: Pick and PickWith balance better.
func (w *Watching) Select(ctx context.Context, service string, opts ...SelectOption) (Next, error) {
	o := w.options(opts)
	s, err := w.snapshot(ctx, service)
	if err != nil {
		return nil, err
	}
	services, err := filter(service, s.services, o.Filters)
	if err != nil {
		return nil, err
	}
	if o.Strategy == nil {
		entries := s.entries
		if len(o.Filters) > 0 {
			entries = s.within(services)
		}
		if len(entries) > 0 {
			return func() (*registry.Node, error) {
				e, _ := choose(entries, nil, &moment{base: w.base})
				return e.node, nil
			}, nil
		}
		o.Strategy = Random
	}
	next := o.Strategy(s.healthy(services, nil, &moment{base: w.base}))
	return func() (*registry.Node, error) {
		n, err := next()
		if st := s.of(n); err == nil && st != nil {
			st.claim(&moment{base: w.base})
		}
		return n, err
	}, nil
}

// Mark says how a call to a node from Select ended.
func (w *Watching) Mark(service string, node *registry.Node, err error) {
	if node == nil {
		return
	}
	watch := (*w.watches.Load())[service]
	if watch == nil {
		return
	}
	s := watch.snap.Load()
	if s == nil {
		return
	}
	if st := s.of(node); st != nil && st.address == node.Address {
		st.mark(err)
	}
}

// Close ends the watches and waits for their goroutines. It returns nil.
// Choices and functions that were handed out may still be used.
func (w *Watching) Close() error {
	w.mu.Lock()
	w.closed = true
	for _, x := range *w.watches.Load() {
		x.cancel()
	}
	w.watches.Store(&map[string]*watch{})
	w.mu.Unlock()
	w.running.Wait()
	return nil
}

func (w *Watching) now() int64 { return int64(time.Since(w.base)) }

func (w *Watching) options(opts []SelectOption) SelectOptions {
	o := NewSelectOptions(opts...)
	if o.Strategy == nil {
		o.Strategy = w.strategy
	}
	return o
}

// pickBy picks a node of services, which are those of s or a part, by strategy.
func (w *Watching) pickBy(s *snapshot, services []*registry.Service, strategy Strategy, avoid *registry.Node) (Choice, error) {
	m := &moment{base: w.base}
	n, err := strategy(s.healthy(services, avoid, m))()
	if err != nil {
		return Choice{}, err
	}
	if n == nil {
		return Choice{}, fmt.Errorf("%w: the strategy returned no node", ErrNoneAvailable)
	}
	st := s.of(n)
	if st == nil { // a node of the strategy's own
		return Choice{Node: n}, nil
	}
	probe, _ := st.claim(m)
	st.inflight.Add(1)
	return Choice{Node: n, state: st, probe: probe}, nil
}

func filter(service string, services []*registry.Service, filters []Filter) ([]*registry.Service, error) {
	if len(filters) == 0 {
		return services, nil
	}
	all := services
	for _, f := range filters {
		services = f(services)
	}
	for _, s := range services {
		if len(s.Nodes) > 0 {
			return services, nil
		}
	}
	return nil, fmt.Errorf("%w: none of the %d nodes of service %q passes the filters", ErrNoneAvailable, len(flatten(all)), service)
}

// snapshot returns what is known of a service, with at least one node.
func (w *Watching) snapshot(ctx context.Context, service string) (*snapshot, error) {
	if watch := (*w.watches.Load())[service]; watch != nil {
		if s := watch.snap.Load(); s != nil && len(s.entries) > 0 {
			return s, nil
		}
	}
	return w.find(ctx, service)
}

// find is snapshot where something is missing.
func (w *Watching) find(ctx context.Context, service string) (*snapshot, error) {
	if w.registry == nil {
		return nil, fmt.Errorf("selector: find service %q: no registry was given: %w", service, registry.ErrUnavailable)
	}
	for {
		watch, err := w.watch(service)
		if err != nil {
			return nil, err
		}
		watch.used.Store(w.now())
		s, err := watch.wait(ctx)
		if err != nil {
			return nil, err
		}
		if s == nil {
			continue // given up in this moment for want of use
		}
		if len(s.entries) == 0 {
			return nil, fmt.Errorf("%w: no node of %q is registered", ErrNotFound, service)
		}
		return s, nil
	}
}

// watch returns the watch of a service and begins it if there is none.
func (w *Watching) watch(service string) (*watch, error) {
	if have := (*w.watches.Load())[service]; have != nil {
		return have, nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil, ErrClosed
	}
	before := *w.watches.Load()
	if have := before[service]; have != nil {
		return have, nil
	}
	after := maps.Clone(before)
	w.sweep(after)
	ctx, cancel := context.WithCancel(context.Background()) // it outlives the call that needs it first
	add := &watch{name: service, registry: w.registry, log: w.log, base: w.base, done: ctx.Done(), cancel: cancel}
	add.table.records = make(map[string]*record)
	add.first.Store(&answer{ready: make(chan struct{})})
	add.used.Store(w.now())
	after[service] = add
	w.watches.Store(&after)
	w.running.Go(func() {
		defer cancel()
		add.run(ctx)
	})
	return add, nil
}

// sweep ends the watches that have no nodes and no use.
func (w *Watching) sweep(watches map[string]*watch) {
	now := w.now()
	kept := 0
	var oldest *watch
	drop := func(x *watch) {
		x.cancel()
		delete(watches, x.name)
	}
	for _, x := range watches {
		if !x.empty() || x.waiters.Load() > 0 {
			continue
		}
		if now-x.used.Load() > int64(emptyLife) {
			drop(x)
			continue
		}
		kept++
		if oldest == nil || x.used.Load() < oldest.used.Load() {
			oldest = x
		}
	}
	if kept >= emptyMax {
		drop(oldest)
	}
}
