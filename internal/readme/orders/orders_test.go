package orders

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/seed-9a4e2794/micro"
	"github.com/seed-9a4e2794/micro/microtest"
)

func TestTheLinesAboutEventsDeliverThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := microtest.New(t)
		got := make(chan string, 10)
		for range 2 {
			node := net.NewService(micro.Name("shop"))
			subscribe(node, func(_ context.Context, order *Order) error {
				got <- order.Item
				return nil
			})
			net.Start(t, node)
		}
		if err := publish(t.Context(), net.Service(t, micro.Name("publisher"))); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if n := len(got); n != 3 {
			t.Errorf("the event was received %d times, want 3: by each of two nodes, and by one of the queue", n)
		}
		for range len(got) {
			if item := <-got; item != "tea" {
				t.Errorf("received %q, want tea", item)
			}
		}
	})
}
