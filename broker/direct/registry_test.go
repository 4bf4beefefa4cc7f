package direct_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-9a4e2794/micro/broker"
	"github.com/seed-9a4e2794/micro/broker/direct"
	"github.com/seed-9a4e2794/micro/registry"
)

// faulty is a registry that can be away or read-only.
type faulty struct {
	registry.Registry

	mu    sync.Mutex
	err   error // what every call returns
	write error // what Register and Deregister return
	stops []func()
}

func (f *faulty) set(err, write error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err, f.write = err, write
	if err != nil {
		for _, stop := range f.stops {
			stop() // watchers end with the connection
		}
		f.stops = nil
	}
}

func (f *faulty) fault(write bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if write && f.write != nil {
		return f.write
	}
	return f.err
}

func (f *faulty) Register(ctx context.Context, s *registry.Service, opts ...registry.RegisterOption) error {
	if err := f.fault(true); err != nil {
		return err
	}
	return f.Registry.Register(ctx, s, opts...)
}

func (f *faulty) Deregister(ctx context.Context, s *registry.Service) error {
	if err := f.fault(true); err != nil {
		return err
	}
	return f.Registry.Deregister(ctx, s)
}

func (f *faulty) GetService(context.Context, string) ([]*registry.Service, error) {
	return nil, errors.New("the registry was asked on the way of a message")
}

func (f *faulty) Watch(ctx context.Context, opts ...registry.WatchOption) (registry.Watcher, error) {
	if err := f.fault(false); err != nil {
		return nil, err
	}
	w, err := f.Registry.Watch(ctx, opts...)
	if err == nil {
		f.mu.Lock()
		f.stops = append(f.stops, w.Stop)
		f.mu.Unlock()
	}
	return w, err
}

var errAway = errors.Join(errors.New("connection refused"), registry.ErrUnavailable)

func (n *network) faulty() *faulty {
	f := &faulty{Registry: n.reg}
	n.reg = f
	return f
}

// records returns the subscriber records in the registry as
// "address topic version".
func records(t *testing.T, reg registry.Registry) []string {
	t.Helper()
	if f, ok := reg.(*faulty); ok {
		reg = f.Registry
	}
	services, err := reg.GetService(context.Background(), direct.ServiceName)
	if err != nil && !errors.Is(err, registry.ErrNotFound) {
		t.Fatalf("GetService: %v", err)
	}
	var out []string
	for _, s := range services {
		for _, n := range s.Nodes {
			out = append(out, n.Address+" "+n.Metadata["topic"]+" "+s.Version)
		}
	}
	slices.Sort(out)
	return out
}

func count(n *int, mu *sync.Mutex) broker.Handler {
	return func(context.Context, broker.Event) error {
		mu.Lock()
		defer mu.Unlock()
		*n++
		return nil
	}
}

func TestOneRecordATopicAndQueueHoweverManySubscribers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		b, addr := n.connected(t)
		h := func(context.Context, broker.Event) error { return nil }
		var subs []broker.Subscriber
		for range 3 {
			subs = append(subs, subscribe(t, b, "a/b", h), subscribe(t, b, "a/b", h, broker.Queue("q")))
		}
		want := []string{addr + " a/b " + direct.BroadcastVersion, addr + " a/b q"}
		if got := records(t, n.reg); !slices.Equal(got, want) {
			t.Errorf("the registry holds %q, want %q", got, want)
		}
		services, err := n.reg.GetService(t.Context(), direct.ServiceName)
		if err != nil {
			t.Fatal(err)
		}
		node := services[0].Nodes[0]
		if node.Metadata["broker"] != "direct" || node.Metadata["secure"] != "false" || !strings.HasPrefix(node.Id, "a-b-") || len(node.Id) > 63 {
			t.Errorf("the node is %q with metadata %q", node.Id, node.Metadata)
		}
		for i, s := range subs {
			if got := len(records(t, n.reg)); got == 0 {
				t.Errorf("no record although %d subscribers are left", len(subs)-i)
			}
			if err := s.Unsubscribe(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if got := records(t, n.reg); len(got) != 0 {
			t.Errorf("the registry holds %q after all have left", got)
		}
	})
}

func TestRecordsAreRenewedAndTakenOutByDisconnect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		b, addr := n.connected(t)
		subscribe(t, b, "t", func(context.Context, broker.Event) error { return nil })
		for range 20 {
			<-time.After(time.Minute)
			if got := records(t, n.reg); len(got) != 1 || !strings.HasPrefix(got[0], addr) {
				t.Fatalf("the registry holds %q, want the record of %s", got, addr)
			}
		}
		if err := b.Disconnect(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := records(t, n.reg); len(got) != 0 {
			t.Errorf("the registry holds %q after Disconnect", got)
		}
	})
}

func TestPublishersGoOnThroughAnOutageOfTheRegistry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		reg := n.faulty()
		a, _ := n.connected(t)
		b, _ := n.connected(t)
		var mu sync.Mutex
		var got, later int
		subscribe(t, b, "t", count(&got, &mu))
		synctest.Wait()
		reg.set(errAway, nil)
		for range 5 {
			publish(t, a, "t", broker.RequireSubscriber())
			<-time.After(20 * time.Second)
		}
		// A subscription made in the outage is registered when it is over.
		subscribe(t, b, "new", count(&later, &mu))
		reg.set(nil, nil)
		<-time.After(time.Minute)
		publish(t, a, "new", broker.RequireSubscriber())
		publish(t, a, "t", broker.RequireSubscriber())
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		if got != 6 || later != 1 {
			t.Errorf("%d and %d messages arrived, want 6 and 1", got, later)
		}
	})
}

