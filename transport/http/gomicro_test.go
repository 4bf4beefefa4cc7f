package http_test

import (
	"context"
	"fmt"
	nethttp "net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"connectrpc.com/connect"

	"github.com/seed-9a4e2794/micro/errors"
	"github.com/seed-9a4e2794/micro/internal/leaktest"
	"github.com/seed-9a4e2794/micro/metadata"
	"github.com/seed-9a4e2794/micro/transport"
	"github.com/seed-9a4e2794/micro/transport/http"
)

func TestCallWithTheHeadersOfAnEventIsAnswered(t *testing.T) {
	leaktest.Check(t)
	h := newHouse(t, http.Config{})
	h.answer("Greeter.Hello", func(ctx context.Context, b transport.Body) (transport.Message, error) {
		md, _ := metadata.HeaderFromContext(ctx)
		for _, f := range md {
			if f.Key == "micro-topic" || f.Key == "x-micro-id" || f.Key == "micro-strict" {
				return transport.Message{}, errors.BadRequest("test", "%s is among the metadata", f.Key)
			}
		}
		from, _ := md.Get("micro-from-service")
		return raw(string(b.Data) + from), nil
	})
	h.open()
	for _, extra := range [][]string{nil, {"Connect-Protocol-Version", "1"}, {"Micro-Endpoint", "Other.Thing"}, {"Micro-Stream", "1"}} {
		got := h.json("/Greeter/Hello", "{}", append([]string{"Micro-Topic", "orders", "X-Micro-Id", "7", "Micro-From-Service", "web"}, extra...)...)
		if got.status != 200 || got.body != "{}web" || got.header.Get("Micro-Error") != "" {
			t.Errorf("with %q: %+v", extra, got)
		}
	}
	got := h.json("/", "{}", "Micro-Topic", "orders", "Micro-Endpoint", "Greeter.Hello", "Micro-Id", "1")
	if got.header.Get("Micro-Id") != "1" || got.header.Get("Micro-Method") != "Greeter.Hello" {
		t.Errorf("a call on go-micro's wire: %+v", got)
	}
}

func TestHeadersOfAnEventAreNotSentWithACall(t *testing.T) {
	each(t, func(t *testing.T, s *site) {
		s.unary("Names", func(_ context.Context, r *connect.Request[str]) (*connect.Response[str], error) {
			var out []string
			for _, k := range []string{"Micro-Topic", "Micro-Id", "X-Micro-Endpoint", "Micro-Refused", "Micro-From-Service", "Micro-Strict"} {
				out = append(out, r.Header().Get(k))
			}
			return connect.NewResponse(&str{Value: strings.Join(out, ",")}), nil
		})
		r := ask("Names", "")
		for _, k := range []string{"Micro-Topic", "micro-id", "X-Micro-Endpoint", "micro-refused", "micro-from-service", "micro-strict"} {
			r.Header.Add(k, "x")
		}
		if got, err := call(t, s.dial(), r); err != nil || got != ",,,,x," {
			t.Errorf("got %q, %v", got, err)
		}
	})
}

func TestErrorOfGoMicrosWireIsNoAnswer(t *testing.T) {
	each(t, func(t *testing.T, s *site) {
		s.mux.HandleFunc("/Test/", func(w nethttp.ResponseWriter, r *nethttp.Request) {
			w.Header().Set("Content-Type", r.Header.Get("Content-Type"))
			w.Header().Set("Micro-Error", `{"id":"foreign","code":403,"detail":"not for you","status":"Forbidden"}`)
		})
		c := s.dial()
		_, err := call(t, c, ask("Echo", "x"))
		if e := errors.From("", err); err == nil || e.Code != 403 || e.Id != "foreign" || e.Detail != "not for you" {
			t.Errorf("a call: %v", err)
		}
		sock, err := c.Open(context.Background(), ask("Echo", ""))
		if err == nil {
			_, err = sock.Recv()
			sock.Reset()
		}
		if e := errors.From("", err); err == nil || e.Code != 403 {
			t.Errorf("a stream: %v", err)
		}
	})
}

func TestProbesAreAnsweredWhateverHeadersTheyHave(t *testing.T) {
	leaktest.Check(t)
	h := newHouse(t, http.Config{})
	h.open()
	for _, path := range []string{"/livez", "/readyz", "/healthz"} {
		for _, method := range []string{"GET", "HEAD"} {
			if got := h.ask(method, path, "", "Micro-Service", "x", "Micro-Endpoint", "A.B"); got.status != 200 || method == "GET" && got.body != "ok\n" {
				t.Errorf("%s %s: %+v", method, path, got)
			}
		}
	}
	if got := h.ask("GET", "/", "", "Micro-Endpoint", "A.B"); got.status == 200 || got.header.Get("Micro-Error") != "" {
		t.Errorf("a GET was taken for a call on go-micro's wire: %+v", got)
	}
}

