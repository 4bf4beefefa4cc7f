package http_test

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	nethttp "net/http"
	"strings"
	"testing"
	"time"

	"github.com/seed-9a4e2794/micro/internal/leaktest"
	"github.com/seed-9a4e2794/micro/transport"
	"github.com/seed-9a4e2794/micro/transport/http"
)

// The messages of grpc.health.v1 as they are written: field 1 is the name that
// is asked for, and the status in the answer.
const (
	serving        = "\x08\x01"
	notServing     = "\x08\x02"
	serviceUnknown = "\x08\x03"
)

func named(service string) string {
	if service == "" {
		return ""
	}
	return "\x0a" + string(rune(len(service))) + service
}

func (h *house) grpc(path, message string) got {
	h.t.Helper()
	return h.askBy(h.two, "POST", path, strings.NewReader(frame(0, message)), "Content-Type", "application/grpc", "Te", "trailers")
}

func TestHealthIsCheckedByName(t *testing.T) {
	leaktest.Check(t)
	h := newHouse(t, http.Config{})
	h.typed("Greeter.Hello", plainHello{}, plainHello{})
	h.open()
	names := []string{"", "go.micro.srv.house", "Greeter", "pkg.Greeter", "go.micro.srv.house.Greeter", "grpc.health.v1.Health"}
	for _, tt := range []struct {
		health  transport.Health
		message string
		text    string
	}{
		{transport.Health{Serving: true}, serving, `"SERVING"`},
		{transport.Health{Serving: true, Checks: []transport.Check{{Name: "broker", Err: errSecret}}}, serving, `"SERVING"`},
		{transport.Health{Serving: true, Checks: []transport.Check{{Name: "check", Err: errSecret, Vital: true}}}, notServing, `"NOT_SERVING"`},
		{transport.Health{}, notServing, `"NOT_SERVING"`},
	} {
		h.is(tt.health)
		for _, name := range names {
			got := h.grpc("/grpc.health.v1.Health/Check", named(name))
			if _, m := unframe(t, got.body); got.trailer.Get("Grpc-Status") != "0" || len(m) != 1 || m[0] != tt.message {
				t.Errorf("%q by gRPC while %+v: %+v", name, tt.health, got)
			}
			ask, _ := json.Marshal(map[string]string{"service": name})
			if got := h.json("/grpc.health.v1.Health/Check", string(ask)); got.status != 200 || !strings.Contains(got.body, tt.text) {
				t.Errorf("%q in JSON while %+v: %+v", name, tt.health, got)
			}
		}
	}
	got := h.grpc("/grpc.health.v1.Health/Check", named("Other"))
	if status := got.header.Get("Grpc-Status") + got.trailer.Get("Grpc-Status"); status != "5" {
		t.Errorf("an unknown service by gRPC: %+v", got)
	}
	if got := h.json("/grpc.health.v1.Health/Check", `{"service":"Other"}`); got.status != 404 || got.wrong(t).Code != "not_found" {
		t.Errorf("an unknown service in JSON: %+v", got)
	}
}

func TestHealthOfAllServicesIsListed(t *testing.T) {
	leaktest.Check(t)
	h := newHouse(t, http.Config{})
	h.typed("Greeter.Hello", plainHello{}, plainHello{})
	h.open()
	got := h.json("/grpc.health.v1.Health/List", "{}")
	var list struct {
		Statuses map[string]struct{ Status string }
	}
	if err := json.Unmarshal([]byte(got.body), &list); err != nil {
		t.Fatalf("%+v: %v", got, err)
	}
	for _, name := range []string{"", "go.micro.srv.house", "go.micro.srv.house.Greeter"} {
		if s, ok := list.Statuses[name]; !ok || s.Status != "SERVING" {
			t.Errorf("%q is not listed as serving: %s", name, got.body)
		}
	}
	if len(list.Statuses) != 3 {
		t.Errorf("%d are listed: %s", len(list.Statuses), got.body)
	}
}

func TestHealthRequestThatIsTooLargeIsRefused(t *testing.T) {
	leaktest.Check(t)
	h := newHouse(t, http.Config{}).open()
	ask := `{"service":"` + strings.Repeat("x", 100<<10) + `"}`
	if got := h.json("/grpc.health.v1.Health/Check", ask); got.status != 413 || got.wrong(t).Code != "resource_exhausted" {
		t.Errorf("got %d %.300s", got.status, got.body)
	}
}

