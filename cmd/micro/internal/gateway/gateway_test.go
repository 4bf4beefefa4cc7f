package gateway_test

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/seed-9a4e2794/micro"
	"github.com/seed-9a4e2794/micro/cmd/micro/internal/catalog"
	"github.com/seed-9a4e2794/micro/cmd/micro/internal/gateway"
	"github.com/seed-9a4e2794/micro/errors"
	"github.com/seed-9a4e2794/micro/internal/leaktest"
	"github.com/seed-9a4e2794/micro/metadata"
	"github.com/seed-9a4e2794/micro/registry/memory"
	"github.com/seed-9a4e2794/micro/server"
	transportmemory "github.com/seed-9a4e2794/micro/transport/memory"
)

type Request struct {
	Name string `json:"name"`
}

type Response struct {
	Message string `json:"message"`
	Tenant  string `json:"tenant"`
}

type Greeter struct{}

func (*Greeter) Hello(ctx context.Context, req *Request, rsp *Response) error {
	if req.Name == "nobody" {
		return errors.NotFound("greeter", "no such person")
	}
	rsp.Message = "Hello " + req.Name
	rsp.Tenant, _ = metadata.Get(ctx, "X-Tenant")
	return nil
}

func (*Greeter) Watch(context.Context, server.Stream) error { return nil }

// start runs a service and returns a gateway before it.
func start(t *testing.T) *gateway.Gateway {
	t.Helper()
	reg, log := memory.New(), slog.New(slog.DiscardHandler)
	ctx, cancel := context.WithCancel(context.Background())
	started := make(chan struct{})
	s := micro.NewService(micro.Name("greeter"), micro.Args(nil), micro.HandleSignal(false), micro.Context(ctx), micro.Registry(reg),
		micro.Transport(transportmemory.New(transportmemory.Config{})), micro.Logger(log),
		micro.AfterStart(func() error { close(started); return nil }))
	if err := s.Init(); err != nil {
		t.Fatal(err)
	}
	if err := micro.RegisterHandler(s.Server(), new(Greeter)); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Run() }()
	known := catalog.New(reg, log)
	t.Cleanup(func() {
		known.Close()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	select {
	case <-started:
	case err := <-done:
		t.Fatal(err)
	}
	for deadline := time.After(10 * time.Second); len(known.Service("greeter")) == 0; {
		_, changed := known.Services()
		select {
		case <-changed:
		case <-deadline:
			t.Fatal("the catalog does not hear of the service")
		}
	}
	return gateway.New(gateway.Config{Client: s.Client(), Catalog: known, Progress: func(service string) string {
		if service == "orders" {
			return "is being built"
		}
		return ""
	}})
}

func TestRequestsBecomeCallsAndErrorsSayWhatThereIs(t *testing.T) {
	leaktest.Check(t)
	g := start(t)
	for _, tt := range []struct {
		name, method, path, body string
		header                   map[string]string
		status                   int
		want                     string // in the body, or in the detail of the error
	}{
		{name: "exact", path: "/greeter/Greeter.Hello", body: `{"name":"Ada"}`, status: 200, want: `"message":"Hello Ada"`},
		{name: "method", path: "/greeter/hello", body: ` {"name":"Ada"}`, status: 200, want: `"message":"Hello Ada"`},
		{name: "segments", path: "/greeter/greeter/hello/", body: `{"name":"Ada"}`, status: 200, want: `"message":"Hello Ada"`},
		{name: "no body", path: "/greeter/hello", status: 200, want: `"message":"Hello "`},
		{name: "metadata", path: "/greeter/hello", header: map[string]string{"X-Tenant": "blue"}, status: 200, want: `"tenant":"blue"`},
		{name: "handler's error", path: "/greeter/hello", body: `{"name":"nobody"}`, status: 404, want: "no such person"},
		{name: "service", path: "/greter/hello", status: 404, want: `no service is called "greter"; did you mean greeter? (available: greeter)`},
		{name: "being built", path: "/orders/create", status: 503, want: "orders is being built"},
		{name: "endpoint", path: "/greeter/helo", status: 404, want: `greeter has no endpoint "helo"; did you mean Greeter.Hello? (available: Greeter.Hello, Greeter.Watch)`},
		{name: "no endpoint", path: "/greeter", status: 404, want: "available: Greeter.Hello, Greeter.Watch"},
		{name: "stream", path: "/greeter/watch", status: 501, want: "micro stream greeter Greeter.Watch"},
		{name: "get", method: "GET", path: "/greeter/hello", status: 405, want: "calls are made with POST"},
		{name: "no JSON", path: "/greeter/hello", body: `{"name"`, status: 400, want: "the body is not JSON: unexpected end"},
		{name: "wrong type", path: "/greeter/hello", body: `{"name":1}`, status: 400, want: "the request is not what the endpoint takes"},
		{name: "too large", path: "/greeter/hello", body: `"` + strings.Repeat("x", gateway.MaxBody) + `"`, status: 413, want: "more than 4 MiB"},
		{name: "other origin", path: "/greeter/hello", header: map[string]string{"Origin": "http://evil.example"}, status: 403, want: "page of another origin"},
		{name: "other host", path: "/greeter/hello", header: map[string]string{"Host": "evil.example"}, status: 403, want: "is not this machine"},
		{name: "index", method: "GET", path: "/", status: 200, want: "curl -d '{\"name\":\"Ada\"}' http://127.0.0.1:8080/greeter/hello"},
		{name: "index by POST", path: "/", status: 405},
	} {
		method := tt.method
		if method == "" {
			method = http.MethodPost
		}
		r := httptest.NewRequest(method, "http://127.0.0.1:8080"+tt.path, strings.NewReader(tt.body))
		for k, v := range tt.header {
			r.Header.Set(k, v)
			if k == "Host" {
				r.Host = v
			}
		}
		w := httptest.NewRecorder()
		g.ServeHTTP(w, r)
		body, _ := io.ReadAll(w.Result().Body)
		got := string(body)
		if tt.status >= 400 && tt.name != "index by POST" {
			var e errors.Error
			if err := json.Unmarshal(body, &e); err != nil || int(e.Code) != tt.status || e.Status != http.StatusText(tt.status) || e.Id == "" {
				t.Errorf("%s: the error is %s (%v)", tt.name, body, err)
			}
			got = e.Detail
		}
		if w.Code != tt.status || !strings.Contains(got, tt.want) {
			t.Errorf("%s: status %d, %.300s, want %d with %s", tt.name, w.Code, got, tt.status, tt.want)
		}
	}
	if c := g.Counts("greeter"); c.Requests == 0 || c.Dropped != 0 {
		t.Errorf("counted %+v", c)
	}
	if c := g.Counts("other"); c != (gateway.Counts{}) {
		t.Errorf("counted %+v of a service that was not called", c)
	}
}
