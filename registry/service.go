package registry

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"unicode/utf8"
)

// The bounds of Check on the values that describe an endpoint. A type that
// refers to itself would otherwise be walked for ever.
const (
	maxValueDepth = 32
	maxValues     = 1 << 16
)

// Check says what keeps s from being registered or deregistered, nil when
// nothing does: a service needs a name, at least one node, and every node an
// id; names and ids are UTF-8; values are nested at most 32 deep. Backends
// call it first and may have further limits.
func Check(s *Service) error {
	switch {
	case s == nil:
		return errors.New("registry: no service was given")
	case s.Name == "":
		return errors.New("registry: the service has no name")
	case !utf8.ValidString(s.Name):
		return fmt.Errorf("registry: the service name %q is not UTF-8", s.Name)
	case len(s.Nodes) == 0:
		return fmt.Errorf("registry: service %q has no node", s.Name)
	}
	for i, n := range s.Nodes {
		switch {
		case n == nil:
			return fmt.Errorf("registry: node %d of service %q is nil", i, s.Name)
		case n.Id == "":
			return fmt.Errorf("registry: node %d of service %q, address %q, has no id", i, s.Name, n.Address)
		case !utf8.ValidString(n.Id):
			return fmt.Errorf("registry: the node id %q of service %q is not UTF-8", n.Id, s.Name)
		}
	}
	budget := maxValues
	for i, e := range s.Endpoints {
		if e == nil {
			return fmt.Errorf("registry: endpoint %d of service %q is nil", i, s.Name)
		}
		for _, v := range []*Value{e.Request, e.Response} {
			if err := checkValue(v, 0, &budget); err != nil {
				return fmt.Errorf("registry: endpoint %q of service %q: %w", e.Name, s.Name, err)
			}
		}
	}
	return nil
}

func checkValue(v *Value, depth int, budget *int) error {
	if v == nil {
		return nil
	}
	if *budget--; *budget < 0 {
		return fmt.Errorf("more than %d values in one service", maxValues)
	}
	if depth >= maxValueDepth {
		return fmt.Errorf("value %q is nested deeper than %d; does the type refer to itself?", v.Name, maxValueDepth)
	}
	for _, sub := range v.Values {
		if err := checkValue(sub, depth+1, budget); err != nil {
			return err
		}
	}
	return nil
}

// Clone returns a copy of s that shares nothing with it but strings. The clone
// of nil is nil. s must have passed Check.
func (s *Service) Clone() *Service {
	if s == nil {
		return nil
	}
	c := *s
	c.Metadata = maps.Clone(s.Metadata)
	c.Endpoints = slices.Clone(s.Endpoints)
	for i, e := range c.Endpoints {
		if e == nil {
			continue
		}
		d := *e
		d.Request, d.Response = e.Request.clone(), e.Response.clone()
		d.Metadata = maps.Clone(e.Metadata)
		c.Endpoints[i] = &d
	}
	c.Nodes = slices.Clone(s.Nodes)
	for i, n := range c.Nodes {
		if n == nil {
			continue
		}
		d := *n
		d.Metadata = maps.Clone(n.Metadata)
		c.Nodes[i] = &d
	}
	return &c
}

func (v *Value) clone() *Value {
	if v == nil {
		return nil
	}
	c := *v
	c.Values = slices.Clone(v.Values)
	for i, sub := range c.Values {
		c.Values[i] = sub.clone()
	}
	return &c
}

// Merge joins services that hold some of their nodes each into one Service a
// name and version, sorted by both, nodes sorted by id. Metadata and endpoints
// of a version are those of the last argument that has it. The result shares
// the nodes, endpoints and maps of its arguments.
func Merge(parts []*Service) []*Service {
	type key struct{ name, version string }
	byKey := make(map[key]*Service)
	for _, p := range parts {
		k := key{p.Name, p.Version}
		m := *p
		m.Nodes = nil
		if have := byKey[k]; have != nil {
			m.Nodes = have.Nodes
		}
		m.Nodes = append(m.Nodes, p.Nodes...)
		byKey[k] = &m
	}
	out := slices.Collect(maps.Values(byKey))
	slices.SortFunc(out, func(a, b *Service) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Version, b.Version))
	})
	for _, s := range out {
		slices.SortStableFunc(s.Nodes, func(a, b *Node) int { return cmp.Compare(a.Id, b.Id) })
	}
	return out
}
