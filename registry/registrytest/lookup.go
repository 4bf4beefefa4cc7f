package registrytest

import (
	"context"
	"errors"
	"fmt"

	"github.com/seed-9a4e2794/micro/registry"
)

// lookupCases are of Register, Deregister, GetService and ListServices.
func lookupCases() []testCase {
	return []testCase{
		{name: "registered service is found whole", run: found,
			rule: "GetService returns all that was registered: version, metadata, endpoints with their values, address, node metadata"},
		{name: "known node is replaced", run: replaced,
			rule: "Register replaces a node known by service name and node id: address, metadata, version and endpoints"},
		{name: "one service a version", run: versions,
			rule: "GetService returns one Service a version, each with its own nodes"},
		{name: "nodes of one version are together", run: nodes,
			rule: "nodes of one name and version are in one Service, whether they were registered together or one by one"},
		{name: "deregistered node is gone", run: deregistered,
			rule: "Deregister removes the nodes it is given, by service name and node id, and no others"},
		{name: "deregistering what is unknown is no error", run: deregisterUnknown,
			rule: "a node that is not there is no error for Deregister"},
		{name: "same node id in two services", run: sameID,
			rule: "a node id is unique within its service only"},
		{name: "list names all services", run: listed,
			rule: "ListServices returns one Service a name and version; no services is an empty list and no error"},
		{name: "unknown service is not found", run: unknown, reads: true,
			rule: "GetService of a name nobody registered is ErrNotFound, and not ErrUnavailable"},
		{name: "ended context", run: endedContext,
			rule: "with a context that has ended every method returns its error and changes nothing"},
		{name: "read-only registry refuses", run: refuses, refusal: true,
			rule: "Register and Deregister of a read-only registry return ErrReadOnly and change nothing"},
		{name: "read-only registry holds what it was made with", run: holdsFixture, refusal: true,
			rule: "GetService and ListServices return what the registry was made with"},
	}
}

func found(k *kit) {
	s := service("greeter", "1.0.0", "greeter-1")
	k.register(s)
	k.holds("greeter", s)
}

func replaced(k *kit) {
	s := service("greeter", "1.0.0", "greeter-1")
	k.register(s)
	k.holds("greeter", s)

	s.Nodes[0].Address = "127.0.0.1:9002"
	k.register(s)
	k.holds("greeter", s)

	s.Endpoints = []*registry.Endpoint{{Name: "Greeter.Bye"}}
	k.register(s)
	k.holds("greeter", s)

	s.Metadata = map[string]string{"team": "another"}
	s.Nodes[0].Metadata = map[string]string{"protocol": "grpc"}
	k.register(s)
	k.holds("greeter", s)

	s.Endpoints, s.Metadata, s.Nodes[0].Metadata = nil, nil, nil
	k.register(s)
	k.holds("greeter", s)

	s.Version = "2.0.0"
	k.register(s)
	k.holds("greeter", s) // and nothing of 1.0.0
}

func versions(k *kit) {
	one, two, none := service("greeter", "1.0.0", "a"), service("greeter", "2.0.0", "b"), service("greeter", "", "c")
	two.Endpoints = []*registry.Endpoint{{Name: "Greeter.Hello2"}}
	for _, s := range []*registry.Service{one, two, none} {
		k.register(s)
	}
	k.holds("greeter", one, two, none)
	k.deregister(two)
	k.holds("greeter", one, none)
}

func nodes(k *kit) {
	all := service("greeter", "1.0.0", "a")
	all.Nodes = append(all.Nodes, &registry.Node{Id: "b", Address: "127.0.0.1:9002"})
	k.register(all)
	k.holds("greeter", all)
	c := service("greeter", "1.0.0", "c")
	k.register(c)
	all.Nodes = append(all.Nodes, c.Nodes...)
	k.holds("greeter", all)
}

func deregistered(k *kit) {
	a, b := service("greeter", "1.0.0", "a"), service("greeter", "1.0.0", "b")
	k.register(a)
	k.register(b)
	k.holds("greeter", a, b)
	// Only name and id count: a service that restarts may not know what the
	// one before it had registered.
	k.deregister(&registry.Service{Name: "greeter", Nodes: []*registry.Node{{Id: "a"}}})
	k.holds("greeter", b)
	k.deregister(b)
	k.holds("greeter")
	k.eventually(func() string { return k.listDiffers(nil) })
	k.register(a)
	k.holds("greeter", a)
}

