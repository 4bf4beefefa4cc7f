package registrytest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-9a4e2794/micro/internal/leaktest"
	"github.com/seed-9a4e2794/micro/registry"
	"github.com/seed-9a4e2794/micro/registry/memory"
)

// wrong is a registry with one fault; a nil field is not faulty.
type wrong struct {
	registry.Registry
	register   func(ctx context.Context, s *registry.Service, opts ...registry.RegisterOption) error
	deregister func(ctx context.Context, s *registry.Service) error
	get        func(ctx context.Context, name string) ([]*registry.Service, error)
	list       func(ctx context.Context) ([]*registry.Service, error)
	watch      func(ctx context.Context, opts ...registry.WatchOption) (registry.Watcher, error)
}

func (w *wrong) Register(ctx context.Context, s *registry.Service, opts ...registry.RegisterOption) error {
	if w.register != nil {
		return w.register(ctx, s, opts...)
	}
	return w.Registry.Register(ctx, s, opts...)
}

func (w *wrong) Deregister(ctx context.Context, s *registry.Service) error {
	if w.deregister != nil {
		return w.deregister(ctx, s)
	}
	return w.Registry.Deregister(ctx, s)
}

func (w *wrong) GetService(ctx context.Context, name string) ([]*registry.Service, error) {
	if w.get != nil {
		return w.get(ctx, name)
	}
	return w.Registry.GetService(ctx, name)
}

func (w *wrong) ListServices(ctx context.Context) ([]*registry.Service, error) {
	if w.list != nil {
		return w.list(ctx)
	}
	return w.Registry.ListServices(ctx)
}

func (w *wrong) Watch(ctx context.Context, opts ...registry.WatchOption) (registry.Watcher, error) {
	if w.watch != nil {
		return w.watch(ctx, opts...)
	}
	return w.Registry.Watch(ctx, opts...)
}

// edited is a watcher whose results pass through edit; a nil result is left out.
type edited struct {
	registry.Watcher
	edit func(*registry.Result) *registry.Result
}

func (e edited) Next() (*registry.Result, error) {
	for {
		r, err := e.Watcher.Next()
		if err != nil {
			return nil, err
		}
		if r = e.edit(r); r != nil {
			return r, nil
		}
	}
}

func editing(r registry.Registry, edit func(*registry.Result) *registry.Result) func(context.Context, ...registry.WatchOption) (registry.Watcher, error) {
	return func(ctx context.Context, opts ...registry.WatchOption) (registry.Watcher, error) {
		w, err := r.Watch(ctx, opts...)
		if err != nil {
			return nil, err
		}
		return edited{w, edit}, nil
	}
}

// deaf is a watcher whose Stop wakes nobody.
type deaf struct {
	registry.Watcher
	release <-chan struct{}
}

func (d deaf) Next() (*registry.Result, error) {
	r, err := d.Watcher.Next()
	if err != nil {
		<-d.release
	}
	return r, err
}

