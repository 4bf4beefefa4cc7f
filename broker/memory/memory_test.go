package memory_test

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-9a4e2794/micro/broker"
	"github.com/seed-9a4e2794/micro/broker/brokertest"
	"github.com/seed-9a4e2794/micro/broker/memory"
	"github.com/seed-9a4e2794/micro/internal/leaktest"
)

var promise = brokertest.Promise{CountsSubscribers: true}

// open makes every broker of a group but the first a peer of it.
func open(t *testing.T) brokertest.Harness {
	first := memory.New()
	return brokertest.Harness{New: func(*testing.T) broker.Broker { return first.Peer() }}
}

func TestMemoryKeepsTheContract(t *testing.T) {
	leaktest.Check(t)
	brokertest.Run(t, open, promise)
}

func TestMemoryKeepsTheContractInBubbles(t *testing.T) {
	brokertest.RunInBubbles(t, open, promise)
}

// connected returns a connected broker that is disconnected at the end.
func connected(t *testing.T) *memory.Broker {
	t.Helper()
	b := memory.New()
	if err := b.Connect(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Disconnect(context.Background()); err != nil {
			t.Errorf("Disconnect: %v", err)
		}
	})
	return b
}

// 64 handlers and 1024 that wait: what a subscription holds.
const capacity = 64 + 1024

func TestPublishWaitsWhileASubscriptionIsFullAndGoesOnWhenItIsNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := connected(t)
		release := make(chan struct{})
		var handled atomic.Int64
		_, err := b.Subscribe(t.Context(), "t", func(context.Context, broker.Event) error {
			<-release
			handled.Add(1)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		for i := range capacity {
			if err := b.Publish(t.Context(), "t", &broker.Message{}); err != nil {
				t.Fatalf("message %d: %v", i, err)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := b.Publish(ctx, "t", &broker.Message{}); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("Publish to a full subscription until the context ended: %v, want context.DeadlineExceeded", err)
		}
		published := make(chan error, 1)
		go func() { published <- b.Publish(t.Context(), "t", &broker.Message{}) }()
		synctest.Wait()
		select {
		case err := <-published:
			t.Fatalf("Publish to a full subscription returned %v at once, want it to wait", err)
		default:
		}
		close(release)
		if err := <-published; err != nil {
			t.Errorf("Publish after there was room: %v", err)
		}
		synctest.Wait()
		if n := handled.Load(); n != capacity+1 {
			t.Errorf("%d messages handled, want %d", n, capacity+1)
		}
	})
}

func TestAFullMemberOfAQueueIsPassedOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := connected(t)
		release := make(chan struct{})
		var free atomic.Int64
		for _, h := range []broker.Handler{
			func(context.Context, broker.Event) error { <-release; return nil },
			func(context.Context, broker.Event) error { free.Add(1); return nil },
		} {
			if _, err := b.Subscribe(t.Context(), "t", h, broker.Queue("q")); err != nil {
				t.Fatal(err)
			}
		}
		for i := range 3 * capacity {
			if err := b.Publish(t.Context(), "t", &broker.Message{}); err != nil {
				t.Fatalf("message %d: %v", i, err)
			}
			synctest.Wait()
		}
		if n := free.Load(); n != 2*capacity {
			t.Errorf("the free member handled %d of %d messages, want all but the %d the other holds", n, 3*capacity, capacity)
		}
		close(release)
	})
}

func TestUnsubscribeLetsWaitingPublishersGoOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := connected(t)
		release := make(chan struct{})
		s, err := b.Subscribe(t.Context(), "t", func(context.Context, broker.Event) error { <-release; return nil })
		if err != nil {
			t.Fatal(err)
		}
		for range capacity {
			if err := b.Publish(t.Context(), "t", &broker.Message{}); err != nil {
				t.Fatal(err)
			}
		}
		published := make(chan error, 1)
		go func() { published <- b.Publish(t.Context(), "t", &broker.Message{}) }()
		synctest.Wait()
		unsubscribed := make(chan error, 1)
		go func() { unsubscribed <- s.Unsubscribe(t.Context()) }()
		if err := <-published; err != nil {
			t.Errorf("Publish whose only subscriber left: %v", err)
		}
		close(release)
		if err := <-unsubscribed; err != nil {
			t.Errorf("Unsubscribe: %v", err)
		}
	})
}

func TestUnsubscribeThatGivesUpDropsWhatWaitsAndSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := connected(t)
		var started atomic.Int64
		s, err := b.Subscribe(t.Context(), "t", func(ctx context.Context, _ broker.Event) error {
			started.Add(1)
			<-ctx.Done()
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		for range 100 {
			if err := b.Publish(t.Context(), "t", &broker.Message{}); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err = s.Unsubscribe(ctx)
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "36 messages dropped, 64 handlers") {
			t.Errorf("Unsubscribe: %v, want the deadline, 36 messages dropped, 64 handlers running", err)
		}
		synctest.Wait()
		if n := started.Load(); n != 64 {
			t.Errorf("%d handlers started, want the 64 that ran before", n)
		}
	})
}

func TestAHandlerThatEndsItsGoroutineHurtsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := connected(t)
		var n atomic.Int64
		_, err := b.Subscribe(t.Context(), "t", func(context.Context, broker.Event) error {
			n.Add(1)
			runtime.Goexit()
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		for range 500 {
			if err := b.Publish(t.Context(), "t", &broker.Message{}); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if n.Load() != 500 {
			t.Errorf("%d of 500 messages handled", n.Load())
		}
	})
}
