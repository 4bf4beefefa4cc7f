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
// name.
func (s *server) Stats() []EndpointStats {
	s.mu.Lock()
	var routes []*route
	for _, r := range s.routes {
		if !r.internal {
			routes = append(routes, r)
		}
	}
	s.mu.Unlock()
	slices.SortFunc(routes, func(a, b *route) int { return strings.Compare(a.name, b.name) })
	out := make([]EndpointStats, len(routes))
	for i, r := range routes {
		out[i] = EndpointStats{r.name, r.calls.Snapshot()}
	}
	return out
}
