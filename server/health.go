package server

import (
	"slices"
	"strings"

	"github.com/seed-9a4e2794/micro/internal/stats"
)

// Health says how a server is.
type Health struct {
	// Serving is false before Start and once Stop has begun.
	Serving bool
	// Check, Registry and Broker are the last errors of the RegisterCheck, the
	// registration and the broker; nil is well.
	Check, Registry, Broker error
}

// Health returns how the server is.
func (s *server) Health() Health {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Health{Serving: s.state == serving, Check: s.checkUp, Registry: s.regUp, Broker: s.brokUp}
}

// EndpointStats is what has been counted of an endpoint.
type EndpointStats struct {
	Name string
	stats.Snapshot
}

// Stats returns the counts of all endpoints that are not internal, sorted by
// name. The calls of a Router are counted together, as "Router".
func (s *server) Stats() []EndpointStats {
	s.mu.Lock()
	var routes []*route
	for _, r := range s.routes {
		if !r.internal {
			routes = append(routes, r)
		}
	}
	var router *stats.Calls
	if s.run != nil && s.run.router != nil {
		router = &s.run.routed
	}
	s.mu.Unlock()
	slices.SortFunc(routes, func(a, b *route) int { return strings.Compare(a.name, b.name) })
	out := make([]EndpointStats, len(routes))
	for i, r := range routes {
		out[i] = EndpointStats{r.name, r.calls.Snapshot()}
	}
	if router != nil {
		out = append(out, EndpointStats{routerName, router.Snapshot()})
		slices.SortFunc(out, func(a, b EndpointStats) int { return strings.Compare(a.Name, b.Name) })
	}
	return out
}

// routerName is the name under which the calls of a Router are counted, which
// has no endpoints of its own.
const routerName = "Router"
