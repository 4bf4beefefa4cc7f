package http_test

import (
	"context"
	stderrors "errors"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/seed-9a4e2794/micro/internal/leaktest"
	"github.com/seed-9a4e2794/micro/transport"
	"github.com/seed-9a4e2794/micro/transport/http"
)

var errSecret = stderrors.New("password of db1.internal is wrong")

func TestProbesTellHowTheServiceIs(t *testing.T) {
	leaktest.Check(t)
	h := newHouse(t, http.Config{})
	h.open()
	well := transport.Check{Name: "register check", Vital: true}
	vital := transport.Check{Name: "register check", Err: errSecret, Vital: true}
	other := transport.Check{Name: "broker", Err: errSecret}
	for _, tt := range []struct {
		name   string
		health transport.Health
		ready  bool
		says   []string // by ?verbose
	}{
		{"well", transport.Health{Serving: true, Checks: []transport.Check{well}}, true, []string{"[+] serving", "[+] register check", "readyz check passed"}},
		{"a part that is not needed is away", transport.Health{Serving: true, Checks: []transport.Check{well, other}}, true, []string{"[!] broker: failed, not needed", "readyz check passed"}},
		{"a vital part is away", transport.Health{Serving: true, Checks: []transport.Check{vital}}, false, []string{"[+] serving", "[-] register check: failed", "readyz check failed"}},
		{"not serving", transport.Health{Checks: []transport.Check{well}}, false, []string{"[-] serving", "[+] register check", "readyz check failed"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h.is(tt.health)
			want := 503
			if tt.ready {
				want = 200
			}
			for _, path := range []string{"/readyz", "/healthz"} {
				got := h.ask("GET", path, "")
				if got.status != want || tt.ready && got.body != "ok\n" || got.header.Get("Cache-Control") != "no-store" || !strings.HasPrefix(got.header.Get("Content-Type"), "text/plain") {
					t.Errorf("%s: %+v", path, got)
				}
				if got := h.ask("HEAD", path, ""); got.status != want || got.body != "" {
					t.Errorf("HEAD %s: %+v", path, got)
				}
				verbose := h.ask("GET", path+"?verbose", "")
				if verbose.status != want {
					t.Errorf("%s?verbose: %+v", path, verbose)
				}
				for _, line := range tt.says {
					if line = strings.Replace(line, "readyz", path[1:], 1); !strings.Contains(verbose.body, line) {
						t.Errorf("%s?verbose does not say %q:\n%s", path, line, verbose.body)
					}
				}
				if strings.Contains(got.body+verbose.body, "password") {
					t.Errorf("%s tells strangers what is wrong:\n%s%s", path, got.body, verbose.body)
				}
			}
			if got := h.ask("GET", "/livez", ""); got.status != 200 || got.body != "ok\n" {
				t.Errorf("/livez: %+v", got)
			}
			if got := h.ask("GET", "/livez?verbose", ""); got.status != 200 || !strings.Contains(got.body, "livez check passed") {
				t.Errorf("/livez?verbose: %+v", got)
			}
		})
	}
}

func TestEndpointsNamedAsProbesAreTheServicesOwn(t *testing.T) {
	leaktest.Check(t)
	h := newHouse(t, http.Config{})
	h.safe("readyz", func(context.Context, transport.Body) (transport.Message, error) { return raw("mine"), nil })
	h.answer("livez", func(context.Context, transport.Body) (transport.Message, error) { return raw("mine"), nil })
	h.open()
	if got := h.ask("GET", "/readyz", ""); got.status != 200 || got.body != "mine" {
		t.Errorf("GET: %+v", got)
	}
	if got := h.json("/livez", "{}"); got.status != 200 || got.body != "mine" {
		t.Errorf("POST: %+v", got)
	}
	if got := h.ask("GET", "/healthz", ""); got.body != "ok\n" {
		t.Errorf("the one that is left: %+v", got)
	}
}

func TestStoppingHandlerIsNotReadyAndTakesNoCalls(t *testing.T) {
	leaktest.Check(t)
	h := newHouse(t, http.Config{})
	h.answer("Greeter.Hello", echo)
	handler := http.NewHandler(h.cfg, h.serve, transport.WithService(h), transport.WithUnary(h.lookup))
	ask := func(method, path string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, path, strings.NewReader("{}"))
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		return w
	}
	if w := ask("GET", "/readyz"); w.Code != 200 {
		t.Errorf("before: %d %s", w.Code, w.Body)
	}
	if w := ask("POST", "/Greeter/Hello"); w.Code != 200 {
		t.Errorf("a call before: %d %s", w.Code, w.Body)
	}
	if err := handler.Shutdown(context.Background()); err != nil {
		t.Fatal(err)
	}
	if w := ask("GET", "/readyz"); w.Code != 503 {
		t.Errorf("/readyz: %d %s", w.Code, w.Body)
	}
	if w := ask("GET", "/readyz?verbose"); w.Code != 503 || !strings.Contains(w.Body.String(), "[-] serving") {
		t.Errorf("/readyz?verbose: %d %s", w.Code, w.Body)
	}
	if w := ask("GET", "/livez"); w.Code != 200 {
		t.Errorf("/livez: %d %s", w.Code, w.Body)
	}
	if w := ask("POST", "/Greeter/Hello"); w.Code != 503 || w.Header().Get("Connection") != "close" {
		t.Errorf("a call: %d %v %s", w.Code, w.Header(), w.Body)
	}
}

func TestProbesAnswerWithoutAService(t *testing.T) {
	leaktest.Check(t)
	h := newHouse(t, http.Config{})
	h.unknown = true
	h.open()
	for _, path := range []string{"/livez", "/readyz", "/healthz"} {
		if got := h.ask("GET", path, ""); got.status != 200 || got.body != "ok\n" {
			t.Errorf("%s: %+v", path, got)
		}
	}
}
