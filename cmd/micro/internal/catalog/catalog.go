// Package catalog holds what a registry knows, kept up to date by one watch.
package catalog

import (
	"cmp"
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/seed-9a4e2794/micro/registry"
)

// Catalog is the services of a registry. Its methods may run concurrently.
type Catalog struct {
	reg    registry.Registry
	log    *slog.Logger
	cancel context.CancelFunc
	done   sync.WaitGroup
	synced chan struct{} // closed once the present state is known

	mu       sync.Mutex
	nodes    map[key]entry
	next     uint64       // the order of the next entry
	named    map[key]bool // since the last lost, nil when no census is under way
	services []*registry.Service
	changed  chan struct{}
}

type key struct{ name, id string }

// entry is one node with its service.
type entry struct {
	service *registry.Service
	order   uint64 // later records have more
}

// New returns a catalog that watches reg until Close. A nil logger is
// slog.Default.
func New(reg registry.Registry, log *slog.Logger) *Catalog {
	if log == nil {
		log = slog.Default()
	}
	ctx, cancel := context.WithCancel(context.Background())
	c := &Catalog{reg: reg, log: log, cancel: cancel, synced: make(chan struct{}),
		nodes: make(map[key]entry), named: make(map[key]bool), changed: make(chan struct{})}
	c.done.Go(func() { c.keep(ctx) })
	return c
}

// Close ends the watch and waits for it.
func (c *Catalog) Close() {
	c.cancel()
	c.done.Wait()
}

// Synced is closed once the registry has told its present state.
func (c *Catalog) Synced() <-chan struct{} { return c.synced }

// Services returns all services, one a name and version, sorted, and a channel
// that is closed when they have changed. What is returned must not be changed.
func (c *Catalog) Services() ([]*registry.Service, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.services, c.changed
}

// Service returns the versions of one service, none when it is not known.
func (c *Catalog) Service(name string) []*registry.Service {
	all, _ := c.Services()
	var found []*registry.Service
	for _, s := range all {
		if s.Name == name {
			found = append(found, s)
		}
	}
	return found
}

// The pause between attempts to watch a registry that is away.
const (
	minPause = 100 * time.Millisecond
	maxPause = 5 * time.Second
)

// keep watches until ctx ends.
func (c *Catalog) keep(ctx context.Context) {
	for pause := minPause; ; pause = min(2*pause, maxPause) {
		w, err := c.reg.Watch(ctx)
		if err == nil {
			pause = minPause
			err = c.follow(w)
			w.Stop()
		}
		if ctx.Err() != nil {
			return
		}
		c.log.Warn("the registry cannot be watched; trying again", "error", err, "in", pause)
		c.lost()
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
	}
}

// follow takes what a watcher tells until that ends.
func (c *Catalog) follow(w registry.Watcher) error {
	for {
		r, err := w.Next()
		if err != nil {
			return err
		}
		c.take(r)
	}
}

// lost begins a census: what is not named until the next sync is gone.
func (c *Catalog) lost() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.named = make(map[key]bool)
}

func (c *Catalog) take(r *registry.Result) {
	if r.Action == registry.Lost {
		c.lost()
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch r.Action {
	case registry.Create, registry.Update:
		for _, n := range r.Service.Nodes {
			k := key{r.Service.Name, n.Id}
			one := *r.Service
			one.Nodes = []*registry.Node{n}
			c.nodes[k] = entry{&one, c.next}
			c.next++
			if c.named != nil {
				c.named[k] = true
			}
		}
	case registry.Delete:
		for _, n := range r.Service.Nodes {
			delete(c.nodes, key{r.Service.Name, n.Id})
		}
	case registry.Sync:
		for k := range c.nodes {
			if c.named != nil && !c.named[k] {
				delete(c.nodes, k)
			}
		}
		c.named = nil
		select {
		case <-c.synced:
		default:
			close(c.synced)
		}
	}
	// What a version answers is what its latest node says.
	entries := slices.SortedFunc(maps.Values(c.nodes), func(a, b entry) int { return cmp.Compare(a.order, b.order) })
	all := make([]*registry.Service, len(entries))
	for i, e := range entries {
		all[i] = e.service
	}
	c.services = registry.Merge(all)
	close(c.changed)
	c.changed = make(chan struct{})
}
