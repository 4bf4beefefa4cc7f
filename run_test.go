package micro_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-9a4e2794/micro"
	"github.com/seed-9a4e2794/micro/broker"
	"github.com/seed-9a4e2794/micro/client"
	"github.com/seed-9a4e2794/micro/debug"
	"github.com/seed-9a4e2794/micro/internal/leaktest"
	"github.com/seed-9a4e2794/micro/metadata"
	"github.com/seed-9a4e2794/micro/registry"
	"github.com/seed-9a4e2794/micro/transport"
)

func TestHooksRunInOrderAroundStartAndStop(t *testing.T) {
	leaktest.Check(t)
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		var tr trace
		lis := &tracing{Transport: w.transport, trace: &tr}
		ctx, cancel := context.WithCancel(context.Background())
		stopFault, afterFault := errors.New("before stop failed"), errors.New("after stop failed")
		s := micro.NewService(w.options(micro.Name("hooked"), micro.Transport(lis), micro.Context(ctx),
			micro.BeforeStart(tr.hook("before-start-1", nil)), micro.BeforeStart(tr.hook("before-start-2", nil)),
			micro.AfterStart(tr.hook("after-start-1", nil)),
			micro.AfterStart(func() error {
				tr.note("after-start-2:" + strings.Join(w.registered(t), ","))
				cancel()
				return nil
			}),
			micro.BeforeStop(func() error { tr.note("before-stop-1:" + strings.Join(w.registered(t), ",")); return stopFault }),
			micro.BeforeStop(tr.hook("before-stop-2", nil)),
			micro.AfterStop(tr.hook("after-stop-1", afterFault)),
			micro.AfterStop(func() error { tr.note("after-stop-2:" + strings.Join(w.registered(t), ",")); return nil }))...)
		if err := s.Init(); err != nil {
			t.Fatal(err)
		}
		err := s.Run()
		if !errors.Is(err, stopFault) || !errors.Is(err, afterFault) {
			t.Errorf("Run returned %v, want both hooks' errors", err)
		}
		want := "before-start-1 before-start-2 listen after-start-1 after-start-2:hooked " +
			"before-stop-1:hooked before-stop-2 shutdown after-stop-1 after-stop-2:"
		if got := tr.String(); got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
	})
}

// tracing is a transport that notes listening and the end of it.
type tracing struct {
	transport.Transport
	trace *trace
}

func (t *tracing) Listen(ctx context.Context, addr string) (transport.Listener, error) {
	t.trace.note("listen")
	l, err := t.Transport.Listen(ctx, addr)
	return &tracingListener{l, t.trace}, err
}

type tracingListener struct {
	transport.Listener
	trace *trace
}

func (l *tracingListener) Shutdown(ctx context.Context) error {
	l.trace.note("shutdown")
	return l.Listener.Shutdown(ctx)
}

// anHour returns a context that ends a Run which does not end by itself, in
// the time of a bubble.
func anHour(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	t.Cleanup(cancel)
	return ctx
}

func TestAnErrorBeforeStartEndsRunBeforeTheServerListens(t *testing.T) {
	leaktest.Check(t)
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		var tr trace
		fault := errors.New("no database")
		s := micro.NewService(w.options(micro.Context(anHour(t)), micro.Transport(&tracing{w.transport, &tr}),
			micro.BeforeStart(tr.hook("before-start-1", nil)), micro.BeforeStart(tr.hook("before-start-2", fault)),
			micro.BeforeStart(tr.hook("before-start-3", nil)), micro.AfterStart(tr.hook("after-start", nil)), micro.AfterStop(tr.hook("after-stop", nil)))...)
		if err := s.Run(); !errors.Is(err, fault) {
			t.Errorf("Run returned %v", err)
		}
		if got := tr.String(); got != "before-start-1 before-start-2" {
			t.Errorf("got %q", got)
		}
		if got := w.registered(t); len(got) != 0 {
			t.Errorf("registered: %v", got)
		}
	})
}

