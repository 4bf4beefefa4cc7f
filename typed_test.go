package micro_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-9a4e2794/micro"
	"github.com/seed-9a4e2794/micro/internal/leaktest"
	"github.com/seed-9a4e2794/micro/metadata"
)

func TestTypedFunctionsCallPublishAndSubscribe(t *testing.T) {
	leaktest.Check(t)
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		s := w.run(t, micro.Name("typed"))
		if err := micro.Handle(s, "Greeter.Hello", func(_ context.Context, req *HelloRequest) (*HelloResponse, error) {
			if req.Name == "" {
				return nil, errors.New("no name")
			}
			return &HelloResponse{"Hello " + req.Name}, nil
		}); err != nil {
			t.Fatal(err)
		}
		got := make(chan *event, 10)
		if err := micro.Subscribe(s, "topic", func(_ context.Context, e *event) error { got <- e; return nil }); err != nil {
			t.Fatal(err)
		}
		ctx := context.Background()
		rsp, err := micro.Call[HelloResponse](ctx, s.Client(), "typed", "Greeter.Hello", &HelloRequest{"Ada"})
		if err != nil || rsp.Message != "Hello Ada" {
			t.Errorf("got %v, %v", rsp, err)
		}
		if rsp, err := micro.Call[HelloResponse](ctx, s.Client(), "typed", "Greeter.Hello", &HelloRequest{}); err == nil || rsp != nil || !strings.Contains(err.Error(), "no name") {
			t.Errorf("got %v, %v, want the handler's error", rsp, err)
		}
		// A client of another kind is called through its own method.
		var tr trace
		if rsp, err := micro.Call[HelloResponse](ctx, &noting{s.Client(), &tr, "call"}, "typed", "Greeter.Hello", &HelloRequest{"Ada"}); err != nil || rsp.Message != "Hello Ada" || tr.String() != "call" {
			t.Errorf("got %v, %v after %q", rsp, err, tr.String())
		}
		if err := micro.Publish(ctx, s.Client(), "topic", &event{7}); err != nil {
			t.Fatal(err)
		}
		if err := micro.NewEvent("topic", s.Client()).Publish(ctx, &event{8}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		sum := 0
		for range 2 {
			select {
			case e := <-got:
				sum += e.N
			default:
			}
		}
		if sum != 15 {
			t.Errorf("the events add up to %d", sum)
		}
	})
}

func TestAPublisherWithoutAClientHasOneOfItsOwn(t *testing.T) {
	leaktest.Check(t)
	runtimeDir(t)
	got := make(chan *event, 1)
	s := run(t, micro.Name("subscriber"))
	if err := micro.Subscribe(s, "topic", func(_ context.Context, e *event) error { got <- e; return nil }); err != nil {
		t.Fatal(err)
	}
	// It is a client of the program's whole life, so it is used by a process
	// that ends.
	p := start(t, "publish", nil)
	if said := p.line("published "); said != "<nil>" {
		t.Fatalf("Publish: %s", said)
	}
	select {
	case e := <-got:
		if e.N != 42 {
			t.Errorf("got %+v", e)
		}
	case <-time.After(10 * time.Second):
		t.Error("the event does not arrive")
	}
	if said, code := p.end(); code != 0 {
		t.Errorf("the publisher ended with %d:\n%s", code, said)
	}
}

func TestAContextCarriesAService(t *testing.T) {
	s := micro.NewService(micro.Name("carried"))
	if got, ok := micro.FromContext(micro.NewContext(context.Background(), s)); !ok || got != s {
		t.Errorf("got %v, %t", got, ok)
	}
	if got, ok := micro.FromContext(context.Background()); ok || got != nil {
		t.Errorf("an empty context carries %v", got)
	}
}

func TestNewNamesTheService(t *testing.T) {
	if got := micro.New("first", micro.Version("1")).Name(); got != "first" {
		t.Errorf("got %q", got)
	}
	if got := micro.NewService().Name(); got == "" {
		t.Error("a service without a name has an empty one")
	}
}

func TestTheNameOfTheCallerTravelsWithItsCalls(t *testing.T) {
	leaktest.Check(t)
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		s := w.run(t, micro.Name("callee"))
		if err := micro.Handle(s, "Who.Calls", func(ctx context.Context, _ *HelloRequest) (*HelloResponse, error) {
			return &HelloResponse{from(ctx)}, nil
		}); err != nil {
			t.Fatal(err)
		}
		caller := w.run(t, micro.Args([]string{"--server_name=by-flag"}), micro.Name("by-code"))
		rsp, err := micro.Call[HelloResponse](context.Background(), caller.Client(), "callee", "Who.Calls", &HelloRequest{})
		if err != nil || rsp.Message != "by-flag" {
			t.Errorf("got %v, %v", rsp, err)
		}
	})
}

// from returns the name of the service that makes a call.
func from(ctx context.Context) string {
	md, _ := metadata.FromContext(ctx)
	name, _ := md.Get("Micro-From-Service")
	return name
}

func TestAServiceThatIsNeverRunIsClosedThroughItsClient(t *testing.T) {
	leaktest.Check(t)
	runtimeDir(t)
	srv := run(t, micro.Name("greeter"))
	if err := micro.RegisterHandler(srv.Server(), new(Greeter)); err != nil {
		t.Fatal(err)
	}
	only := micro.NewService(micro.Args(nil), micro.Name("caller"))
	if err := only.Init(); err != nil {
		t.Fatal(err)
	}
	if _, err := micro.Call[HelloResponse](context.Background(), only.Client(), "greeter", "Greeter.Hello", &HelloRequest{Name: "Ada"}); err != nil {
		t.Fatal(err)
	}
	if err := only.Client().(io.Closer).Close(); err != nil {
		t.Fatal(err)
	}
	if err := only.Run(); err == nil {
		t.Error("Run of a service that was closed returned nil")
	}
}