func deregisterUnknown(k *kit) {
	k.deregister(service("nobody", "1.0.0", "a"))
	a := service("greeter", "1.0.0", "a")
	k.register(a)
	k.deregister(service("greeter", "1.0.0", "b"))
	k.holds("greeter", a)
	k.deregister(a)
	k.deregister(a)
	k.holds("greeter")
}

func sameID(k *kit) {
	a, b := service("greeter", "1.0.0", "1"), service("orders", "1.0.0", "1")
	k.register(a)
	k.register(b)
	k.holds("greeter", a)
	k.holds("orders", b)
	k.deregister(a)
	k.holds("greeter")
	k.holds("orders", b)
}

// listDiffers compares names and versions, and nodes where there are any.
func (k *kit) listDiffers(want []*registry.Service) string {
	got, err := k.ListServices(k.ctx())
	if err != nil {
		return fmt.Sprintf("ListServices: %v", err)
	}
	type key struct{ name, version string }
	missing := make(map[key]*registry.Service)
	for _, s := range registry.Merge(want) {
		missing[key{s.Name, s.Version}] = s
	}
	for _, s := range got {
		w := missing[key{s.Name, s.Version}]
		if w == nil {
			return fmt.Sprintf("ListServices returned %s, which is not there or was named before", show(s))
		}
		delete(missing, key{s.Name, s.Version})
		if len(s.Nodes) > 0 && show(s) != show(w) {
			return fmt.Sprintf("ListServices returned %s, want %s", show(s), show(w))
		}
	}
	for _, s := range missing {
		return fmt.Sprintf("ListServices did not return %s", show(s))
	}
	return ""
}

func listed(k *kit) {
	if wrong := k.listDiffers(nil); wrong != "" {
		k.broken("%s", wrong)
	}
	all := []*registry.Service{
		service("greeter", "1.0.0", "a"), service("greeter", "1.0.0", "b"),
		service("greeter", "2.0.0", "c"), service("orders", "1.0.0", "d"),
	}
	for _, s := range all {
		k.register(s)
	}
	k.eventually(func() string { return k.listDiffers(all) })
}

func unknown(k *kit) {
	k.holds("no-such-service-anywhere")
}

func endedContext(k *kit) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	s := service("greeter", "1.0.0", "a")
	_, getErr := k.GetService(ctx, "greeter")
	_, listErr := k.ListServices(ctx)
	w, watchErr := k.Watch(ctx)
	if watchErr == nil {
		w.Stop()
	}
	for _, c := range []struct {
		method string
		err    error
	}{
		{"Register", k.Register(ctx, s)},
		{"Deregister", k.Deregister(ctx, s)},
		{"GetService", getErr},
		{"ListServices", listErr},
		{"Watch", watchErr},
	} {
		if !errors.Is(c.err, context.Canceled) {
			k.broken("%s returned %v, want context.Canceled", c.method, c.err)
		}
	}
	k.holds("greeter")
	k.register(s)
	if err := k.Deregister(ctx, s); !errors.Is(err, context.Canceled) {
		k.broken("Deregister returned %v, want context.Canceled", err)
	}
	k.holds("greeter", s)
}

func refuses(k *kit) {
	s := service("newcomer", "1.0.0", "a")
	if err := k.Register(k.ctx(), s); !errors.Is(err, registry.ErrReadOnly) {
		k.broken("Register returned %v", err)
	}
	if err := k.Deregister(k.ctx(), k.fixture[0]); !errors.Is(err, registry.ErrReadOnly) {
		k.broken("Deregister returned %v", err)
	}
	k.holds("newcomer")
	if wrong := k.listDiffers(k.fixture); wrong != "" {
		k.broken("%s", wrong)
	}
}

func holdsFixture(k *kit) {
	byName := make(map[string][]*registry.Service)
	for _, s := range k.fixture {
		byName[s.Name] = append(byName[s.Name], s)
	}
	if len(byName) < 2 {
		k.Fatalf("registrytest.ReadOnly was given %d service names, it needs two", len(byName))
	}
	for name, want := range byName {
		k.holds(name, want...)
	}
	k.eventually(func() string { return k.listDiffers(k.fixture) })
}