// watch begins a watch and returns what comes.
func (h *house) watch(ctx context.Context, name string) (next func() (string, error)) {
	h.t.Helper()
	r, err := nethttp.NewRequestWithContext(ctx, "POST", "http://"+h.addr+"/grpc.health.v1.Health/Watch", strings.NewReader(frame(0, named(name))))
	if err != nil {
		h.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/grpc")
	res, err := h.two.Do(r)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { res.Body.Close() })
	body := bufio.NewReader(res.Body)
	return func() (string, error) {
		head := make([]byte, 5)
		if _, err := io.ReadFull(body, head); err != nil {
			if err == io.EOF {
				return "status " + res.Trailer.Get("Grpc-Status"), err
			}
			return "", err
		}
		m := make([]byte, head[4])
		_, err := io.ReadFull(body, m)
		return string(m), err
	}
}

func TestWatchersOfHealthGetChanges(t *testing.T) {
	leaktest.Check(t)
	h := newHouse(t, http.Config{}).open()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	all, later := h.watch(ctx, ""), h.watch(ctx, "Later")
	expect := func(next func() (string, error), want string) {
		t.Helper()
		if m, err := next(); m != want || err != nil {
			t.Fatalf("got %q, %v; want %q", m, err, want)
		}
	}
	expect(all, serving)
	expect(later, serviceUnknown)
	h.is(transport.Health{})
	expect(all, notServing)
	h.is(transport.Health{})              // nothing has changed, so nothing is sent
	h.typed("Later.Call", nil, nil)       // an endpoint has come
	h.is(transport.Health{Serving: true}) // and all is well
	expect(all, serving)
	expect(later, serving)
}

func TestWatchersDoNotHoldUpShutdown(t *testing.T) {
	leaktest.Check(t)
	h := newHouse(t, http.Config{}).open()
	next := h.watch(context.Background(), "")
	if m, err := next(); m != serving || err != nil {
		t.Fatalf("got %q, %v", m, err)
	}
	begun := time.Now()
	stopped := make(chan error, 1)
	go func() { stopped <- h.ln.Shutdown(context.Background()) }()
	if m, err := next(); m != notServing || err != nil {
		t.Errorf("at the end came %q, %v", m, err)
	}
	if m, err := next(); m != "status 14" || err != io.EOF {
		t.Errorf("it ended with %q, %v", m, err)
	}
	if err := within(t, stopped); err != nil {
		t.Errorf("shutdown: %v", err)
	}
	if took := time.Since(begun); took > 5*time.Second {
		t.Errorf("shutdown took %v", took)
	} else {
		t.Logf("shutdown took %v", took.Round(time.Millisecond))
	}
}

func TestHealthIsGoodWithoutAService(t *testing.T) {
	leaktest.Check(t)
	h := newHouse(t, http.Config{})
	h.unknown = true
	h.open()
	got := h.grpc("/grpc.health.v1.Health/Check", "")
	if _, m := unframe(t, got.body); len(m) != 1 || m[0] != serving {
		t.Errorf("got %+v", got)
	}
}

// closedHouse is a house that tells nobody what it is made of.
type closedHouse struct {
	*house
	asked []string
}

var _ transport.Authorizer = (*closedHouse)(nil)

func (h *closedHouse) Authorize(_ context.Context, endpoint string) error {
	h.asked = append(h.asked, endpoint)
	return errSecret
}

func TestHandlersAreListedOnlyToThoseWhoMayKnowThem(t *testing.T) {
	leaktest.Check(t)
	h := &closedHouse{house: newHouse(t, http.Config{})}
	h.typed("Greeter.Hello", plainHello{}, plainHello{})
	handler := http.NewHandler(h.cfg, h.serve, transport.WithService(h), transport.WithUnary(h.lookup))
	defer handler.Close()
	var list struct {
		Statuses map[string]struct{ Status string }
	}
	text := record(handler, "/grpc.health.v1.Health/List", "{}")
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	if len(list.Statuses) != 2 || list.Statuses[""].Status != "SERVING" || list.Statuses["go.micro.srv.house"].Status != "SERVING" {
		t.Errorf("listed are %s", text)
	}
	if len(h.asked) != 1 || h.asked[0] != "Health.List" {
		t.Errorf("asked was %q", h.asked)
	}
}
