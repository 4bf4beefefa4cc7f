package gateway

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/seed-9a4e2794/micro/broker/direct"
	"github.com/seed-9a4e2794/micro/registry"
)

// Names returns the names of services, each once, without the framework's own
// records.
func Names(services []*registry.Service) []string {
	var names []string
	for _, s := range services {
		if s.Name != direct.ServiceName && !slices.Contains(names, s.Name) {
			names = append(names, s.Name)
		}
	}
	slices.Sort(names)
	return names
}

// Endpoints returns the names of what can be called in any of the versions of
// a service, sorted.
func Endpoints(versions []*registry.Service) []string {
	var names []string
	for _, s := range versions {
		for _, e := range s.Endpoints {
			if e.Metadata["subscriber"] != "true" && !slices.Contains(names, e.Name) {
				names = append(names, e.Name)
			}
		}
	}
	slices.Sort(names)
	return names
}

// Endpoint returns the record of an endpoint, that of the last version which
// has it, or nil.
func Endpoint(versions []*registry.Service, name string) *registry.Endpoint {
	for _, s := range slices.Backward(versions) {
		for _, e := range s.Endpoints {
			if e.Name == name {
				return e
			}
		}
	}
	return nil
}

// IsStream reports whether an endpoint is a stream.
func IsStream(versions []*registry.Service, name string) bool {
	e := Endpoint(versions, name)
	return e != nil && e.Metadata["stream"] == "true"
}

// Example is something to try.
type Example struct {
	Service, Endpoint string
	// Path is the endpoint's path at the gateway.
	Path string
	// Body is a request in JSON, Fields the same as key=value words.
	Body, Fields string
}

// Try returns an example for each service that has an endpoint to call.
func Try(services []*registry.Service) []Example {
	var out []Example
	for _, name := range Names(services) {
		versions := slices.DeleteFunc(slices.Clone(services), func(s *registry.Service) bool { return s.Name != name })
		all := Endpoints(versions)
		for _, ep := range all {
			if !IsStream(versions, ep) {
				out = append(out, example(name, Endpoint(versions, ep), all))
				break
			}
		}
	}
	return out
}

func example(service string, e *registry.Endpoint, all []string) Example {
	x := Example{Service: service, Endpoint: e.Name, Path: "/" + service + "/" + e.Name}
	method := strings.ToLower(e.Name[strings.LastIndexByte(e.Name, '.')+1:])
	same := 0
	for _, other := range all {
		if strings.HasSuffix(strings.ToLower("."+other), "."+method) {
			same++
		}
	}
	if same == 1 {
		x.Path = "/" + service + "/" + method
	}
	body := make([]string, 0, 1)
	fields := make([]string, 0, 1)
	if e.Request != nil {
		for _, f := range e.Request.Values {
			if v, ok := sample(f); ok {
				k, _ := json.Marshal(f.Name)
				j, _ := json.Marshal(v)
				body = append(body, string(k)+":"+string(j))
				fields = append(fields, fmt.Sprintf("%s=%v", f.Name, v))
			}
			if len(fields) == 3 { // enough to see how it goes
				break
			}
		}
	}
	x.Body, x.Fields = "{"+strings.Join(body, ",")+"}", strings.Join(fields, " ")
	return x
}

// sample returns a value for a field of a plain type.
func sample(f *registry.Value) (any, bool) {
	switch t := f.Type; {
	case t == "string" && strings.Contains(strings.ToLower(f.Name), "name"):
		return "Ada", true
	case t == "string":
		return "hello", true
	case t == "bool":
		return true, true
	case strings.HasPrefix(t, "int"), strings.HasPrefix(t, "uint"), strings.HasPrefix(t, "float"):
		return 1, true
	}
	return nil, false
}

// index is the page of what there is.
func (g *Gateway) index(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "this page is read with GET", http.StatusMethodNotAllowed)
		return
	}
	select {
	case <-g.cfg.Catalog.Synced():
	case <-r.Context().Done():
		return
	}
	services, _ := g.cfg.Catalog.Services()
	var b strings.Builder
	b.WriteString("micro gateway\n\nPOST /SERVICE/ENDPOINT with a JSON body calls a service.\n\n")
	names := Names(services)
	if len(names) == 0 {
		b.WriteString("No service is registered.\n")
	}
	for _, name := range names {
		versions := slices.DeleteFunc(slices.Clone(services), func(s *registry.Service) bool { return s.Name != name })
		fmt.Fprintf(&b, "%s\n", name)
		for _, ep := range Endpoints(versions) {
			if IsStream(versions, ep) {
				fmt.Fprintf(&b, "    %s   (stream: micro stream %s %s)\n", ep, name, ep)
				continue
			}
			fmt.Fprintf(&b, "    POST /%s/%s\n", name, ep)
		}
	}
	if try := Try(services); len(try) > 0 {
		b.WriteString("\nTry\n")
		for _, x := range try {
			fmt.Fprintf(&b, "    curl -d '%s' http://%s%s\n", x.Body, r.Host, x.Path)
		}
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write([]byte(b.String())) // fails when the caller has gone
}
