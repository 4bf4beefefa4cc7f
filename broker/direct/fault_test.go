package direct_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-9a4e2794/micro/broker"
	"github.com/seed-9a4e2794/micro/broker/direct"
	"github.com/seed-9a4e2794/micro/internal/leaktest"
	"github.com/seed-9a4e2794/micro/registry"
	"github.com/seed-9a4e2794/micro/transport"

	microerrors "github.com/seed-9a4e2794/micro/errors"
)

func TestANodeGetsOneCopyWhateverSubscribesThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		a, addrA := n.connected(t)
		b, addrB := n.connected(t)
		var mu sync.Mutex
		counts := make([]int, 5)
		for i := range 3 {
			subscribe(t, b, "t", count(&counts[i], &mu))
		}
		subscribe(t, b, "t", count(&counts[3], &mu), broker.Queue("one"))
		subscribe(t, b, "t", count(&counts[4], &mu), broker.Queue("two"))
		var own int
		subscribe(t, a, "t", count(&own, &mu))
		synctest.Wait()
		for range 10 {
			publish(t, a, "t", broker.RequireSubscriber())
		}
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		if !slices.Equal(counts, []int{10, 10, 10, 10, 10}) || own != 10 {
			t.Errorf("subscribers got %v and %d messages, want 10 each", counts, own)
		}
		if n.sent(addrB) != 10 || n.sent(addrA) != 0 {
			t.Errorf("%d copies travelled to the node and %d to the publisher itself, want 10 and 0", n.sent(addrB), n.sent(addrA))
		}
	})
}

func TestAMemberThatDoesNotTakeItIsReplaced(t *testing.T) {
	for _, fault := range []error{
		fmt.Errorf("dial: %w", transport.ErrUnreachable),
		microerrors.Refuse("test", microerrors.CodeUnavailable, "draining"),
	} {
		t.Run(fault.Error()[:5], func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNetwork()
				a, _ := n.connected(t)
				b, addrB := n.connected(t)
				c, addrC := n.connected(t)
				d, _ := n.connected(t)
				var mu sync.Mutex
				var got int
				for _, m := range []*direct.Broker{b, c, d} {
					subscribe(t, m, "t", count(&got, &mu), broker.Queue("q"))
				}
				synctest.Wait()
				n.fail(addrB, fault)
				n.fail(addrC, fault)
				for range 100 {
					publish(t, a, "t", broker.RequireSubscriber())
				}
				synctest.Wait()
				mu.Lock()
				defer mu.Unlock()
				if got != 100 {
					t.Errorf("%d of 100 messages arrived, want all at the member that is left", got)
				}
				if k := n.sent(addrB) + n.sent(addrC); k < 1 || k > 2 {
					t.Errorf("the two that failed were tried %d times, want once each at most, and one at least", k)
				}
			})
		})
	}
}

func TestAMessageThatMayHaveArrivedIsNotSentAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		a, _ := n.connected(t)
		b, addrB := n.connected(t)
		c, addrC := n.connected(t)
		var mu sync.Mutex
		var got int
		for _, m := range []*direct.Broker{b, c} {
			subscribe(t, m, "t", count(&got, &mu), broker.Queue("q"))
		}
		synctest.Wait()
		n.fail(addrB, transport.ErrLost)
		n.fail(addrC, transport.ErrLost)
		publish(t, a, "t")
		err := a.Publish(t.Context(), "t", &broker.Message{}, broker.RequireSubscriber())
		if !errors.Is(err, broker.ErrNoSubscriber) {
			t.Errorf("Publish that reached nobody: %v, want broker.ErrNoSubscriber", err)
		}
		if k := n.sent(addrB) + n.sent(addrC); k != 2 {
			t.Errorf("two messages were sent %d times, want twice", k)
		}
		if s := a.Stats(); s.Unreached != 2 || s.Sent != 0 {
			t.Errorf("the counts are %+v, want 2 unreached, 0 sent", s)
		}
	})
}

