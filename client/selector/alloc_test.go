//go:build !race

package selector

import (
	"testing"
	"time"

	"github.com/seed-9a4e2794/micro/transport"
)

func TestPickAndDoneDoNotAllocate(t *testing.T) {
	b := greeter("b").Nodes[0]
	for _, ejected := range []bool{false, true} {
		w, _ := three(t, nil)
		c := pick(t, w, nil)
		c.Done(time.Millisecond, nil)
		avoid := c.Node
		ctx := t.Context()
		if n := testing.AllocsPerRun(10_000, func() {
			if ejected {
				w.Mark("greeter", b, transport.ErrLost)
			}
			c, err := w.Pick(ctx, "greeter", nil)
			if err != nil {
				t.Fatal(err)
			}
			c.Done(time.Millisecond, nil)
			c, err = w.Pick(ctx, "greeter", avoid)
			if err != nil {
				t.Fatal(err)
			}
			c.Done(time.Millisecond, nil)
		}); n != 0 {
			t.Errorf("with an ejected node %v: %v allocations", ejected, n)
		}
	}
}
