package direct_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-9a4e2794/micro/broker"
	"github.com/seed-9a4e2794/micro/broker/direct"

	microerrors "github.com/seed-9a4e2794/micro/errors"
)

// What a subscription holds: 64 handlers and 1024 that wait.
const capacity = 64 + 1024

// fill fills a subscription of topic "t" whose handlers wait for release.
func fill(t *testing.T, b *direct.Broker, queues []string) {
	t.Helper()
	for i := range capacity {
		if err := b.Deliver(t.Context(), &direct.Delivery{Topic: "t", Queues: queues, Broadcast: queues == nil, Message: &broker.Message{}}); err != nil {
			t.Fatalf("delivery %d of %d: %v", i, capacity, err)
		}
	}
}

func TestAFullQueueRefusesTheWholeDeliveryAndThePublisherTurnsElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		a, _ := n.connected(t)
		b, _ := n.connected(t)
		release := make(chan struct{})
		var mu sync.Mutex
		var other, all int
		subscribe(t, b, "t", func(context.Context, broker.Event) error { <-release; return nil }, broker.Queue("full"))
		subscribe(t, b, "t", count(&other, &mu), broker.Queue("other"))
		subscribe(t, b, "t", count(&all, &mu))
		fill(t, b, []string{"full"})

		began := time.Now()
		err := b.Deliver(t.Context(), &direct.Delivery{Topic: "t", Queues: []string{"other", "full"}, Broadcast: true, Message: &broker.Message{}})
		if !errors.Is(err, microerrors.ErrRefused) || time.Since(began) != time.Second {
			t.Errorf("Deliver to a full queue: %v after %v, want errors.ErrRefused after 1s", err, time.Since(began))
		}
		synctest.Wait()
		mu.Lock()
		if other != 0 || all != 0 {
			t.Errorf("the delivery was refused, but other subscribers got %d and %d of it", other, all)
		}
		mu.Unlock()

		// The publisher sends what does not concern the full queue again.
		synctest.Wait()
		publish(t, a, "t", broker.RequireSubscriber())
		synctest.Wait()
		mu.Lock()
		if other != 1 || all != 1 {
			t.Errorf("the other queue got %d and the subscriber without one %d messages, want 1 and 1", other, all)
		}
		mu.Unlock()
		if s := a.Stats(); s.Unreached != 1 {
			t.Errorf("%d copies unreached, want that of the full queue", s.Unreached)
		}

		// With another member elsewhere nothing is lost.
		c, _ := n.connected(t)
		var elsewhere int
		subscribe(t, c, "t", count(&elsewhere, &mu), broker.Queue("full"))
		synctest.Wait()
		for range 5 {
			publish(t, a, "t", broker.RequireSubscriber())
		}
		synctest.Wait()
		mu.Lock()
		if elsewhere != 5 {
			t.Errorf("the member with room got %d messages, want 5", elsewhere)
		}
		mu.Unlock()
		close(release)
	})
}

func TestAFullSubscriberWithoutAQueueMissesTheMessageAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		b, _ := n.connected(t)
		release := make(chan struct{})
		subscribe(t, b, "t", func(context.Context, broker.Event) error { <-release; return nil })
		fill(t, b, nil)
		var mu sync.Mutex
		var got int
		subscribe(t, b, "t", count(&got, &mu))
		if err := b.Deliver(t.Context(), &direct.Delivery{Topic: "t", Broadcast: true, Message: &broker.Message{}}); err != nil {
			t.Errorf("Deliver: %v, want nil: one of two took it", err)
		}
		synctest.Wait()
		mu.Lock()
		if got != 1 {
			t.Errorf("the subscriber with room got %d messages, want 1", got)
		}
		mu.Unlock()
		if s := b.Stats(); s.Dropped != 1 || s.Accepted != capacity+1 {
			t.Errorf("the counts are %+v, want 1 dropped, %d accepted", s, capacity+1)
		}
		close(release)
	})
}

func TestLargeBodiesFillASubscriptionBeforeItsMessagesDo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		b, _ := n.connected(t)
		release := make(chan struct{})
		subscribe(t, b, "t", func(context.Context, broker.Event) error { <-release; return nil }, broker.Queue("q"))
		body := make([]byte, 16<<20)
		accepted := 0
		for range 6 {
			if b.Deliver(t.Context(), &direct.Delivery{Topic: "t", Queues: []string{"q"}, Message: &broker.Message{Body: body}}) == nil {
				accepted++
			}
		}
		if accepted != 4 {
			t.Errorf("%d bodies of 16 MiB were accepted, want 4", accepted)
		}
		// One handler at a time ends, and with it goes the room of its body.
		for range 4 {
			release <- struct{}{}
			synctest.Wait()
			if err := b.Deliver(t.Context(), &direct.Delivery{Topic: "t", Queues: []string{"q"}, Message: &broker.Message{Body: body}}); err != nil {
				t.Errorf("a body of 16 MiB after another was handled: %v, want nil", err)
			}
		}
		close(release)
		synctest.Wait()
		if err := b.Deliver(t.Context(), &direct.Delivery{Topic: "t", Queues: []string{"q"}, Message: &broker.Message{Body: make([]byte, 100<<20)}}); err != nil {
			t.Errorf("a body larger than the bound, alone: %v, want nil", err)
		}
	})
}

func TestDisconnectWorksOffWhatWasAccepted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		b, _ := n.connected(t)
		var handled, published atomic.Int64
		subscribe(t, b, "done", func(context.Context, broker.Event) error { published.Add(1); return nil })
		subscribe(t, b, "t", func(ctx context.Context, _ broker.Event) error {
			<-time.After(time.Second)
			handled.Add(1)
			if err := b.Publish(ctx, "other", &broker.Message{}); err != nil {
				t.Errorf("Publish by a handler while Disconnect waits: %v", err)
			}
			return nil
		})
		fill(t, b, nil)
		if err := b.Disconnect(t.Context()); err != nil {
			t.Errorf("Disconnect: %v", err)
		}
		if k := handled.Load(); k != capacity {
			t.Errorf("%d of %d accepted messages were handled before Disconnect returned", k, capacity)
		}
		err := b.Deliver(t.Context(), &direct.Delivery{Topic: "t", Broadcast: true, Message: &broker.Message{}})
		if !errors.Is(err, microerrors.ErrRefused) {
			t.Errorf("Deliver after Disconnect: %v, want errors.ErrRefused", err)
		}
	})
}