// hanging is a Sender whose nodes at one address never answer.
type hanging struct {
	*network
	addr string
}

func (h hanging) Send(ctx context.Context, node *registry.Node, d *direct.Delivery) error {
	if node.Address == h.addr {
		<-ctx.Done()
		return ctx.Err()
	}
	return h.network.Send(ctx, node, d)
}

func TestANodeThatHangsHoldsUpPublishForFiveSecondsAndNoOtherNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		b, addrB := n.connected(t)
		c, _ := n.connected(t)
		a, _ := n.connected(t, func(cfg *direct.Config) { cfg.Sender = hanging{n, addrB} })
		arrived := make(chan time.Time, 4)
		h := func(context.Context, broker.Event) error { arrived <- time.Now(); return nil }
		subscribe(t, b, "t", h)
		subscribe(t, c, "t", h)
		synctest.Wait()
		began := time.Now()
		publish(t, a, "t", broker.RequireSubscriber())
		if d := time.Since(began); d != 5*time.Second {
			t.Errorf("Publish took %v, want 5s", d)
		}
		if d := (<-arrived).Sub(began); d != 0 {
			t.Errorf("the other node got the message after %v, want at once", d)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := a.Publish(ctx, "t", &broker.Message{}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Publish whose context ended before all copies were taken: %v, want context.DeadlineExceeded", err)
		}
	})
}

func TestDeliveriesNobodyWaitsForAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		b, _ := n.node(t)
		subscribe(t, b, "t", func(context.Context, broker.Event) error { return nil }, broker.Queue("q"))
		d := func() *direct.Delivery {
			return &direct.Delivery{Topic: "t", Queues: []string{"q"}, Message: &broker.Message{}}
		}
		if err := b.Deliver(t.Context(), d()); !errors.Is(err, microerrors.ErrRefused) {
			t.Errorf("before Connect: %v, want errors.ErrRefused", err)
		}
		if err := b.Connect(t.Context()); err != nil {
			t.Fatal(err)
		}
		defer b.Disconnect(t.Context())
		if err := b.Deliver(t.Context(), d()); err != nil {
			t.Errorf("to a queue that is here: %v", err)
		}
		for _, d := range []*direct.Delivery{
			{Topic: "t", Broadcast: true, Message: &broker.Message{}},
			{Topic: "t", Queues: []string{"q", "unknown"}, Message: &broker.Message{}},
			{Topic: "u", Queues: []string{"q"}, Message: &broker.Message{}},
		} {
			if err := b.Deliver(t.Context(), d); !errors.Is(err, microerrors.ErrRefused) {
				t.Errorf("%+v: %v, want errors.ErrRefused", d, err)
			}
		}
		for _, d := range []*direct.Delivery{nil, {}, {Topic: "t", Broadcast: true}, {Topic: "t", Message: &broker.Message{}}} {
			if err := b.Deliver(t.Context(), d); err == nil || errors.Is(err, microerrors.ErrRefused) {
				t.Errorf("%+v: %v, want an error that is not ErrRefused", d, err)
			}
		}
	})
}

func TestWhatCannotWorkIsRefusedWithItsReason(t *testing.T) {
	n := newNetwork()
	for _, cfg := range []direct.Config{
		{Sender: n},
		{Registry: n.reg},
		{Registry: n.reg, Sender: n, RegisterTTL: -1},
		{Registry: n.reg, Sender: n, RegisterTTL: time.Second, RegisterInterval: time.Second},
	} {
		if b, err := direct.New(cfg); err == nil {
			t.Errorf("New(%+v) = %v, want an error", cfg, b)
		}
	}
	b, err := direct.New(direct.Config{Registry: n.reg, Sender: n})
	if err != nil {
		t.Fatal(err)
	}
	h := func(context.Context, broker.Event) error { return nil }
	for _, c := range []struct{ topic, queue string }{{"", ""}, {"t", direct.BroadcastVersion}, {"t", "\xff"}, {string(make([]byte, 256)), ""}} {
		if _, err := b.Subscribe(t.Context(), c.topic, h, broker.Queue(c.queue)); err == nil {
			t.Errorf("Subscribe to %q in queue %q succeeded", c.topic, c.queue)
		}
	}
	subscribe(t, b, "t", h)
	if err := b.Connect(t.Context()); err == nil {
		t.Error("Connect with a subscription and no address succeeded")
	}
	if err := b.Disconnect(t.Context()); err != nil {
		t.Errorf("Disconnect: %v", err)
	}
}