func TestAnErrorAfterStartStopsTheServer(t *testing.T) {
	leaktest.Check(t)
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		var tr trace
		fault := errors.New("no cache")
		s := micro.NewService(w.options(micro.Name("after"), micro.Context(anHour(t)), micro.Transport(&tracing{w.transport, &tr}),
			micro.AfterStart(func() error { tr.note(strings.Join(w.registered(t), ",")); return fault }),
			micro.AfterStart(tr.hook("after-start-2", nil)))...)
		if err := s.Run(); !errors.Is(err, fault) {
			t.Errorf("Run returned %v", err)
		}
		if got := tr.String(); got != "listen after shutdown" {
			t.Errorf("got %q", got)
		}
		if got := w.registered(t); len(got) != 0 {
			t.Errorf("registered: %v", got)
		}
	})
}

func TestAnAddressInUseIsTheErrorOfRun(t *testing.T) {
	leaktest.Check(t)
	runtimeDir(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s := micro.NewService(micro.Args(nil), micro.Address(l.Addr().String()), micro.HandleSignal(false))
	if err := s.Run(); err == nil || !strings.Contains(err.Error(), l.Addr().String()) {
		t.Errorf("Run returned %v", err)
	}
}

func TestTheEndOfTheContextEndsRunWithCallsFinished(t *testing.T) {
	leaktest.Check(t)
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		ctx, cancel := context.WithCancel(context.Background())
		started, entered := make(chan struct{}), make(chan struct{})
		s := micro.NewService(w.options(micro.Name("slow"), micro.Context(ctx), micro.AfterStart(func() error { close(started); return nil }))...)
		if err := micro.Handle(s, "Slow.Wait", func(context.Context, *HelloRequest) (*HelloResponse, error) {
			close(entered)
			<-time.After(time.Second)
			return &HelloResponse{"done"}, nil
		}); err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- s.Run() }()
		<-started
		caller := w.run(t, micro.Name("caller"))
		called := make(chan error, 1)
		go func() {
			rsp, err := micro.Call[HelloResponse](context.Background(), caller.Client(), "slow", "Slow.Wait", &HelloRequest{})
			if err == nil && rsp.Message != "done" {
				err = fmt.Errorf("got %q", rsp.Message)
			}
			called <- err
		}()
		<-entered
		began := time.Now()
		cancel()
		if err := <-called; err != nil {
			t.Errorf("the call under way: %v", err)
		}
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("Run took %v to end after a call of 1s", took)
		}
		if err := s.Run(); err == nil || !strings.Contains(err.Error(), "make a new one") {
			t.Errorf("the second Run: %v", err)
		}
	})
}

// away is a registry and a broker that cannot be reached until they are back.
type away struct {
	registry.Registry
	broker.Broker
	back atomic.Bool
}

type awayRegistry struct{ *away }

func (a awayRegistry) fault() error {
	if a.back.Load() {
		return nil
	}
	return fmt.Errorf("far: %w: connection refused", registry.ErrUnavailable)
}

func (a awayRegistry) Register(ctx context.Context, s *registry.Service, opts ...registry.RegisterOption) error {
	if err := a.fault(); err != nil {
		return err
	}
	return a.Registry.Register(ctx, s, opts...)
}

func (a awayRegistry) Deregister(ctx context.Context, s *registry.Service) error {
	if err := a.fault(); err != nil {
		return err
	}
	return a.Registry.Deregister(ctx, s)
}

func (a awayRegistry) GetService(ctx context.Context, name string) ([]*registry.Service, error) {
	if err := a.fault(); err != nil {
		return nil, err
	}
	return a.Registry.GetService(ctx, name)
}

func (a awayRegistry) ListServices(ctx context.Context) ([]*registry.Service, error) {
	if err := a.fault(); err != nil {
		return nil, err
	}
	return a.Registry.ListServices(ctx)
}

func (a awayRegistry) Watch(ctx context.Context, opts ...registry.WatchOption) (registry.Watcher, error) {
	if err := a.fault(); err != nil {
		return nil, err
	}
	return a.Registry.Watch(ctx, opts...)
}

type awayBroker struct{ *away }

