package memory

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-9a4e2794/micro/internal/leaktest"
	"github.com/seed-9a4e2794/micro/registry"
	"github.com/seed-9a4e2794/micro/registry/registrytest"
)

func TestConformance(t *testing.T) {
	registrytest.Run(t, func(*testing.T) registry.Registry { return New() },
		registrytest.HonoursTTL(30*time.Second), registrytest.Bubble())
}

// The same in real time, as a backend outside the program would run it.
func TestConformanceInRealTime(t *testing.T) {
	registrytest.Run(t, func(*testing.T) registry.Registry { return New() },
		registrytest.HonoursTTL(150*time.Millisecond))
}

func node(name, id string) *registry.Service {
	return &registry.Service{Name: name, Version: "1", Nodes: []*registry.Node{{Id: id, Address: "127.0.0.1:1"}}}
}

func TestEachNodeExpiresAtItsOwnTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New()
		// The longest first, so that the timer must be moved forward each time.
		for i := 5; i > 0; i-- {
			err := r.Register(t.Context(), node("greeter", fmt.Sprint(i)), registry.RegisterTTL(time.Duration(i)*time.Second))
			if err != nil {
				t.Fatal(err)
			}
		}
		for left := 4; left >= 0; left-- {
			<-time.After(time.Second)
			synctest.Wait()
			got, err := r.GetService(t.Context(), "greeter")
			if left == 0 {
				if err == nil {
					t.Fatalf("after the last TTL there is still %v", got)
				}
				break
			}
			if err != nil || len(got[0].Nodes) != left {
				t.Fatalf("want %d nodes, got %v, error %v", left, got, err)
			}
		}
	})
}

func TestNoTimerIsArmedWithoutNodesThatExpire(t *testing.T) {
	leaktest.Check(t)
	ctx := context.Background()
	r := New()
	if err := r.Register(ctx, node("greeter", "a")); err != nil {
		t.Fatal(err)
	}
	if r.timer != nil {
		t.Error("a timer was made for a node without TTL")
	}
	if err := r.Register(ctx, node("greeter", "b"), registry.RegisterTTL(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if err := r.Deregister(ctx, node("greeter", "b")); err != nil {
		t.Fatal(err)
	}
	if !r.due.IsZero() || r.timer.Stop() {
		t.Error("the timer is still armed after the only node with a TTL was deregistered")
	}
}

func TestNegativeTTLIsRefused(t *testing.T) {
	if err := New().Register(context.Background(), node("greeter", "a"), registry.RegisterTTL(-1)); err == nil {
		t.Error("Register with a TTL of -1 returned no error")
	}
}

func BenchmarkGetService(b *testing.B) {
	r := New()
	ctx := context.Background()
	for i := range 100 {
		if err := r.Register(ctx, node("greeter", fmt.Sprint(i))); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.GetService(ctx, "greeter"); err != nil {
			b.Fatal(err)
		}
	}
}
