package micro_test

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/seed-9a4e2794/micro"
	brokermemory "github.com/seed-9a4e2794/micro/broker/memory"
	"github.com/seed-9a4e2794/micro/registry/memory"
	transportmemory "github.com/seed-9a4e2794/micro/transport/memory"
)

// world is a registry, a network and a broker in memory, for services that
// live in a bubble of testing/synctest.
type world struct {
	registry  *memory.Registry
	transport *transportmemory.Transport
	broker    *brokermemory.Broker
}

func newWorld() *world {
	return &world{memory.New(), transportmemory.New(transportmemory.Config{}), brokermemory.New()}
}

// options puts a service into the world. Each service has a broker of its own
// in the world's group, as it disconnects it when it stops.
func (w *world) options(more ...micro.Option) []micro.Option {
	return append([]micro.Option{
		micro.Registry(w.registry), micro.Transport(w.transport), micro.Broker(w.broker.Peer()),
		micro.HandleSignal(false), micro.Args(nil), micro.Logger(slog.New(slog.DiscardHandler)),
	}, more...)
}

// run runs a service in the world until the test ends.
func (w *world) run(t *testing.T, opts ...micro.Option) micro.Service {
	t.Helper()
	return run(t, w.options(opts...)...)
}

// registered returns the names of the services that have nodes.
func (w *world) registered(t *testing.T) []string {
	t.Helper()
	services, err := w.registry.ListServices(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, s := range services {
		names = append(names, s.Name)
	}
	return names
}

// trace notes what happens, in order.
type trace struct {
	mu    sync.Mutex
	steps []string
}

func (tr *trace) note(step string) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.steps = append(tr.steps, step)
}

func (tr *trace) String() string {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return strings.Join(tr.steps, " ")
}

func (tr *trace) clear() {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.steps = nil
}

// hook returns a hook that notes a step and returns err.
func (tr *trace) hook(step string, err error) func() error {
	return func() error {
		tr.note(step)
		return err
	}
}
