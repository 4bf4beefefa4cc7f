package selector

import (
	"cmp"
	"reflect"
	"slices"

	"github.com/seed-9a4e2794/micro/registry"
)

// snapshot is what is known of a service at one moment. It is immutable but
// for the states it points to.
type snapshot struct {
	// services are the versions with their nodes, sorted.
	services []*registry.Service
	entries  []entry
	byID     map[string]*state
}

// table is what a watch has told. It is changed by one goroutine at a time.
type table struct {
	records map[string]*record // by node id
	groups  []*group
}

// record is one node.
type record struct {
	node  *registry.Node
	group *group
	state *state
}

// group is a service without its nodes, shared by those nodes that were
// registered with the same version, metadata and endpoints.
type group struct {
	service registry.Service
	nodes   int
}

// put adds or replaces a node and reports whether anything has changed.
func (t *table) put(s *registry.Service, n *registry.Node, fresh func(address string) *state) bool {
	g := t.group(s)
	old := t.records[n.Id]
	if old != nil {
		old.state.stale.Store(false)
		if old.group == g && reflect.DeepEqual(old.node, n) {
			return false
		}
		t.leave(old)
	}
	r := &record{node: n, group: g}
	if old != nil && old.node.Address == n.Address {
		r.state = old.state
	} else {
		r.state = fresh(n.Address)
	}
	g.nodes++
	t.records[n.Id] = r
	return true
}

// remove takes a node away and reports whether it was there.
func (t *table) remove(id string) bool {
	r := t.records[id]
	if r == nil {
		return false
	}
	t.leave(r)
	delete(t.records, id)
	return true
}

// knows reports whether the registry is thought to have the node.
func (t *table) knows(id string) bool {
	r := t.records[id]
	return r != nil && !r.state.stale.Load()
}

func (t *table) leave(r *record) {
	r.group.nodes--
	if r.group.nodes == 0 {
		t.groups = slices.DeleteFunc(t.groups, func(g *group) bool { return g == r.group })
	}
}

// group finds or makes the group of s.
func (t *table) group(s *registry.Service) *group {
	for _, g := range t.groups {
		if g.service.Version == s.Version && reflect.DeepEqual(g.service.Metadata, s.Metadata) &&
			reflect.DeepEqual(g.service.Endpoints, s.Endpoints) {
			return g
		}
	}
	g := &group{service: registry.Service{Name: s.Name, Version: s.Version, Metadata: s.Metadata, Endpoints: s.Endpoints}}
	t.groups = append(t.groups, g)
	return g
}

// snapshot builds the snapshot of the table.
func (t *table) snapshot() *snapshot {
	records := make([]*record, 0, len(t.records))
	for _, r := range t.records {
		records = append(records, r)
	}
	slices.SortFunc(records, func(a, b *record) int { return cmp.Compare(a.node.Id, b.node.Id) })
	s := &snapshot{
		entries: make([]entry, len(records)),
		byID:    make(map[string]*state, len(records)),
	}
	services := make(map[*group]*registry.Service, len(t.groups))
	for _, g := range t.groups {
		part := g.service
		services[g] = &part
		s.services = append(s.services, &part)
	}
	for i, r := range records {
		part := services[r.group]
		part.Nodes = append(part.Nodes, r.node)
		s.entries[i] = entry{node: r.node, state: r.state}
		s.byID[r.node.Id] = r.state
	}
	slices.SortStableFunc(s.services, func(a, b *registry.Service) int { return cmp.Compare(a.Version, b.Version) })
	return s
}

// of returns the state of a node, nil when the snapshot does not have it.
func (s *snapshot) of(n *registry.Node) *state {
	if n == nil {
		return nil
	}
	return s.byID[n.Id]
}

// healthy returns the services with the nodes that a strategy may pick, by the
// order of preference that choose has.
func (s *snapshot) healthy(services []*registry.Service, avoid *registry.Node, m *moment) []*registry.Service {
	open := func(n *registry.Node) bool {
		st := s.of(n)
		return st == nil || st.open(m)
	}
	other := func(n *registry.Node) bool {
		return avoid == nil || n.Id != avoid.Id || n.Address != avoid.Address
	}
	for _, ok := range []func(*registry.Node) bool{
		func(n *registry.Node) bool { return open(n) && other(n) }, open, other,
	} {
		if part := keep(services, ok); len(part) > 0 {
			return part
		}
	}
	return services
}

// within returns the entries of those nodes of services that the snapshot has.
func (s *snapshot) within(services []*registry.Service) []entry {
	var entries []entry
	for _, part := range services {
		for _, n := range part.Nodes {
			if st := s.of(n); st != nil {
				entries = append(entries, entry{node: n, state: st})
			}
		}
	}
	return entries
}
