package registrytest

import (
	"fmt"
	"sync"

	"github.com/seed-9a4e2794/micro/registry"
)

// loadCases are of many writers and of readers who are slow.
func loadCases() []testCase {
	return []testCase{
		{name: "concurrent writers", run: writers,
			rule: "all methods may run concurrently; in the end the registry holds what is registered, and each watcher has been told so"},
		{name: "writers of one node", run: oneNode,
			rule: "of concurrent registrations of one node one wins whole, and a watcher ends up with the one that GetService returns"},
		{name: "watcher that does not read", run: lazyReader,
			rule: "a watcher that does not read holds nobody up, and when it reads it arrives at the present state"},
	}
}

// replica is what a reader of results believes.
type replica map[string]*registry.Service

func (p replica) apply(r *registry.Result) {
	for _, n := range r.Service.Nodes {
		one := *r.Service
		one.Nodes = []*registry.Node{n}
		if r.Action == registry.Delete {
			delete(p, one.Name+"\x00"+n.Id)
		} else {
			p[one.Name+"\x00"+n.Id] = &one
		}
	}
}

func (p replica) services() []*registry.Service {
	var out []*registry.Service
	for _, s := range p {
		out = append(out, s)
	}
	return out
}

// follow reads until the mark is seen and returns what is believed then.
func (s *stream) follow(believed replica, mark string) replica {
	s.k.Helper()
	for {
		r := s.result("a create of " + mark)
		if r.Action == registry.Sync {
			continue
		}
		if r.Service.Name == mark {
			return believed
		}
		believed.apply(r)
	}
}

func writers(k *kit) {
	const workers, each = 8, 12
	w := k.watch(k.life())
	var g sync.WaitGroup
	errs := make(chan error, workers)
	for i := range workers {
		g.Go(func() {
			for j := range each {
				s := service(fmt.Sprintf("svc-%d", j%3), "1.0.0", fmt.Sprintf("n-%d-%d", i, j))
				if err := k.Register(k.ctx(), s); err != nil {
					errs <- err
					return
				}
				s.Nodes[0].Address = fmt.Sprintf("127.0.0.1:%d", 1000+i)
				if err := k.Register(k.ctx(), s); err != nil {
					errs <- err
					return
				}
				if _, err := k.GetService(k.ctx(), s.Name); err != nil {
					errs <- err
					return
				}
				if j%2 == 1 {
					if err := k.Deregister(k.ctx(), s); err != nil {
						errs <- err
						return
					}
				}
			}
		})
	}
	g.Wait()
	close(errs)
	for err := range errs {
		k.broken("a writer failed: %v", err)
	}
	var want []*registry.Service
	for i := range workers {
		for j := 0; j < each; j += 2 {
			s := service(fmt.Sprintf("svc-%d", j%3), "1.0.0", fmt.Sprintf("n-%d-%d", i, j))
			s.Nodes[0].Address = fmt.Sprintf("127.0.0.1:%d", 1000+i)
			want = append(want, s)
		}
	}
	k.eventually(func() string { return k.listDiffers(want) })
	k.register(service("mark", "1.0.0", "mark"))
	if g, w := canon(w.follow(replica{}, "mark").services()), canon(want); g != w {
		k.broken("the watcher was told of\n\t%s\nwant\n\t%s", cut(g), cut(w))
	}
}

func oneNode(k *kit) {
	w := k.watch(k.life())
	var g sync.WaitGroup
	for i := range 4 {
		g.Go(func() {
			for j := range 10 {
				s := service("greeter", "1.0.0", "a")
				s.Nodes[0].Address = fmt.Sprintf("127.0.0.1:%d", 1000+i*10+j)
				s.Metadata["address"] = s.Nodes[0].Address
				if err := k.Register(k.ctx(), s); err != nil {
					k.Errorf("Register: %v\n\tthe rule: %s", err, k.rule)
					return
				}
			}
		})
	}
	g.Wait()
	k.register(service("mark", "1.0.0", "mark"))
	believed := canon(w.follow(replica{}, "mark").services())
	got, err := k.GetService(k.ctx(), "greeter")
	if err != nil {
		k.broken("GetService: %v", err)
	}
	if len(got) != 1 || len(got[0].Nodes) != 1 || got[0].Metadata["address"] != got[0].Nodes[0].Address {
		k.broken("GetService returned %s, which is no record that was registered", showAll(got))
	}
	if believed != canon(got) {
		k.broken("the watcher was told of %s, GetService returns %s", cut(believed), showAll(got))
	}
}

func lazyReader(k *kit) {
	lazy, err := k.Watch(k.life()) // nobody reads it yet
	if err != nil {
		k.broken("Watch: %v", err)
	}
	defer lazy.Stop()
	s := service("greeter", "1.0.0", "a")
	for i := range 300 {
		s.Nodes[0].Address = fmt.Sprintf("127.0.0.1:%d", 1000+i)
		k.register(s)
		if i%10 == 9 {
			k.deregister(s)
		}
	}
	s.Nodes[0].Address = "127.0.0.1:9999"
	k.register(s)
	k.holds("greeter", s)
	k.register(service("mark", "1.0.0", "mark"))
	late := k.read(lazy)
	if g, w := canon(late.follow(replica{}, "mark").services()), canon([]*registry.Service{s}); g != w {
		k.broken("the watcher was told of\n\t%s\nwant\n\t%s", cut(g), cut(w))
	}
}