func TestAHandlerThatEndsItsGoroutineHurtsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		b, _ := n.connected(t)
		var handled atomic.Int64
		subscribe(t, b, "t", func(context.Context, broker.Event) error {
			handled.Add(1)
			runtime.Goexit()
			return nil
		})
		for range 500 {
			publish(t, b, "t")
		}
		synctest.Wait()
		if s := b.Stats(); handled.Load() != 500 || s.Failed != 500 {
			t.Errorf("%d of 500 messages handled, %d counted as failed, want all", handled.Load(), s.Failed)
		}
	})
}

func TestANodeThatFailedIsUsedAgainLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		a, _ := n.connected(t)
		b, addrB := n.connected(t)
		c, addrC := n.connected(t)
		var mu sync.Mutex
		var got int
		subscribe(t, b, "t", count(&got, &mu), broker.Queue("q"))
		subscribe(t, c, "t", count(&got, &mu), broker.Queue("q"))
		synctest.Wait()
		n.fail(addrB, transport.ErrUnreachable)
		for n.sent(addrB) == 0 {
			publish(t, a, "t", broker.RequireSubscriber())
		}
		n.fail(addrB, nil)
		before := n.sent(addrC)
		for range 50 {
			publish(t, a, "t", broker.RequireSubscriber())
		}
		if k := n.sent(addrC) - before; k != 50 {
			t.Errorf("%d of 50 messages right after the failure went to the node that had not failed, want all", k)
		}
		<-time.After(6 * time.Second)
		for range 50 { // that none of 50 goes to one of two has a chance of 1 in 10^15
			publish(t, a, "t", broker.RequireSubscriber())
		}
		if n.sent(addrB) == 1 {
			t.Error("the node was never used again")
		}
	})
}

func TestSubscribingConnectingAndPublishingAtOnce(t *testing.T) {
	leaktest.Check(t)
	n := newNetwork()
	brokers := make([]*direct.Broker, 3)
	for i := range brokers {
		brokers[i], _ = n.connected(t)
	}
	var wg sync.WaitGroup
	h := func(context.Context, broker.Event) error { return nil }
	for i := range 12 {
		b := brokers[i%len(brokers)]
		wg.Go(func() {
			for j := range 30 {
				switch i / 3 {
				case 0:
					if s, err := b.Subscribe(t.Context(), "t", h, broker.Queue([]string{"", "q"}[j%2])); err == nil {
						if err := s.Unsubscribe(t.Context()); err != nil {
							t.Errorf("Unsubscribe: %v", err)
						}
					}
				case 1:
					if err := b.Disconnect(t.Context()); err != nil {
						t.Errorf("Disconnect: %v", err)
					}
				case 2:
					if err := b.Connect(t.Context()); err != nil {
						t.Errorf("Connect: %v", err)
					}
				case 3:
					if err := b.Publish(t.Context(), "t", &broker.Message{}); err != nil && !errors.Is(err, broker.ErrNotConnected) {
						t.Errorf("Publish: %v", err)
					}
				}
			}
		})
	}
	wg.Wait()
	for _, b := range brokers {
		if err := b.Disconnect(t.Context()); err != nil {
			t.Errorf("Disconnect: %v", err)
		}
	}
	if got := records(t, n.reg); len(got) != 0 {
		t.Errorf("the registry still holds %q", got)
	}
}
