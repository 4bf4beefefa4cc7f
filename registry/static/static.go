// Package static is a registry whose services come from configuration. Nothing
// can be registered with it and nothing changes.
package static

import (
	"context"
	"fmt"
	"slices"

	"github.com/seed-9a4e2794/micro/registry"
)

// Config is what a Registry holds.
type Config struct {
	// Services are the services with their nodes; [Parse] makes them from a
	// text. They are copied. A node without an id gets its address as id. A
	// name and version that comes twice is joined. No services is an empty
	// registry.
	Services []*registry.Service
}

// Registry is a registry that does not change. Use [New].
type Registry struct {
	feed registry.Feed
}

var _ registry.Registry = (*Registry)(nil)

// New returns a registry of the services in cfg. It returns an error when one
// of them has no name or no node, or when a node has no address, or when a
// service has two nodes of one id.
func New(cfg Config) (*Registry, error) {
	type key struct{ name, id string }
	seen := make(map[key]bool)
	var all []*registry.Service
	for i, s := range cfg.Services {
		if s != nil {
			c := *s // Clone must wait for Check, and Check wants ids
			c.Nodes = slices.Clone(s.Nodes)
			for j, n := range c.Nodes {
				if n != nil && n.Id == "" {
					named := *n
					named.Id = n.Address
					c.Nodes[j] = &named
				}
			}
			s = &c
		}
		if err := registry.Check(s); err != nil {
			return nil, fmt.Errorf("static: service %d of the configuration: %w", i, err)
		}
		s = s.Clone()
		for _, n := range s.Nodes {
			if n.Address == "" {
				return nil, fmt.Errorf("static: node %q of service %q has no address", n.Id, s.Name)
			}
			if seen[key{s.Name, n.Id}] {
				return nil, fmt.Errorf("static: service %q has the node id %q twice; give one of them another id", s.Name, n.Id)
			}
			seen[key{s.Name, n.Id}] = true
		}
		all = append(all, s)
	}
	r := new(Registry)
	r.feed.Replace(all)
	return r, nil
}

// Register returns registry.ErrReadOnly.
func (r *Registry) Register(ctx context.Context, s *registry.Service, _ ...registry.RegisterOption) error {
	return refuse(ctx, "register", s)
}

// Deregister returns registry.ErrReadOnly.
func (r *Registry) Deregister(ctx context.Context, s *registry.Service) error {
	return refuse(ctx, "deregister", s)
}

func refuse(ctx context.Context, verb string, s *registry.Service) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("static: %s: %w", verb, err)
	}
	name := ""
	if s != nil {
		name = s.Name
	}
	return fmt.Errorf("static: %s %q: %w: change the configuration instead", verb, name, registry.ErrReadOnly)
}

// GetService returns the service under that name.
func (r *Registry) GetService(ctx context.Context, name string) ([]*registry.Service, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("static: get %q: %w", name, err)
	}
	found := r.feed.Get(name)
	if len(found) == 0 {
		return nil, fmt.Errorf("static: %q: %w", name, registry.ErrNotFound)
	}
	return found, nil
}

// ListServices returns all services with their nodes.
func (r *Registry) ListServices(ctx context.Context) ([]*registry.Service, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("static: list: %w", err)
	}
	return r.feed.List(), nil
}

// Watch returns a watcher that delivers the services and a sync and then
// waits until it is stopped.
func (r *Registry) Watch(ctx context.Context, opts ...registry.WatchOption) (registry.Watcher, error) {
	return r.feed.Watch(ctx, registry.NewWatchOptions(opts...), nil)
}
