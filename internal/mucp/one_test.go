package mucp

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/seed-9a4e2794/micro/errors"
	"github.com/seed-9a4e2794/micro/internal/leaktest"
	"github.com/seed-9a4e2794/micro/transport"
)

// overHTTP2 starts a server whose connections cannot be taken over.
func overHTTP2(t *testing.T, cfg Config, u unaries) (*Server, func(h map[string]string, body io.Reader) (*http.Response, string)) {
	t.Helper()
	srv := NewServer(cfg, greetStream, transport.AcceptOptions{Lookup: u.lookup})
	h := httptest.NewUnstartedServer(takeOver(srv))
	h.EnableHTTP2 = true
	h.StartTLS()
	c := h.Client()
	t.Cleanup(func() { c.CloseIdleConnections(); h.Close() })
	return srv, func(head map[string]string, body io.Reader) (*http.Response, string) {
		t.Helper()
		r, err := http.NewRequest("POST", h.URL, body)
		if err != nil {
			t.Fatal(err)
		}
		for k, v := range head {
			r.Header.Set(k, v)
		}
		rsp, err := c.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer rsp.Body.Close()
		if rsp.ProtoMajor != 2 {
			t.Fatalf("the answer came over %s", rsp.Proto)
		}
		b, err := io.ReadAll(rsp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return rsp, string(b)
	}
}

func TestOverHTTP2ACallIsOneRequest(t *testing.T) {
	leaktest.Check(t)
	u := greeter()
	u["Peer.Peer"] = func(ctx context.Context, body transport.Body) (transport.Message, error) {
		p, ok := transport.PeerFromContext(ctx)
		if !ok || ctx.Value(http.ServerContextKey) != nil {
			return transport.Message{}, errors.BadRequest("test", "peer %v, server %v", p, ctx.Value(http.ServerContextKey))
		}
		return value(body.ContentType, p.Protocol), nil
	}
	srv, post := overHTTP2(t, small(), u)
	json := map[string]string{"Content-Type": "application/json", "Micro-Endpoint": "Greeter.Hello", "Micro-Id": "7"}
	with := func(k, v string) map[string]string {
		out := map[string]string{k: v}
		for key, value := range json {
			if key != k {
				out[key] = value
			}
		}
		return out
	}
	for _, tt := range []struct {
		name string
		head map[string]string
		body string
		want string
		code int32
	}{
		{"call", json, `{"name":"John"}`, `{"msg":"Hello John"}` + "\n", 0},
		{"error", json, `{"name":"bad"}`, "", 400},
		{"stream", with("Micro-Stream", "1"), `{}`, "", 501},
		{"large", json, longText(20 << 10), "", 413},
		{"unknown", with("Micro-Endpoint", "Foo.Bar"), `{}`, "", 404},
		{"socket", with("Micro-Endpoint", "Any.Stream"), `{}`, "", 501},
		{"json-rpc", map[string]string{"Content-Type": "application/json-rpc"}, `{"method":"Greeter.Hello","params":[{"name":"A"}],"id":"2"}`,
			`{"id":"2","result":{"msg":"Hello A"},"error":null}` + "\n", 0},
		{"peer", with("Micro-Endpoint", "Peer.Peer"), `{}`, "mucp", 0},
	} {
		rsp, body := post(tt.head, strings.NewReader(tt.body))
		if e := errors.Parse(rsp.Header.Get("Micro-Error")); rsp.StatusCode != 200 || body != tt.want || e.Code != tt.code {
			t.Errorf("%s: %s, %q, %v", tt.name, rsp.Status, body, e)
		}
	}
	if err := srv.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
	rsp, _ := post(json, strings.NewReader(`{}`))
	if rsp.Header.Get(refusedKey) != "true" || errors.Parse(rsp.Header.Get("Micro-Error")).Code != 503 {
		t.Errorf("after Shutdown: %v", rsp.Header)
	}
}

func TestIs(t *testing.T) {
	for _, tt := range []struct {
		header, method, path string
		want                 bool
	}{
		{"Micro-Endpoint: A.B", "GET", "/", false},
		{"Micro-Endpoint: A.B", "GET", "/livez", false},
		{"Micro-Endpoint: A.B", "POST", "/A/B", false},
		{"Micro-Topic: t", "POST", "/Greeter/Hello", false},
		{"Micro-Stream: 1", "POST", "/Greeter/Hello", false},
		{"Micro-Topic: t\nConnect-Protocol-Version: 1\nContent-Type: application/json", "POST", "/", false},
		{"Micro-Topic: t\nContent-Type: application/connect+json", "POST", "/", false},
		{"Micro-Method: A.B", "POST", "/", true},
		{"X-Micro-Service: a", "POST", "/", true},
		{"Micro-Stream: 1", "POST", "/", true},
		{"Micro-Topic: t", "POST", "/", true},
		{"Micro-Id: 0", "POST", "/", true},
		{"Micro-Target: a", "POST", "/", true},
		{"Micro-From-Service: web", "POST", "/Greeter/Hello", false},
		{"X-Micro-From-Service: web", "POST", "/Greeter/Hello", false},
		{"Micro-Trace-Id: 1", "POST", "/Greeter/Hello", false},
		{"Content-Type: application/json-rpc", "POST", "/", true},
		{"Content-Type: application/proto-rpc; a=b", "POST", "/", true},
		{"Content-Type: application/json", "POST", "/", true},
		{"Content-Type: application/octet-stream", "POST", "/", true},
		{"Content-Type: application/json", "POST", "/Greeter/Hello", false},
		{"Content-Type: application/json-rpc", "GET", "/", false},
		{"Content-Type: text/html", "POST", "/", false},
		{"Accept: */*", "GET", "/", false},
		{"Content-Type: application/grpc\nMicro-Service: a", "POST", "/greeter.Greeter/Hello", false},
		{"Content-Type: application/grpc+proto\nMicro-Service: a", "POST", "/", true},
	} {
		h := make(http.Header)
		for l := range strings.SplitSeq(tt.header, "\n") {
			k, v, _ := strings.Cut(l, ": ")
			h.Set(k, v)
		}
		if got := Is(h, tt.method, tt.path); got != tt.want {
			t.Errorf("%s %s with %q: %t", tt.method, tt.path, tt.header, got)
		}
	}
}
