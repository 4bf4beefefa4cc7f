// Package gateway turns HTTP requests with JSON into calls of services:
//
//	POST /greeter/Greeter.Hello
//	POST /greeter/hello
//
// The endpoint is named in full, or in any case by its method when that is
// unique. Bodies pass through as they are.
package gateway

import (
	"context"
	"encoding/json"
	stderrors "errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"

	"github.com/seed-9a4e2794/micro/client"
	"github.com/seed-9a4e2794/micro/cmd/micro/internal/catalog"
	"github.com/seed-9a4e2794/micro/cmd/micro/internal/lookup"
	"github.com/seed-9a4e2794/micro/codec"
	"github.com/seed-9a4e2794/micro/errors"
	"github.com/seed-9a4e2794/micro/metadata"
	"github.com/seed-9a4e2794/micro/registry"
	"github.com/seed-9a4e2794/micro/transport"
)

// id is the Id of errors that the gateway makes.
const id = "micro.gateway"

// MaxBody is the largest request body, in bytes.
const MaxBody = 4 << 20

// Config is what a Gateway works with. Client and Catalog are needed.
type Config struct {
	Client  client.Client
	Catalog *catalog.Catalog
	// Progress returns why a service that is not registered does not serve for
	// the moment, such as "is being built", or "". Nil knows of none.
	Progress func(service string) string
}

// Gateway is an http.Handler for this machine: it answers requests whose Host
// is a loopback one, and no page of another origin.
type Gateway struct {
	cfg     Config
	handler http.Handler

	mu     sync.Mutex
	counts map[string]*Counts
}

// Counts is what has passed to one service.
type Counts struct {
	// Requests is how many were answered, Dropped how many of them reached no
	// node or lost it.
	Requests, Dropped uint64
}

// New returns a gateway.
func New(cfg Config) *Gateway {
	g := &Gateway{cfg: cfg, counts: make(map[string]*Counts)}
	// A page that a browser has loaded from elsewhere must not call services:
	// neither by a request of its own nor by a name that it lets point here.
	protection := http.NewCrossOriginProtection()
	protection.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fail(w, errors.NewCode(id, errors.CodePermissionDenied, "the request comes from a page of another origin, %q", r.Header.Get("Origin")))
	}))
	g.handler = protection.Handler(http.HandlerFunc(g.route))
	return g
}

// Counts returns what has passed to a service since the gateway began.
func (g *Gateway) Counts(service string) Counts {
	g.mu.Lock()
	defer g.mu.Unlock()
	if c := g.counts[service]; c != nil {
		return *c
	}
	return Counts{}
}

func (g *Gateway) count(service string, dropped bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	c := g.counts[service]
	if c == nil {
		c = new(Counts)
		g.counts[service] = c
	}
	c.Requests++
	if dropped {
		c.Dropped++
	}
}

// ServeHTTP implements http.Handler.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !loopback(r.Host) {
		fail(w, errors.NewCode(id, errors.CodePermissionDenied, "the host %q is not this machine: use http://127.0.0.1 or http://localhost", r.Host))
		return
	}
	g.handler.ServeHTTP(w, r)
}

// loopback reports whether a Host header names this machine.
func loopback(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	if strings.EqualFold(host, "localhost") || strings.HasSuffix(strings.ToLower(host), ".localhost") {
		return true
	}
	ip, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && ip.IsLoopback()
}

func (g *Gateway) route(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/" {
		g.index(w, r)
		return
	}
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		fail(w, errors.New(id, "calls are made with POST and a JSON body, this is "+r.Method, http.StatusMethodNotAllowed))
		return
	}
	service, endpoint, err := g.find(r)
	if err != nil {
		fail(w, err)
		return
	}
	body, err := read(w, r)
	if err != nil {
		fail(w, err)
		return
	}
	rsp, err := g.call(r, service, endpoint, body)
	if err != nil {
		fail(w, err)
		return
	}
	w.Header().Set("Content-Type", codec.JSON)
	_, _ = w.Write(append(rsp, '\n')) // fails when the caller has gone
}

