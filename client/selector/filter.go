package selector

import "github.com/seed-9a4e2794/micro/registry"

// FilterEndpoint keeps the services that have an endpoint of that name, such
// as "Greeter.Hello".
func FilterEndpoint(name string) Filter {
	return func(in []*registry.Service) []*registry.Service {
		var out []*registry.Service
		for _, s := range in {
			for _, e := range s.Endpoints {
				if e != nil && e.Name == name {
					out = append(out, s)
					break
				}
			}
		}
		return out
	}
}

// FilterLabel keeps the nodes whose metadata has val under key.
func FilterLabel(key, val string) Filter {
	return func(in []*registry.Service) []*registry.Service {
		return keep(in, func(n *registry.Node) bool {
			v, ok := n.Metadata[key]
			return ok && v == val
		})
	}
}

// FilterVersion keeps the services of that version.
func FilterVersion(version string) Filter {
	return func(in []*registry.Service) []*registry.Service {
		var out []*registry.Service
		for _, s := range in {
			if s.Version == version {
				out = append(out, s)
			}
		}
		return out
	}
}

// keep returns the services with the nodes for which ok holds, without those
// services that have none left. It shares what it can with in.
func keep(in []*registry.Service, ok func(*registry.Node) bool) []*registry.Service {
	out := make([]*registry.Service, 0, len(in))
	for _, s := range in {
		var nodes []*registry.Node
		for _, n := range s.Nodes {
			if ok(n) {
				nodes = append(nodes, n)
			}
		}
		switch len(nodes) {
		case 0:
		case len(s.Nodes):
			out = append(out, s)
		default:
			part := *s
			part.Nodes = nodes
			out = append(out, &part)
		}
	}
	return out
}
