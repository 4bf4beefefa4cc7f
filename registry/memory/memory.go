// Package memory is a registry within one process, for tests and for programs
// whose services all live together. It honours TTL, starts no goroutine, and
// works inside testing/synctest bubbles.
package memory

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/seed-9a4e2794/micro/registry"
)

// Registry is a registry in memory. Use [New]; a Registry must not be copied.
type Registry struct {
	feed registry.Feed

	mu        sync.Mutex // held over changes, so that expiry and renewal do not cross
	deadlines map[key]time.Time
	timer     *time.Timer // nil until a TTL was first given
	due       time.Time   // when the timer fires, zero when it is not armed
}

type key struct{ name, id string }

var _ registry.Registry = (*Registry)(nil)

// New returns an empty registry.
func New() *Registry {
	return &Registry{deadlines: make(map[key]time.Time)}
}

// Register adds or replaces the nodes of s. With RegisterTTL a node that is
// not registered again in time is removed; without it a node stays.
func (r *Registry) Register(ctx context.Context, s *registry.Service, opts ...registry.RegisterOption) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("memory: register: %w", err)
	}
	if err := registry.Check(s); err != nil {
		return err
	}
	o := registry.NewRegisterOptions(opts...)
	if o.TTL < 0 {
		return fmt.Errorf("memory: register %q: the TTL %s is negative", s.Name, o.TTL)
	}
	s = s.Clone()
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	for _, n := range s.Nodes {
		if o.TTL == 0 {
			delete(r.deadlines, key{s.Name, n.Id})
		} else {
			r.deadlines[key{s.Name, n.Id}] = now.Add(o.TTL)
		}
	}
	if o.TTL > 0 {
		r.arm(now, now.Add(o.TTL))
	}
	r.feed.Put(s)
	return nil
}

// Deregister removes the nodes of s.
func (r *Registry) Deregister(ctx context.Context, s *registry.Service) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("memory: deregister: %w", err)
	}
	if err := registry.Check(s); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, n := range s.Nodes {
		delete(r.deadlines, key{s.Name, n.Id})
		r.feed.Remove(s.Name, n.Id)
	}
	if len(r.deadlines) == 0 && r.timer != nil {
		r.timer.Stop()
		r.due = time.Time{}
	}
	return nil
}

// GetService returns the service under that name.
func (r *Registry) GetService(ctx context.Context, name string) ([]*registry.Service, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("memory: get %q: %w", name, err)
	}
	found := r.feed.Get(name)
	if len(found) == 0 {
		return nil, fmt.Errorf("memory: %q: %w", name, registry.ErrNotFound)
	}
	return found, nil
}

// ListServices returns all services with their nodes.
func (r *Registry) ListServices(ctx context.Context) ([]*registry.Service, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("memory: list: %w", err)
	}
	return r.feed.List(), nil
}

// Watch returns a watcher. One that does not read holds nobody up.
func (r *Registry) Watch(ctx context.Context, opts ...registry.WatchOption) (registry.Watcher, error) {
	return r.feed.Watch(ctx, registry.NewWatchOptions(opts...), nil)
}

// arm makes the timer fire at t, if it does not fire before.
func (r *Registry) arm(now, t time.Time) {
	if !r.due.IsZero() && !t.Before(r.due) {
		return
	}
	r.due = t
	if r.timer == nil {
		r.timer = time.AfterFunc(t.Sub(now), r.expire)
		return
	}
	r.timer.Reset(t.Sub(now))
}

// expire removes what has not been renewed and arms the timer for what goes
// next. It looks at all nodes, once in the shortest TTL at most.
func (r *Registry) expire() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.due = time.Time{}
	now := time.Now()
	var next time.Time
	for k, t := range r.deadlines {
		if !t.After(now) {
			delete(r.deadlines, k)
			r.feed.Remove(k.name, k.id)
		} else if next.IsZero() || t.Before(next) {
			next = t
		}
	}
	if !next.IsZero() {
		r.arm(now, next)
	}
}
