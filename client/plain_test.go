package client_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-9a4e2794/micro/client"
	"github.com/seed-9a4e2794/micro/metadata"
	"github.com/seed-9a4e2794/micro/server"
)

// OtherAsk is Ask as a later version of a service has it: the field that was
// first is second.
type OtherAsk struct {
	Title string `json:"title"`
	Name  string `json:"name"`
}

// encodings notes the content types that an endpoint was called with.
type encodings struct {
	mu   sync.Mutex
	seen []string
}

func (e *encodings) note(ctx context.Context) {
	md, _ := metadata.FromContext(ctx)
	e.mu.Lock()
	defer e.mu.Unlock()
	seen, _, _ := strings.Cut(md["Content-Type"], ";")
	if seen == "" { // one of those that have a number on the wire
		seen = "application/json"
	}
	e.seen = append(e.seen, seen)
}

func (e *encodings) take() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	seen := strings.Join(e.seen, " ")
	e.seen = nil
	return seen
}

func hello[Req any](e *encodings, name func(*Req) string) server.Handler {
	return server.Typed("Greeter.Hello", func(ctx context.Context, r *Req) (*Answer, error) {
		e.note(ctx)
		return &Answer{Text: "Hello " + name(r)}, nil
	})
}

func TestPlainStructsTravelInBinaryBetweenNodesThatLayThemOutAlikeAndElseAsJSON(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		var e encodings
		old := w.serve(t, "old", hello(&e, func(a *Ask) string { return a.Name }))
		c := w.client(t)
		for range 3 {
			if got, err := ask(t.Context(), c, "Greeter.Hello", "Ada"); got != "Hello Ada" || err != nil {
				t.Fatalf("got %q, %v", got, err)
			}
		}
		if got := e.take(); got != "application/micro application/micro application/micro" {
			t.Errorf("among equals the request came as %s", got)
		}
		if got, err := ask(t.Context(), w.client(t, client.ContentType("application/json")), "Greeter.Hello", "Ada"); got != "Hello Ada" || err != nil || e.take() != "application/json" {
			t.Errorf("the encoding that was chosen: got %q, %v", got, err)
		}

		must(t, old.Stop())
		w.serve(t, "new", hello(&e, func(a *OtherAsk) string { return a.Name + a.Title }))
		<-time.After(time.Second)
		w.transport.calls.Store(0)
		for range 3 {
			if got, err := ask(t.Context(), c, "Greeter.Hello", "Ada"); got != "Hello Ada" || err != nil {
				t.Fatalf("across versions: got %q, %v", got, err)
			}
		}
		if got := e.take(); got != "application/json application/json application/json" {
			t.Errorf("across versions the request came as %s", got)
		}
		if n := w.transport.calls.Load(); n != 4 {
			t.Errorf("three calls of a node that refuses an encoding went out %d times, not 4", n)
		}
	})
}

func TestAStringThatProtobufCannotHoldTravelsAsJSON(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		var e encodings
		w.serve(t, "a", hello(&e, func(a *Ask) string { return a.Name }))
		got, err := ask(t.Context(), w.client(t), "Greeter.Hello", "A\xffda")
		if got != "Hello A\ufffdda" || err != nil || e.take() != "application/json" {
			t.Errorf("got %q, %v", got, err)
		}
	})
}

func TestAHandlerOfGeneratedCodeIsCalledWithAPlainStruct(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		var e encodings
		w.serve(t, "a", hello(&e, func(m *map[string]any) string { s, _ := (*m)["name"].(string); return s }))
		got, err := ask(t.Context(), w.client(t), "Greeter.Hello", "Ada")
		if got != "Hello Ada" || err != nil || e.take() != "application/json" {
			t.Errorf("got %q, %v", got, err)
		}
	})
}
