package selector

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-9a4e2794/micro/registry"
)

const (
	retryMin = 50 * time.Millisecond
	retryMax = 5 * time.Second
)

// watch follows one service. Its goroutine runs until its context ends.
type watch struct {
	name     string
	registry registry.Registry
	log      *slog.Logger
	base     time.Time
	done     <-chan struct{} // of the context
	cancel   context.CancelFunc

	snap atomic.Pointer[snapshot] // nil until the first sync
	// first says how far the first sync is; it is of no use afterwards.
	first   atomic.Pointer[answer]
	waiters atomic.Int64
	used    atomic.Int64 // when it was last asked for while it had no nodes

	mu    sync.Mutex
	table table
}

// answer is what the registry has said before the first sync.
type answer struct {
	ready chan struct{} // closed when err or the snapshot has been set
	err   error
}

func (w *watch) now() int64 { return int64(time.Since(w.base)) }

// empty reports whether the watch has no nodes to offer.
func (w *watch) empty() bool {
	s := w.snap.Load()
	return s == nil || len(s.entries) == 0
}

// run keeps the watch going.
func (w *watch) run(ctx context.Context) {
	delay := retryMin
	lost := false
	for {
		synced, err := w.follow(ctx, func() {
			if lost {
				w.log.Info("selector: registry answers again", slog.String("service", w.name))
				lost = false
			}
		})
		if ctx.Err() != nil {
			return
		}
		if synced {
			delay = retryMin
		}
		if !lost {
			w.log.Warn("selector: cannot watch, keeping the nodes known", slog.String("service", w.name), slog.Any("error", err))
			lost = true
		}
		w.failed(err)
		timer := time.NewTimer(delay/2 + rand.N(delay/2))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
		delay = min(2*delay, retryMax)
	}
}

// follow watches until the watcher fails, and reports whether it had a sync.
func (w *watch) follow(ctx context.Context, onSync func()) (synced bool, err error) {
	watcher, err := w.registry.Watch(ctx, registry.WatchService(w.name))
	if err != nil {
		return false, err
	}
	defer watcher.Stop()
	w.waiting()
	c := census{begun: true, named: make(map[string]struct{})}
	for {
		r, err := watcher.Next()
		if err != nil {
			return synced, err
		}
		switch r.Action {
		case registry.Sync:
			w.sync(&c)
			c.reset()
			synced = true
			onSync()
		case registry.Lost:
			c.begin()
		case registry.Create:
			w.apply(r.Service, func(n *registry.Node) bool {
				c.create(n.Id, w.table.knows(n.Id))
				return w.table.put(r.Service, n, w.fresh)
			})
		case registry.Update:
			w.apply(r.Service, func(n *registry.Node) bool {
				c.update(n.Id)
				return w.table.put(r.Service, n, w.fresh)
			})
		case registry.Delete:
			w.apply(r.Service, func(n *registry.Node) bool {
				c.remove(n.Id)
				return w.table.remove(n.Id)
			})
		}
	}
}

func (w *watch) fresh(address string) *state { return &state{owner: w, address: address} }

// apply calls change for each node of s and publishes what came of it. Before
// the first sync nothing is published: what is known then is a part.
func (w *watch) apply(s *registry.Service, change func(*registry.Node) bool) {
	if s == nil || s.Name != w.name {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	changed := false
	for _, n := range s.Nodes {
		if n != nil && change(n) {
			changed = true
		}
	}
	if changed && w.snap.Load() != nil {
		w.snap.Store(w.table.snapshot())
	}
}

// sync drops the nodes that the registry has not named. When it has named none
// that were known, it has come back empty, which is more likely its loss than
// the end of every node: they stay, and each goes when a call cannot reach it.
func (w *watch) sync(c *census) {
	w.mu.Lock()
	defer w.mu.Unlock()
	before := w.snap.Load()
	changed := before == nil
	lost := before != nil && (!c.begun || len(c.named) == 0)
	for id, r := range w.table.records {
		if _, ok := c.named[id]; ok {
			continue
		}
		if lost {
			r.state.stale.Store(true)
			continue
		}
		w.table.remove(id)
		changed = true
	}
	if changed {
		w.snap.Store(w.table.snapshot())
	}
	if before == nil {
		close(w.first.Load().ready)
	}
}

// dropStale takes a node away that the registry does not know and a call could
// not reach.
func (w *watch) dropStale(s *state) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for id, r := range w.table.records {
		if r.state == s && s.stale.Load() {
			w.table.remove(id)
			w.snap.Store(w.table.snapshot())
			return
		}
	}
}

// failed tells those who wait for the first sync that it does not come now.
func (w *watch) failed(err error) {
	if w.snap.Load() != nil {
		return
	}
	if !errors.Is(err, registry.ErrUnavailable) && !errors.Is(err, registry.ErrNotFound) {
		err = fmt.Errorf("%w: %w", registry.ErrUnavailable, err)
	}
	before := w.first.Swap(&answer{ready: make(chan struct{}), err: err})
	if before.err == nil {
		close(before.ready)
	}
}

// waiting lets new callers wait for the sync again, now that the registry is
// being watched.
func (w *watch) waiting() {
	if w.snap.Load() == nil && w.first.Load().err != nil {
		w.first.Store(&answer{ready: make(chan struct{})})
	}
}

// wait returns the snapshot as soon as there is one, the error of a registry
// that has failed, or nil and no error when the watch has been given up.
func (w *watch) wait(ctx context.Context) (*snapshot, error) {
	w.waiters.Add(1)
	defer w.waiters.Add(-1)
	for {
		if s := w.snap.Load(); s != nil {
			return s, nil
		}
		a := w.first.Load()
		if a.err != nil {
			if errors.Is(a.err, registry.ErrNotFound) {
				return nil, fmt.Errorf("%w: service %q: %w", ErrNotFound, w.name, a.err)
			}
			return nil, fmt.Errorf("selector: find service %q: %w", w.name, a.err)
		}
		select {
		case <-a.ready:
		case <-w.done:
			return nil, nil
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return nil, fmt.Errorf("selector: find service %q: no answer yet: %w: %w", w.name, registry.ErrUnavailable, ctx.Err())
			}
			return nil, fmt.Errorf("selector: find service %q: %w", w.name, ctx.Err())
		}
	}
}