func TestPathsOfCallersAreNotKept(t *testing.T) {
	h := newHouse(t, http.Config{})
	h.answer("Greeter.Hello", echo)
	served := func(s transport.Socket) {
		b, _ := s.Recv()
		m := raw(string(b.Data))
		s.Finish(&m, nil)
	}
	known := http.NewHandler(http.Config{}, served, transport.WithService(h), transport.WithUnary(h.lookup))
	router := http.NewHandler(http.Config{}, served) // takes all names
	for name, handler := range map[string]nethttp.Handler{"known": known, "router": router} {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		for i := range 1000 {
			long := strings.Repeat("a", 60_000)
			for _, path := range []string{fmt.Sprintf("/%s%d.Greeter/Hello", long, i), fmt.Sprintf("/p%d.Greeter/Hello?connect=%s", i, long), fmt.Sprintf("/Greeter%d.Greeter/Hello", i)} {
				if got := record(handler, path, "{}"); got != "{}" {
					t.Fatalf("%s: %.80s: %q", name, path, got)
				}
			}
			if name == "router" {
				if got := record(handler, fmt.Sprintf("/G%d%s/Hello", i, long), "{}"); got != "{}" {
					t.Fatalf("%s: %q", name, got)
				}
				record(handler, fmt.Sprintf("/G%d/Hello", i), "{}")
			}
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		kept := int64(after.HeapAlloc) - int64(before.HeapAlloc)
		t.Logf("%s: %d KiB are kept", name, kept>>10)
		if kept > 4<<20 {
			t.Errorf("%s: %d KiB are kept", name, kept>>10)
		}
	}
	runtime.KeepAlive(known)
	runtime.KeepAlive(router)
}

// billing serves under one name, and refuses strict calls of others.
func billing(t *testing.T) (*house, *atomic.Int32, func(transport.Method) (transport.Unary, error)) {
	h := newHouse(t, http.Config{})
	n := new(atomic.Int32)
	h.answer("Test.Echo", func(context.Context, transport.Body) (transport.Message, error) { return send("x"), nil })
	refuse := func(m transport.Method) error {
		if m.Strict && m.Service != "billing" {
			return errors.Refuse("billing", errors.CodeUnavailable, "this is billing, not %s", m.Service)
		}
		return nil
	}
	h.stream("Test.Stream", func(s transport.Socket) error {
		if err := refuse(s.Method()); err != nil {
			return err
		}
		m := send("x")
		if s.Unary() {
			return s.Finish(&m, nil)
		}
		return s.Send(m)
	})
	h.stream("Test.Socket", h.streams["Test.Stream"])
	h.endpoints["Test.Socket"] = transport.Endpoint{Name: "Test.Socket"} // a unary call without a function
	return h, n, func(m transport.Method) (transport.Unary, error) {
		n.Add(1)
		if err := refuse(m); err != nil {
			return nil, err
		}
		return h.lookup(m)
	}
}

func TestStrictCallOfAnotherServiceIsRefused(t *testing.T) {
	for _, p := range []http.Protocol{http.GRPC, http.GRPCWeb, http.Connect, http.MUCP, http.MUCPLegacy} {
		for _, looks := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/%t", p, looks), func(t *testing.T) {
				leaktest.Check(t)
				h, n, lookup := billing(t)
				h.open(lookupOption(looks, lookup)...)
				c, err := http.New(http.Config{Protocol: p}).Dial(context.Background(), h.addr)
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				do := func(service, endpoint string, strict bool) error {
					r := ask(endpoint, "x")
					r.Method.Service, r.Method.Strict = service, strict
					_, err := call(t, c, r)
					return err
				}
				names := []string{"Echo", "Socket"}
				if !looks {
					names = names[1:]
				}
				for range 3 { // whatever is remembered of those before
					for _, endpoint := range names {
						if err := do("orders", endpoint, false); err != nil {
							t.Errorf("%s, not strict: %v", endpoint, err)
						}
						if err := do("billing", endpoint, true); err != nil {
							t.Errorf("%s of the service: %v", endpoint, err)
						}
						if err := do("orders", endpoint, true); err == nil || !errors.From("", err).Refused {
							t.Errorf("%s of another service: %v", endpoint, err)
						}
					}
					if err := do("orders", "Unknown", true); looks && (err == nil || !errors.From("", err).Refused) {
						t.Errorf("an unknown endpoint of another service: %v", err)
					}
				}
				before := n.Load()
				for range 5 {
					if err := do("billing", names[0], true); err != nil {
						t.Error(err)
					}
				}
				if looked := n.Load() - before; looked != 0 {
					t.Errorf("%d lookups of what is known", looked)
				}
				r := ask("Stream", "")
				r.Method.Service, r.Method.Strict = "orders", true
				sock, err := c.Open(context.Background(), r)
				if err == nil {
					_, err = sock.Recv()
					sock.Reset()
				}
				if err == nil || !errors.From("", err).Refused {
					t.Errorf("a stream of another service: %v", err)
				}
			})
		}
	}
}

func lookupOption(looks bool, f func(transport.Method) (transport.Unary, error)) []transport.AcceptOption {
	if !looks {
		return []transport.AcceptOption{transport.WithUnary(nil)}
	}
	return []transport.AcceptOption{transport.WithUnary(f)}
}

func TestStrictCallsOfManyNamesAreAllDecided(t *testing.T) {
	leaktest.Check(t)
	h, _, lookup := billing(t)
	h.open(transport.WithUnary(lookup))
	for i := range 40 {
		if got := h.json("/Test/Echo", "{}", "Micro-Strict", fmt.Sprintf("orders-%d", i)); got.status != 503 {
			t.Errorf("got %+v", got)
		}
		if got := h.ask("POST", "/Test/Echo", "", "Content-Type", "application/proto", "Micro-Strict", "billing"); got.status != 200 {
			t.Errorf("got %+v", got)
		}
	}
	w := httptest.NewRecorder()
	r := httptest.NewRequest("POST", "/grpc.health.v1.Health/Check", strings.NewReader("{}"))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Micro-Strict", "orders")
	http.NewHandler(http.Config{}, nil, transport.WithService(h), transport.WithUnary(lookup)).ServeHTTP(w, r)
	if w.Code != 503 {
		t.Errorf("the health of another service: %d %s", w.Code, w.Body)
	}
}
