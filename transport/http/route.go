package http

import (
	nethttp "net/http"
	"strings"
	"sync"

	"github.com/seed-9a4e2794/micro/errors"
	"github.com/seed-9a4e2794/micro/internal/mucp"
	"github.com/seed-9a4e2794/micro/transport"
)

// route is what serves the calls of an endpoint.
type route struct {
	method transport.Method // as it is called when the caller is not strict
	// unary and stream answer the two kinds of requests; nil where the
	// endpoint does not take that kind.
	unary  nethttp.Handler
	stream nethttp.Handler
	safe   bool
	// untagged is set when callers of protobuf should be told of.
	untagged *untagged
}

const (
	// maxRoutes is how many endpoints are remembered that are known to be some.
	maxRoutes = 4096
	// maxStrays is how many names are remembered that a Router may serve, or
	// nobody.
	maxStrays = 64
	// maxPaths is how many paths are remembered. An endpoint has as many as its
	// callers have names for the package that it is in.
	maxPaths = 1024
	// maxStrict is how many names of services are remembered.
	maxStrict = 16
	// maxKey is the longest name or path that is remembered, in bytes.
	maxKey = 256
)

// bounded is a map whose keys callers chose. When it is full, any entry makes
// room; long keys are not kept.
type bounded[V any] struct {
	max int

	mu sync.RWMutex
	m  map[string]V
}

func (b *bounded[V]) get(key string) (V, bool) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	v, ok := b.m[key]
	return v, ok
}

func (b *bounded[V]) put(key string, v V) {
	if len(key) > maxKey {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.m == nil {
		b.m = make(map[string]V)
	}
	if _, has := b.m[key]; !has && len(b.m) >= b.max {
		for old := range b.m {
			delete(b.m, old)
			break
		}
	}
	b.m[strings.Clone(key)] = v // key may be part of a long URL
}

// meant returns the error of a strict call that is for another service. Who has
// been let in once is not asked about again. Sockets carry what was asked, and
// are refused by who serves them.
func (h *Handler) meant(r *nethttp.Request) error {
	service := r.Header.Get(mucp.StrictKey)
	if service == "" || h.opts.Lookup == nil {
		return nil
	}
	if _, ok := h.strict.get(service); ok {
		return nil
	}
	name, _, _ := h.endpoint(r.URL.Path)
	_, err := h.opts.Lookup(transport.Method{Service: service, Endpoint: name, Strict: true})
	if err != nil && errors.From(handlerId, err).Refused {
		return err
	}
	h.strict.put(service, struct{}{})
	return nil
}

// asked returns the method of one call of the route.
func (rt *route) asked(header nethttp.Header) transport.Method {
	m := rt.method
	if service := header.Get(mucp.StrictKey); service != "" {
		m.Service, m.Strict = service, true
	}
	return m
}

// route finds what serves a path.
func (h *Handler) route(path string) (*route, error) {
	if rt, ok := h.paths.get(path); ok {
		return rt, nil
	}
	name, ep, known := h.endpoint(path)
	if name == "" {
		return nil, errors.NewCode(handlerId, errors.CodeNotFound, "the path %q names no endpoint: it is /Handler/Method, such as /Greeter/Hello", path)
	}
	rt, ok := h.routes.get(name)
	if !ok {
		if rt, ok = h.strays.get(name); ok {
			return rt, nil
		}
		var err error
		if rt, err = h.newRoute(strings.Clone(name), ep, known); err != nil {
			return nil, err
		}
		if !known && rt.stream != nil {
			h.strays.put(name, rt)
			return rt, nil
		}
		h.routes.put(name, rt)
	}
	h.paths.put(path, rt)
	return rt, nil
}

// newRoute returns what serves an endpoint.
func (h *Handler) newRoute(name string, ep transport.Endpoint, known bool) (*route, error) {
	rt := &route{method: transport.Method{Endpoint: name}, safe: ep.Safe}
	if known {
		h.mu.Lock()
		rt.untagged = h.untaggedOf(name, ep)
		h.mu.Unlock()
	}
	var unary transport.Unary
	if h.opts.Lookup != nil {
		var err error
		if unary, err = h.opts.Lookup(rt.method); err != nil {
			return nil, err
		}
	}
	path := methodPath(rt.method)
	switch {
	case unary != nil:
		rt.unary = h.unary(path, rt, unary)
	case known && ep.Kind != transport.KindUnary:
		rt.stream = h.stream(path, rt)
	case known:
		rt.unary = h.unary(path, rt, h.socketUnary(rt))
	default: // it may be either
		rt.unary = h.unary(path, rt, h.socketUnary(rt))
		rt.stream = h.stream(path, rt)
	}
	return rt, nil
}

// endpoint returns the endpoint that a path names. Of the part before the
// method the last word counts, as in go-micro: callers have the package of
// their generated code there, or the name of the service.
func (h *Handler) endpoint(path string) (string, transport.Endpoint, bool) {
	service, method, ok := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	if !ok { // an endpoint without a handler's name
		service, method = "", service
	}
	if method == "" || strings.Contains(method, "/") {
		return "", transport.Endpoint{}, false
	}
	s := h.opts.Service
	last := service[strings.LastIndexByte(service, '.')+1:]
	names := []string{service + "." + method, last + "." + method, method}
	if last == "" {
		names = names[2:]
	}
	if s != nil {
		for _, n := range names {
			if ep, ok := s.Endpoint(n); ok {
				return n, ep, true
			}
		}
	}
	if last == "" {
		return method, transport.Endpoint{}, false
	}
	return last + "." + method, transport.Endpoint{}, false
}