func (a awayBroker) Connect(ctx context.Context) error {
	if err := a.Broker.Connect(ctx); err != nil || a.back.Load() {
		return err
	}
	return fmt.Errorf("far: %w: connection refused", broker.ErrUnavailable)
}

func (a awayBroker) Disconnect(ctx context.Context) error { return a.Broker.Disconnect(ctx) }

func (a awayBroker) Publish(ctx context.Context, topic string, m *broker.Message, opts ...broker.PublishOption) error {
	return a.Broker.Publish(ctx, topic, m, opts...)
}

func (a awayBroker) Subscribe(ctx context.Context, topic string, h broker.Handler, opts ...broker.SubscribeOption) (broker.Subscriber, error) {
	return a.Broker.Subscribe(ctx, topic, h, opts...)
}

func health(t *testing.T, c client.Client, at micro.Service) *debug.HealthResponse {
	t.Helper()
	rsp, err := micro.Call[debug.HealthResponse](context.Background(), c, at.Name(), "Debug.Health", &debug.HealthRequest{},
		client.WithAddress(at.Server().Options().Address))
	if err != nil {
		t.Fatal(err)
	}
	return rsp
}

func TestAServiceStartsAndServesWhileItsRegistryIsAway(t *testing.T) {
	leaktest.Check(t)
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		far := awayRegistry{&away{Registry: w.registry}}
		s := w.run(t, micro.Name("patient"), micro.Registry(far))
		if err := micro.RegisterHandler(s.Server(), new(Greeter)); err != nil {
			t.Fatal(err)
		}
		caller := w.run(t, micro.Name("caller"))
		if _, err := micro.Call[HelloResponse](context.Background(), caller.Client(), "patient", "Greeter.Hello", &HelloRequest{"Ada"},
			client.WithAddress(s.Server().Options().Address)); err != nil {
			t.Errorf("it does not serve: %v", err)
		}
		if h := health(t, caller.Client(), s); h.Status != "degraded" || !strings.Contains(h.Problems["registry"], "connection refused") {
			t.Errorf("health is %+v", h)
		}
		_, err := micro.Call[HelloResponse](context.Background(), s.Client(), "other", "Greeter.Hello", &HelloRequest{"Ada"}, client.WithRequestTimeout(2*time.Second))
		if !errors.Is(err, registry.ErrUnavailable) {
			t.Errorf("a call through the registry: %v, want ErrUnavailable", err)
		}
		far.back.Store(true)
		<-time.After(time.Minute)
		if got := w.registered(t); !slices.Contains(got, "patient") {
			t.Errorf("a minute after the registry is back only %v are registered", got)
		}
		if h := health(t, caller.Client(), s); h.Status != "ok" || len(h.Problems) != 0 {
			t.Errorf("health is %+v", h)
		}
	})
}

func TestAServiceStartsAndServesWhileItsBrokerIsAway(t *testing.T) {
	leaktest.Check(t)
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		s := w.run(t, micro.Name("patient"), micro.Broker(awayBroker{&away{Broker: w.broker.Peer()}}))
		caller := w.run(t, micro.Name("caller"))
		if h := health(t, caller.Client(), s); h.Status != "degraded" || !strings.Contains(h.Problems["broker"], "connection refused") {
			t.Errorf("health is %+v", h)
		}
		if got := w.registered(t); !slices.Contains(got, "patient") {
			t.Errorf("only %v are registered", got)
		}
	})
}

