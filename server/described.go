package server

import (
	"context"
	"slices"
	"strings"

	"github.com/seed-9a4e2794/micro/transport"
)

// described tells a listener what it serves; see transport.Service.
type described struct {
	s   *server
	run *running
}

var (
	_ transport.Service    = (*described)(nil)
	_ transport.Authorizer = (*described)(nil)
)

// Name returns the name of the service.
func (d *described) Name() string { return d.run.name }

// Endpoint returns an endpoint, internal ones too.
func (d *described) Endpoint(name string) (transport.Endpoint, bool) {
	d.s.mu.Lock()
	defer d.s.mu.Unlock()
	r := d.s.routes[name]
	if r == nil || d.run.router != nil && !r.internal {
		return transport.Endpoint{}, false
	}
	return r.describe(), true
}

// Endpoints returns the endpoints that are not internal.
func (d *described) Endpoints() []transport.Endpoint {
	if d.run.router != nil {
		return nil
	}
	d.s.mu.Lock()
	defer d.s.mu.Unlock()
	var out []transport.Endpoint
	for _, r := range d.s.routes {
		if !r.internal {
			out = append(out, r.describe())
		}
	}
	slices.SortFunc(out, func(a, b transport.Endpoint) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// ContentTypes returns the encodings of the running server.
func (d *described) ContentTypes() []string { return d.run.codecs.Names() }

// Health returns how the server is. A registry or broker that is away does not
// keep it from answering.
func (d *described) Health() (transport.Health, <-chan struct{}) {
	d.s.mu.Lock()
	changed := d.s.changed
	d.s.mu.Unlock()
	h := d.s.Health()
	return transport.Health{Serving: h.Serving, Checks: []transport.Check{
		{Name: "register check", Err: h.Check, Vital: true}, {Name: "registry", Err: h.Registry}, {Name: "broker", Err: h.Broker},
	}}, changed
}

// Authorize asks the server's Authorizer, if it has one.
func (d *described) Authorize(ctx context.Context, endpoint string) error {
	return d.s.authorize(ctx, d.run, endpoint, &d.run.routed)
}

func (e *endpoint) describe() transport.Endpoint {
	out := transport.Endpoint{Name: e.name, Kind: e.kind, Request: e.request, Response: e.response}
	if e.desc != nil {
		out.Safe = e.desc.Metadata[safeKey] == "true"
	}
	return out
}

// healthChanged tells those who watch the health. The lock is held.
func (s *server) healthChanged() {
	close(s.changed)
	s.changed = make(chan struct{})
}