func TestARegistryThatIsAwayAtTheStartIsSaidAndTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		reg := n.faulty()
		reg.set(errAway, nil)
		a, _ := n.connected(t)
		b, _ := n.node(t)
		var mu sync.Mutex
		var got int
		subscribe(t, b, "t", count(&got, &mu))
		if err := b.Connect(t.Context()); !errors.Is(err, broker.ErrUnavailable) || !errors.Is(err, registry.ErrUnavailable) {
			t.Errorf("Connect: %v, want broker.ErrUnavailable from registry.ErrUnavailable", err)
		}
		began := time.Now()
		if err := a.Publish(t.Context(), "t", &broker.Message{}); !errors.Is(err, broker.ErrUnavailable) || time.Since(began) > 5*time.Second {
			t.Errorf("Publish: %v after %v, want broker.ErrUnavailable within 5s", err, time.Since(began))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := a.Publish(ctx, "t", &broker.Message{}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Publish with a second to go: %v, want context.DeadlineExceeded", err)
		}
		reg.set(nil, nil)
		<-time.After(time.Minute)
		publish(t, a, "t", broker.RequireSubscriber())
		synctest.Wait()
		mu.Lock()
		if got != 1 {
			t.Errorf("%d messages arrived after the registry was back, want 1", got)
		}
		mu.Unlock()
		if err := b.Disconnect(t.Context()); err != nil {
			t.Errorf("Disconnect: %v", err)
		}
	})
}

func TestAReadOnlyRegistryIsSaidAtConnectAndServesThisProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		n.faulty().set(nil, registry.ErrReadOnly)
		b, addr := n.node(t)
		var mu sync.Mutex
		var got int
		subscribe(t, b, "t", count(&got, &mu))
		if err := b.Connect(t.Context()); !errors.Is(err, registry.ErrReadOnly) {
			t.Errorf("Connect with a subscription: %v, want registry.ErrReadOnly", err)
		}
		publish(t, b, "t", broker.RequireSubscriber())
		synctest.Wait()
		mu.Lock()
		if got != 1 || n.sent(addr) != 0 {
			t.Errorf("%d messages arrived, %d over the network, want 1 and 0", got, n.sent(addr))
		}
		mu.Unlock()
		if _, err := b.Subscribe(t.Context(), "t2", count(&got, &mu)); !errors.Is(err, registry.ErrReadOnly) {
			t.Errorf("Subscribe while connected: %v, want registry.ErrReadOnly", err)
		}
		if err := b.Publish(t.Context(), "t2", &broker.Message{}, broker.RequireSubscriber()); !errors.Is(err, broker.ErrNoSubscriber) {
			t.Errorf("Publish to a topic whose Subscribe failed: %v, want broker.ErrNoSubscriber", err)
		}
		if err := b.Disconnect(t.Context()); err != nil {
			t.Errorf("Disconnect: %v", err)
		}
		publisher, _ := n.node(t)
		if err := publisher.Connect(t.Context()); err != nil {
			t.Errorf("Connect without subscriptions: %v, want nil", err)
		}
		if err := publisher.Disconnect(t.Context()); err != nil {
			t.Errorf("Disconnect: %v", err)
		}
	})
}

func TestARecordThatCouldNotBeTakenOutIsTakenOutLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		reg := n.faulty()
		b, _ := n.connected(t)
		s := subscribe(t, b, "t", func(context.Context, broker.Event) error { return nil })
		reg.set(nil, errAway)
		if err := s.Unsubscribe(t.Context()); !errors.Is(err, registry.ErrUnavailable) {
			t.Errorf("Unsubscribe: %v, want registry.ErrUnavailable", err)
		}
		if got := records(t, reg); len(got) != 1 {
			t.Fatalf("the registry holds %q, want the record that could not be taken out", got)
		}
		reg.set(nil, nil)
		<-time.After(10 * time.Second) // sooner than the TTL would take it out
		if got := records(t, reg); len(got) != 0 {
			t.Errorf("the registry holds %q, want nothing", got)
		}
	})
}

func TestTopicsAreNotServices(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		a, _ := n.connected(t)
		b, _ := n.connected(t)
		service := func(name, version, id, addr string, md map[string]string) {
			t.Helper()
			if err := n.reg.Register(t.Context(), &registry.Service{Name: name, Version: version,
				Nodes: []*registry.Node{{Id: id, Address: addr, Metadata: md}}}); err != nil {
				t.Fatal(err)
			}
		}
		// A service whose name is the topic, and a subscriber of a go-micro program.
		service("greeter", "1", "greeter-1", "127.0.0.1:1", map[string]string{"broker": "direct", "topic": "greeter"})
		service(direct.ServiceName, direct.BroadcastVersion, "greeter-2", "127.0.0.1:2", map[string]string{"broker": "http", "topic": "greeter", "secure": "false"})
		var mu sync.Mutex
		var got int
		subscribe(t, b, "greeter", count(&got, &mu))
		synctest.Wait()
		publish(t, a, "greeter", broker.RequireSubscriber())
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		if got != 1 || n.sent("127.0.0.1:1") != 0 || n.sent("127.0.0.1:2") != 0 {
			t.Errorf("%d messages arrived; %d went to the service, %d to the go-micro program; want 1, 0, 0",
				got, n.sent("127.0.0.1:1"), n.sent("127.0.0.1:2"))
		}
		found, err := n.reg.GetService(t.Context(), "greeter")
		if err != nil || len(found) != 1 || len(found[0].Nodes) != 1 {
			t.Errorf("service greeter is %v, %v; want its one node", found, err)
		}
	})
}
