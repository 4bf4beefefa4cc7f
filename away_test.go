package micro_test

import (
	"context"
	"errors"
	"fmt"
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
	"github.com/seed-9a4e2794/micro/registry"
)

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
