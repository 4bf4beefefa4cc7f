package client_test

import (
	"bytes"
	"context"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-9a4e2794/micro/client"
	"github.com/seed-9a4e2794/micro/codec"
	"github.com/seed-9a4e2794/micro/codec/json"
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

func TestAnAnswerThatProtobufCannotHoldTravelsAsJSON(t *testing.T) {
	type entries struct {
		List []*Answer `json:"list"`
	}
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		var e encodings
		w.serve(t, "a", hello(&e, func(*Ask) string { return "A\xffda" }),
			server.Typed("Greeter.List", func(ctx context.Context, _ *Ask) (*entries, error) {
				e.note(ctx)
				return &entries{List: []*Answer{{Text: "a"}, nil}}, nil
			}))
		c := w.client(t)
		for range 2 {
			got, err := ask(t.Context(), c, "Greeter.Hello", "Ada")
			if got != "Hello A\ufffdda" || err != nil || e.take() != "application/micro" {
				t.Errorf("got %q, %v", got, err)
			}
			var rsp entries
			err = c.Call(t.Context(), c.NewRequest("greeter", "Greeter.List", &Ask{}), &rsp)
			if err != nil || e.take() != "application/micro" || len(rsp.List) != 2 || rsp.List[0].Text != "a" || rsp.List[1] != nil {
				t.Errorf("a list with a nil: got %v, %v", rsp.List, err)
			}
		}
	})
}

func TestPlainStructsTravelInBinaryAlsoWhereTheCallerChoseTheNativeWire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		var e encodings
		w.serve(t, "a", hello(&e, func(a *Ask) string { return a.Name }))
		got, err := ask(t.Context(), w.client(t), "Greeter.Hello", "Ada", client.WithProtocol("micro"))
		if seen := e.take(); got != "Hello Ada" || err != nil || seen != "application/micro" {
			t.Errorf("got %q, %v by %s", got, err, seen)
		}
	})
}

// loud is a JSON of the program's own, which writes in capitals.
type loud struct{ json.Codec }

func (loud) Append(dst []byte, v any) ([]byte, error) {
	b, err := json.Codec{}.Append(nil, v)
	return append(dst, bytes.ReplaceAll(b, []byte("Hello"), []byte("HELLO"))...), err
}

func TestAServersOwnJSONIsUsedForCallersOfOurs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		var e encodings
		w.with(t, "a", []server.Option{server.Codec("application/json", func() codec.Codec { return loud{} })}, hello(&e, func(a *Ask) string { return a.Name }))
		got, err := ask(t.Context(), w.client(t), "Greeter.Hello", "Ada")
		if seen := e.take(); got != "HELLO Ada" || err != nil || seen != "application/json" {
			t.Errorf("got %q, %v by %s", got, err, seen)
		}
	})
}