func TestEveryServiceAnswersDebugAndDoesNotRegisterIt(t *testing.T) {
	leaktest.Check(t)
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		began := time.Now()
		s := w.run(t, micro.Name("seen"))
		if err := micro.RegisterHandler(s.Server(), new(Greeter)); err != nil {
			t.Fatal(err)
		}
		caller := w.run(t, micro.Name("caller"))
		for _, name := range []string{"Ada", "", "Grace", "", "Edsger"} {
			_, err := micro.Call[HelloResponse](context.Background(), caller.Client(), "seen", "Greeter.Hello", &HelloRequest{name})
			if (err != nil) != (name == "") {
				t.Fatal(err)
			}
		}
		<-time.After(90 * time.Second)
		rsp, err := micro.Call[debug.StatsResponse](context.Background(), caller.Client(), "seen", "Debug.Stats", &debug.StatsRequest{})
		if err != nil {
			t.Fatal(err)
		}
		if len(rsp.Endpoints) != 1 {
			t.Fatalf("endpoints: %+v", rsp.Endpoints)
		}
		e := rsp.Endpoints[0]
		if e.Name != "Greeter.Hello" || e.Requests != 5 || e.Errors != 2 || e.InFlight != 0 || rsp.Requests != 5 || rsp.Errors != 2 {
			t.Errorf("counted %+v", rsp)
		}
		if rsp.Uptime != 90 || rsp.Started != uint64(began.Unix()) || rsp.Memory == 0 || rsp.Threads == 0 {
			t.Errorf("got %+v", rsp)
		}
		if h := health(t, caller.Client(), s); h.Status != "ok" || h.Problems != nil {
			t.Errorf("health is %+v", h)
		}
		found, err := w.registry.GetService(context.Background(), "seen")
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, e := range found[0].Endpoints {
			names = append(names, e.Name)
		}
		if !slices.Equal(names, []string{"Greeter.Hello"}) {
			t.Errorf("registered endpoints: %v", names)
		}
	})
}

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

func TestFunctionServesOneRequestAndIsDone(t *testing.T) {
	leaktest.Check(t)
	for _, tt := range []struct {
		name string
		use  func(ctx context.Context, c client.Client) error
		want string
	}{
		{"request", func(ctx context.Context, c client.Client) error {
			_, err := micro.Call[HelloResponse](ctx, c, "function", "Greeter.Hello", &HelloRequest{"Ada"})
			return err
		}, "handler"},
		{"event", func(ctx context.Context, c client.Client) error {
			return micro.Publish(ctx, c, "topic", &event{1})
		}, "sub event"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				var tr trace
				started := make(chan struct{})
				// A context given late must not undo the function's own end.
				f := micro.NewFunction(w.options(micro.Name("function"), micro.WrapHandler(wrapHandler(&tr, "handler")), micro.WrapSubscriber(wrapSubscriber(&tr, "sub")))...)
				if err := f.Init(micro.Context(context.Background()), micro.AfterStart(func() error { close(started); return nil })); err != nil {
					t.Fatal(err)
				}
				if err := f.Handle(new(Greeter)); err != nil {
					t.Fatal(err)
				}
				if err := f.Subscribe("topic", func(context.Context, *event) error { tr.note("event"); return nil }); err != nil {
					t.Fatal(err)
				}
				done := make(chan error, 1)
				go func() { done <- f.Run() }()
				<-started
				caller := w.run(t, micro.Name("caller"))
				if h := health(t, caller.Client(), f); h.Status != "ok" {
					t.Errorf("health is %+v", h)
				}
				tr.clear()
				<-time.After(time.Minute)
				select {
				case err := <-done:
					t.Fatalf("Run returned %v before the first request", err)
				default:
				}
				if err := tt.use(context.Background(), caller.Client()); err != nil {
					t.Fatal(err)
				}
				select {
				case err := <-done:
					if err != nil {
						t.Errorf("Run returned %v", err)
					}
				case <-time.After(time.Minute):
					t.Fatal("Run does not return")
				}
				if got := tr.String(); got != tt.want {
					t.Errorf("got %q, want %q", got, tt.want)
				}
				if err := f.Done(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

func TestDoneEndsAFunctionThatHasServedNothing(t *testing.T) {
	leaktest.Check(t)
	synctest.Test(t, func(t *testing.T) {
		var f micro.Function
		f = micro.NewFunction(newWorld().options(micro.Context(anHour(t)), micro.AfterStart(func() error { return f.Done() }))...)
		began := time.Now()
		if err := f.Run(); err != nil || time.Since(began) > time.Minute {
			t.Errorf("Run returned %v after %v", err, time.Since(began))
		}
	})
}
