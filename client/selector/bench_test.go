package selector

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/seed-9a4e2794/micro/registry/memory"
	"github.com/seed-9a4e2794/micro/transport"
)

func benchSelector(b *testing.B, nodes int, strategy Strategy) *Watching {
	r := memory.New()
	for i := range nodes {
		register(b, r, greeter(fmt.Sprint(i)))
	}
	w := quiet(b, r, strategy)
	pick(b, w, nil).Done(time.Millisecond, nil)
	b.ReportAllocs()
	return w
}

func BenchmarkPick(b *testing.B) {
	for _, nodes := range []int{1, 3, 100} {
		b.Run(fmt.Sprintf("nodes=%d", nodes), func(b *testing.B) {
			w := benchSelector(b, nodes, nil)
			ctx := context.Background()
			for b.Loop() {
				c, err := w.Pick(ctx, "greeter", nil)
				if err != nil {
					b.Fatal(err)
				}
				c.state.inflight.Add(-1)
			}
		})
		b.Run(fmt.Sprintf("nodes=%d/done", nodes), func(b *testing.B) {
			w := benchSelector(b, nodes, nil)
			ctx := context.Background()
			for b.Loop() {
				c, err := w.Pick(ctx, "greeter", nil)
				if err != nil {
					b.Fatal(err)
				}
				c.Done(time.Millisecond, nil)
			}
		})
	}
}

func BenchmarkPickWithAnEjectedNode(b *testing.B) {
	w := benchSelector(b, 3, nil)
	ctx := context.Background()
	c := pick(b, w, nil)
	c.Done(0, transport.ErrLost)
	c.state.until.Store(1 << 62) // for as long as the benchmark runs
	for b.Loop() {
		c, err := w.Pick(ctx, "greeter", nil)
		if err != nil {
			b.Fatal(err)
		}
		c.Done(time.Millisecond, nil)
	}
}

func BenchmarkPickParallel(b *testing.B) {
	for _, nodes := range []int{3, 100} {
		b.Run(fmt.Sprintf("nodes=%d/done", nodes), func(b *testing.B) {
			w := benchSelector(b, nodes, nil)
			b.RunParallel(func(p *testing.PB) {
				ctx := context.Background()
				for p.Next() {
					c, err := w.Pick(ctx, "greeter", nil)
					if err != nil {
						b.Error(err)
						return
					}
					c.Done(time.Millisecond, nil)
				}
			})
		})
	}
}

func BenchmarkPickRoundRobin(b *testing.B) {
	w := benchSelector(b, 3, NewRoundRobin())
	ctx := context.Background()
	for b.Loop() {
		c, err := w.Pick(ctx, "greeter", nil)
		if err != nil {
			b.Fatal(err)
		}
		c.Done(time.Millisecond, nil)
	}
}
