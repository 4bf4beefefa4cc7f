package client_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-9a4e2794/micro/client"
	"github.com/seed-9a4e2794/micro/registry"
)

// listing counts how often services are listed.
type listing struct {
	registry.Registry
	lists atomic.Int64
}

func (c *listing) ListServices(ctx context.Context) ([]*registry.Service, error) {
	c.lists.Add(1)
	return c.Registry.ListServices(ctx)
}

func TestAServiceThatIsNotThereIsSaidWithThoseThatAre(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.serve(t, "a")
		r := &listing{Registry: w.registry}
		c := w.client(t, client.Registry(r))
		for range 20 {
			err := c.Call(t.Context(), c.NewRequest("greter", "Greeter.Hello", &Ask{}), new(Answer))
			if err == nil || !strings.Contains(err.Error(), `no node of \"greter\" is registered (available: greeter)`) {
				t.Fatalf("got %v", err)
			}
		}
		if n := r.lists.Load(); n != 1 {
			t.Errorf("the registry was asked %d times for what there is, want once a second", n)
		}
		<-time.After(2 * time.Second)
		_ = c.Call(t.Context(), c.NewRequest("greter", "Greeter.Hello", &Ask{}), new(Answer))
		if n := r.lists.Load(); n != 2 {
			t.Errorf("after two seconds it was asked %d times, want 2", n)
		}
	})
}