// find returns the service and endpoint that a path names.
func (g *Gateway) find(r *http.Request) (service, endpoint string, err error) {
	select {
	case <-g.cfg.Catalog.Synced():
	case <-r.Context().Done():
		return "", "", r.Context().Err()
	}
	segments := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	service, name := segments[0], strings.Join(segments[1:], ".")
	versions := g.cfg.Catalog.Service(service)
	if len(versions) == 0 {
		if err := g.notYet(service); err != nil {
			return "", "", err
		}
		all, _ := g.cfg.Catalog.Services()
		return "", "", unknown("no service is called "+quote(service), service, Names(all))
	}
	endpoints := Endpoints(versions)
	if name == "" {
		return "", "", errors.NewCode(id, errors.CodeNotFound, "the path names no endpoint of %s; available: %s", service, lookup.List(endpoints))
	}
	if len(endpoints) == 0 { // its record does not say: the node decides
		return service, name, nil
	}
	endpoint, several := lookup.Endpoint(endpoints, name)
	switch {
	case len(several) > 0:
		return "", "", errors.NewCode(id, errors.CodeNotFound, "%s has several endpoints called %s: %s", service, quote(name), lookup.List(several))
	case endpoint == "":
		return "", "", unknown(service+" has no endpoint "+quote(name), name, endpoints)
	}
	if IsStream(versions, endpoint) {
		return "", "", errors.NewCode(id, errors.CodeUnimplemented, "%s is a stream, which this gateway does not carry: use micro stream %s %s", endpoint, service, endpoint)
	}
	return service, endpoint, nil
}

// notYet returns the error of a service that will serve again, nil when that
// is not known.
func (g *Gateway) notYet(service string) error {
	if g.cfg.Progress == nil {
		return nil
	}
	if why := g.cfg.Progress(service); why != "" {
		return errors.NewCode(id, errors.CodeUnavailable, "%s %s", service, why)
	}
	return nil
}

func quote(name string) string {
	b, _ := json.Marshal(name)
	return string(b)
}

// unknown makes the error of a name that nobody has.
func unknown(what, name string, have []string) error {
	if near := lookup.Nearest(name, have); near != "" {
		what += "; did you mean " + near + "?"
	}
	return errors.NewCode(id, errors.CodeNotFound, "%s (available: %s)", what, lookup.List(have))
}

// read returns the body of a request. None is an empty object.
func read(w http.ResponseWriter, r *http.Request) (json.RawMessage, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxBody))
	if _, large := stderrors.AsType[*http.MaxBytesError](err); large {
		return nil, errors.New(id, "the body has more than 4 MiB", http.StatusRequestEntityTooLarge)
	}
	if err != nil {
		return nil, errors.BadRequest(id, "the body could not be read: %v", err)
	}
	if len(strings.TrimSpace(string(body))) == 0 {
		return json.RawMessage("{}"), nil
	}
	if !json.Valid(body) {
		var v any
		return nil, errors.BadRequest(id, "the body is not JSON: %v", json.Unmarshal(body, &v))
	}
	return body, nil
}

func (g *Gateway) call(r *http.Request, service, endpoint string, body json.RawMessage) (json.RawMessage, error) {
	ctx := metadata.NewContext(r.Context(), carried(r.Header))
	c := g.cfg.Client
	var rsp json.RawMessage
	err := c.Call(ctx, c.NewRequest(service, endpoint, body, client.WithContentType(codec.JSON)), &rsp)
	g.count(service, dropped(ctx, err))
	if stderrors.Is(err, registry.ErrNotFound) { // its last node has left after find
		if later := g.notYet(service); later != nil {
			err = later
		}
	}
	if len(rsp) == 0 {
		rsp = json.RawMessage("{}")
	}
	return rsp, err
}

// carried returns the headers that travel on as metadata.
func carried(h http.Header) metadata.Metadata {
	md := make(metadata.Metadata)
	for k, v := range h {
		switch {
		case k == "Micro-From-Service": // says who calls, and that is the gateway
		case k == "Authorization", k == "Traceparent", k == "Tracestate", strings.HasPrefix(k, "Micro-"), strings.HasPrefix(k, "X-"):
			md[k] = v[0]
		}
	}
	return md
}

// dropped reports whether a call did not come to its answer, though its caller
// was waiting.
func dropped(ctx context.Context, err error) bool {
	if err == nil || ctx.Err() != nil {
		return false
	}
	for _, target := range []error{errors.ErrRefused, transport.ErrLost, transport.ErrUnreachable, registry.ErrNotFound} {
		if stderrors.Is(err, target) {
			return true
		}
	}
	return false
}

// fail answers with an error.
func fail(w http.ResponseWriter, err error) {
	e := errors.From(id, err)
	status := int(e.Code)
	if status < 400 || status > 599 {
		status = http.StatusInternalServerError
	}
	w.Header().Set("Content-Type", codec.JSON)
	w.WriteHeader(status)
	_, _ = io.WriteString(w, e.Error()+"\n") // fails when the caller has gone
}