func TestSuiteFindsEachFault(t *testing.T) {
	for _, f := range []struct {
		fault string
		found string // the case that must fail
		make  func(t *testing.T, r registry.Registry) *wrong
	}{
		{"loses endpoints", "registered service is found whole", func(_ *testing.T, r registry.Registry) *wrong {
			return &wrong{register: func(ctx context.Context, s *registry.Service, opts ...registry.RegisterOption) error {
				s = s.Clone()
				s.Endpoints = nil
				return r.Register(ctx, s, opts...)
			}}
		}},
		{"does not replace a node", "known node is replaced", func(_ *testing.T, r registry.Registry) *wrong {
			return &wrong{register: func(ctx context.Context, s *registry.Service, opts ...registry.RegisterOption) error {
				if _, err := r.GetService(ctx, s.Name); err == nil {
					return nil
				}
				return r.Register(ctx, s, opts...)
			}}
		}},
		{"joins versions", "one service a version", func(_ *testing.T, r registry.Registry) *wrong {
			return &wrong{register: func(ctx context.Context, s *registry.Service, opts ...registry.RegisterOption) error {
				s = s.Clone()
				s.Version = "1.0.0"
				return r.Register(ctx, s, opts...)
			}}
		}},
		{"registers the first node only", "nodes of one version are together", func(_ *testing.T, r registry.Registry) *wrong {
			return &wrong{register: func(ctx context.Context, s *registry.Service, opts ...registry.RegisterOption) error {
				s = s.Clone()
				s.Nodes = s.Nodes[:min(1, len(s.Nodes))]
				return r.Register(ctx, s, opts...)
			}}
		}},
		{"deregisters nothing", "deregistered node is gone", func(_ *testing.T, r registry.Registry) *wrong {
			return &wrong{deregister: func(context.Context, *registry.Service) error { return nil }}
		}},
		{"complains of unknown nodes", "deregistering what is unknown is no error", func(_ *testing.T, r registry.Registry) *wrong {
			return &wrong{deregister: func(ctx context.Context, s *registry.Service) error {
				if _, err := r.GetService(ctx, s.Name); err != nil {
					return err
				}
				return r.Deregister(ctx, s)
			}}
		}},
		{"lists nothing", "list names all services", func(_ *testing.T, r registry.Registry) *wrong {
			return &wrong{list: func(context.Context) ([]*registry.Service, error) { return nil, nil }}
		}},
		{"says unavailable", "unknown service is not found", func(_ *testing.T, r registry.Registry) *wrong {
			return &wrong{get: func(ctx context.Context, name string) ([]*registry.Service, error) {
				s, err := r.GetService(ctx, name)
				if err != nil {
					err = fmt.Errorf("%w: %w", err, registry.ErrUnavailable)
				}
				return s, err
			}}
		}},
		{"returns an empty list", "unknown service is not found", func(_ *testing.T, r registry.Registry) *wrong {
			return &wrong{get: func(ctx context.Context, name string) ([]*registry.Service, error) {
				s, _ := r.GetService(ctx, name)
				return s, nil
			}}
		}},
		{"ignores the context", "ended context", func(_ *testing.T, r registry.Registry) *wrong {
			return &wrong{list: func(ctx context.Context) ([]*registry.Service, error) {
				return r.ListServices(context.WithoutCancel(ctx))
			}}
		}},
		{"keeps what it is given", "caller may change what it registered", func(_ *testing.T, r registry.Registry) *wrong {
			var given []*registry.Service
			return &wrong{
				register: func(ctx context.Context, s *registry.Service, opts ...registry.RegisterOption) error {
					given = append(given, s)
					return r.Register(ctx, s, opts...)
				},
				get: func(context.Context, string) ([]*registry.Service, error) { return given, nil },
			}
		}},
		{"changes what it returned", "what was returned does not change", func(_ *testing.T, r registry.Registry) *wrong {
			returned := &registry.Service{}
			return &wrong{get: func(ctx context.Context, name string) ([]*registry.Service, error) {
				s, err := r.GetService(ctx, name)
				if err != nil {
					return nil, err
				}
				*returned = *s[0]
				return []*registry.Service{returned}, nil
			}}
		}},
		{"cuts large values", "large record", func(_ *testing.T, r registry.Registry) *wrong {
			return &wrong{register: func(ctx context.Context, s *registry.Service, opts ...registry.RegisterOption) error {
				s = s.Clone()
				for key := range s.Nodes[0].Metadata {
					if len(s.Nodes[0].Metadata) > 100 {
						delete(s.Nodes[0].Metadata, key)
					}
				}
				return r.Register(ctx, s, opts...)
			}}
		}},
		{"folds case", "odd names", func(_ *testing.T, r registry.Registry) *wrong {
			return &wrong{register: func(ctx context.Context, s *registry.Service, opts ...registry.RegisterOption) error {
				s = s.Clone()
				s.Name = strings.ToLower(s.Name)
				return r.Register(ctx, s, opts...)
			}}
		}},
		{"takes what has no name", "record without a name or id is refused", func(_ *testing.T, r registry.Registry) *wrong {
			return &wrong{register: func(ctx context.Context, s *registry.Service, opts ...registry.RegisterOption) error {
				if s != nil && s.Name == "" {
					return nil
				}
				return r.Register(ctx, s, opts...)
			}}
		}},
		{"sends no sync", "watch from empty", func(_ *testing.T, r registry.Registry) *wrong {
			return &wrong{watch: editing(r, func(r *registry.Result) *registry.Result {
				if r.Action == registry.Sync {
					return nil
				}
				return r
			})}
		}},
		{"calls a change a creation", "watch from empty", func(_ *testing.T, r registry.Registry) *wrong {
			return &wrong{watch: editing(r, func(r *registry.Result) *registry.Result {
				if r.Action == registry.Update {
					return &registry.Result{Action: registry.Create, Service: r.Service}
				}
				return r
			})}
		}},
		{"forgets the present state", "watch from full", func(_ *testing.T, r registry.Registry) *wrong {
			return &wrong{watch: func(ctx context.Context, opts ...registry.WatchOption) (registry.Watcher, error) {
				w, err := r.Watch(ctx, opts...)
				if err != nil {
					return nil, err
				}
				synced := false
				return edited{w, func(r *registry.Result) *registry.Result {
					synced = synced || r.Action == registry.Sync
					if !synced {
						return nil
					}
					return r
				}}, nil
			}}
		}},
		{"does not filter", "watch of one service", func(_ *testing.T, r registry.Registry) *wrong {
			return &wrong{watch: func(ctx context.Context, _ ...registry.WatchOption) (registry.Watcher, error) {
				return r.Watch(ctx)
			}}
		}},
		{"tells of renewals", "same record again is no change", func(_ *testing.T, r registry.Registry) *wrong {
			var mu sync.Mutex
			n := 0
			return &wrong{register: func(ctx context.Context, s *registry.Service, opts ...registry.RegisterOption) error {
				mu.Lock()
				n++
				s = s.Clone()
				s.Metadata["lease"] = fmt.Sprint(n)
				mu.Unlock()
				return r.Register(ctx, s, opts...)
			}, get: func(ctx context.Context, name string) ([]*registry.Service, error) {
				s, err := r.GetService(ctx, name)
				s = slices.Clone(s)
				for i := range s {
					s[i] = s[i].Clone()
					delete(s[i].Metadata, "lease")
				}
				return s, err
			}, watch: editing(r, func(r *registry.Result) *registry.Result {
				if r.Service != nil {
					r = &registry.Result{Action: r.Action, Service: r.Service.Clone()}
					delete(r.Service.Metadata, "lease")
				}
				return r
			})}
		}},
		{"stop wakes nobody", "stop wakes next", func(t *testing.T, r registry.Registry) *wrong {
			release := make(chan struct{})
			t.Cleanup(func() { close(release) })
			return &wrong{watch: func(ctx context.Context, opts ...registry.WatchOption) (registry.Watcher, error) {
				w, err := r.Watch(ctx, opts...)
				return deaf{w, release}, err
			}}
		}},
		{"outlives its context", "ended context wakes next", func(_ *testing.T, r registry.Registry) *wrong {
			return &wrong{watch: func(ctx context.Context, opts ...registry.WatchOption) (registry.Watcher, error) {
				return r.Watch(context.WithoutCancel(ctx), opts...)
			}}
		}},
		{"forgets every tenth node", "concurrent writers", func(_ *testing.T, r registry.Registry) *wrong {
			var mu sync.Mutex
			n := 0
			return &wrong{register: func(ctx context.Context, s *registry.Service, opts ...registry.RegisterOption) error {
				mu.Lock()
				n++
				forget := n%10 == 0
				mu.Unlock()
				if forget {
					return nil
				}
				return r.Register(ctx, s, opts...)
			}}
		}},
		{"waits for the reader", "watcher that does not read", func(_ *testing.T, r registry.Registry) *wrong {
			var mu sync.Mutex
			n := 0
			return &wrong{register: func(ctx context.Context, s *registry.Service, opts ...registry.RegisterOption) error {
				mu.Lock()
				n++
				full := n > 100
				mu.Unlock()
				if full {
					<-ctx.Done()
					return ctx.Err()
				}
				return r.Register(ctx, s, opts...)
			}}
		}},
		{"does not expire", "node that is not renewed expires", func(_ *testing.T, r registry.Registry) *wrong {
			return &wrong{register: func(ctx context.Context, s *registry.Service, _ ...registry.RegisterOption) error {
				return r.Register(ctx, s)
			}}
		}},
		{"expires early", "node that is not renewed expires", func(_ *testing.T, r registry.Registry) *wrong {
			return &wrong{register: func(ctx context.Context, s *registry.Service, opts ...registry.RegisterOption) error {
				if registry.NewRegisterOptions(opts...).TTL > 0 {
					opts = []registry.RegisterOption{registry.RegisterTTL(time.Millisecond)}
				}
				return r.Register(ctx, s, opts...)
			}}
		}},
	} {
		t.Run(f.fault, func(t *testing.T) {
			leaktest.Check(t)
			o := options{maxRecord: 256 << 10, patience: 200 * time.Millisecond, ttl: 50 * time.Millisecond}
			for _, c := range cases() {
				if c.name != f.found {
					continue
				}
				r := memory.New()
				w := f.make(t, r)
				w.Registry = r
				said := failure(func(tb testing.TB) { c.run(newKit(tb, w, o, c)) })
				if !strings.Contains(said, c.rule) {
					t.Errorf("the case %q did not fail with its rule; it said %q", c.name, said)
				}
				return
			}
			t.Errorf("there is no case %q", f.found)
		})
	}
}
