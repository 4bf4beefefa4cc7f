package brokertest_test

import (
	"context"
	"errors"
	"maps"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-9a4e2794/micro/broker"
	"github.com/seed-9a4e2794/micro/broker/brokertest"
	"github.com/seed-9a4e2794/micro/broker/memory"
)

// broken is a broker with one fault, made from one that works.
type broken struct {
	broker.Broker
	publish   func(ctx context.Context, b broker.Broker, topic string, m *broker.Message, opts []broker.PublishOption) error
	subscribe func(ctx context.Context, b broker.Broker, topic string, h broker.Handler, opts []broker.SubscribeOption) (broker.Subscriber, error)
	leave     func(ctx context.Context, b broker.Broker) error
}

func (b broken) Publish(ctx context.Context, topic string, m *broker.Message, opts ...broker.PublishOption) error {
	if b.publish == nil {
		return b.Broker.Publish(ctx, topic, m, opts...)
	}
	return b.publish(ctx, b.Broker, topic, m, opts)
}

func (b broken) Subscribe(ctx context.Context, topic string, h broker.Handler, opts ...broker.SubscribeOption) (broker.Subscriber, error) {
	if b.subscribe == nil {
		return b.Broker.Subscribe(ctx, topic, h, opts...)
	}
	return b.subscribe(ctx, b.Broker, topic, h, opts)
}

func (b broken) Disconnect(ctx context.Context) error {
	if b.leave == nil {
		return b.Broker.Disconnect(ctx)
	}
	return b.leave(ctx, b.Broker)
}

// hasty does not wait in Unsubscribe.
type hasty struct{ broker.Subscriber }

func (h hasty) Unsubscribe(ctx context.Context) error {
	ended, cancel := context.WithCancel(ctx)
	cancel()
	h.Subscriber.Unsubscribe(ended)
	return nil
}

// deaf never ends a subscription.
type deaf struct{ broker.Subscriber }

func (deaf) Unsubscribe(context.Context) error { return nil }

// change returns a fault in what handlers get.
func change(f func(h broker.Handler) broker.Handler) broken {
	return broken{subscribe: func(ctx context.Context, b broker.Broker, topic string, h broker.Handler, opts []broker.SubscribeOption) (broker.Subscriber, error) {
		return b.Subscribe(ctx, topic, f(h), opts...)
	}}
}

func wrapSubscriber(f func(broker.Subscriber) broker.Subscriber) broken {
	return broken{subscribe: func(ctx context.Context, b broker.Broker, topic string, h broker.Handler, opts []broker.SubscribeOption) (broker.Subscriber, error) {
		s, err := b.Subscribe(ctx, topic, h, opts...)
		if err != nil {
			return nil, err
		}
		return f(s), nil
	}}
}

// event is an event with another message.
type event struct {
	broker.Event
	m *broker.Message
}

func (e event) Message() *broker.Message { return e.m }

// fault is a broker that breaks a rule, and the case that must find out.
type fault struct {
	name    string
	find    string
	broken  broken
	promise brokertest.Promise
}

func faults() []fault {
	counts := brokertest.Promise{CountsSubscribers: true}
	return []fault{
		{"doubles messages", "Queue", broken{publish: func(ctx context.Context, b broker.Broker, topic string, m *broker.Message, opts []broker.PublishOption) error {
			return errors.Join(b.Publish(ctx, topic, m, opts...), b.Publish(ctx, topic, m, opts...))
		}}, counts},
		{"knows no queues", "Queue", broken{subscribe: func(ctx context.Context, b broker.Broker, topic string, h broker.Handler, _ []broker.SubscribeOption) (broker.Subscriber, error) {
			return b.Subscribe(ctx, topic, h)
		}}, counts},
		{"knows one queue only", "QueuesBesideBroadcast", broken{subscribe: func(ctx context.Context, b broker.Broker, topic string, h broker.Handler, opts []broker.SubscribeOption) (broker.Subscriber, error) {
			if broker.NewSubscribeOptions(opts...).Queue != "" {
				opts = append(opts, broker.Queue("one"))
			}
			return b.Subscribe(ctx, topic, h, opts...)
		}}, counts},
		{"knows one topic only", "Broadcast", broken{subscribe: func(ctx context.Context, b broker.Broker, topic string, h broker.Handler, opts []broker.SubscribeOption) (broker.Subscriber, error) {
			return b.Subscribe(ctx, strings.TrimSuffix(topic, ".other"), h, opts...)
		}}, counts},
		{"changes the case of keys", "MessageUnchanged", change(func(h broker.Handler) broker.Handler {
			return func(ctx context.Context, e broker.Event) error {
				m := &broker.Message{Header: map[string]string{}, Body: e.Message().Body}
				for k, v := range e.Message().Header {
					m.Header[strings.Replace(k, "ID", "Id", 1)] = v
				}
				return h(ctx, event{e, m})
			}
		}), counts},
		{"changes the publisher's message", "PublisherKeepsItsMessage", broken{publish: func(ctx context.Context, b broker.Broker, topic string, m *broker.Message, opts []broker.PublishOption) error {
			err := b.Publish(ctx, topic, m, opts...)
			if m.Header != nil {
				m.Header["Micro-Topic"] = topic
			}
			return err
		}}, counts},
		{"carries no metadata", "MetadataInContext", change(func(h broker.Handler) broker.Handler {
			return func(_ context.Context, e broker.Event) error { return h(context.Background(), e) }
		}), counts},
		{"cuts large bodies", "LargeMessage", change(func(h broker.Handler) broker.Handler {
			return func(ctx context.Context, e broker.Event) error {
				b := e.Message().Body
				return h(ctx, event{e, &broker.Message{Header: maps.Clone(e.Message().Header), Body: b[:min(len(b), 1<<16)]}})
			}
		}), counts},
		{"does not miss subscribers", "RequireSubscriber", broken{publish: func(ctx context.Context, b broker.Broker, topic string, m *broker.Message, _ []broker.PublishOption) error {
			return b.Publish(ctx, topic, m)
		}}, counts},
		{"does not unsubscribe", "Unsubscribe", wrapSubscriber(func(s broker.Subscriber) broker.Subscriber { return deaf{s} }), counts},
		{"does not wait in Unsubscribe", "UnsubscribeWaits", wrapSubscriber(func(s broker.Subscriber) broker.Subscriber { return hasty{s} }), counts},
		{"does not wait in Disconnect", "DisconnectWaits", broken{leave: func(ctx context.Context, b broker.Broker) error {
			ended, cancel := context.WithCancel(ctx)
			cancel()
			b.Disconnect(ended)
			return nil
		}}, counts},
		{"publishes when its context has ended", "CancelledContext", broken{publish: func(ctx context.Context, b broker.Broker, topic string, m *broker.Message, opts []broker.PublishOption) error {
			return b.Publish(context.WithoutCancel(ctx), topic, m, opts...)
		}}, counts},
		{"handles one message at a time", "HandlersRunConcurrently", oneAtATime(), counts},
		{"delivers again what was refused", "AtMostOnce", change(func(h broker.Handler) broker.Handler {
			return func(ctx context.Context, e broker.Event) error {
				if err := h(ctx, e); err != nil {
					return h(ctx, e)
				}
				return nil
			}
		}), counts},
		{"promises at least once and does not keep it", "RefusedComesAgain", broken{}, brokertest.Promise{AtLeastOnce: true}},
		{"promises an order and does not keep it", "Order", change(func(h broker.Handler) broker.Handler {
			var mu sync.Mutex
			n := 0
			return func(ctx context.Context, e broker.Event) error {
				mu.Lock()
				n++
				hold := n%7 == 3
				mu.Unlock()
				if hold {
					<-time.After(time.Millisecond)
				}
				return h(ctx, e)
			}
		}), brokertest.Promise{Ordered: true}},
	}
}

func oneAtATime() broken {
	return change(func(h broker.Handler) broker.Handler {
		one := make(chan struct{}, 1)
		return func(ctx context.Context, e broker.Event) error {
			one <- struct{}{}
			defer func() { <-one }()
			return h(ctx, e)
		}
	})
}

// ackEvent knows whether it was refused.
type ackEvent struct {
	broker.Event
	nacked *bool
}

func (e ackEvent) Nack() error { *e.nacked = true; return nil }

func TestABrokerThatDeliversAgainKeepsAtLeastOnce(t *testing.T) {
	attempt := func(ctx context.Context, h broker.Handler, e broker.Event) (done bool) {
		defer func() {
			if recover() != nil {
				done = false
			}
		}()
		nacked := false
		err := h(ctx, ackEvent{e, &nacked})
		return err == nil && !nacked
	}
	again := change(func(h broker.Handler) broker.Handler {
		return func(ctx context.Context, e broker.Event) error {
			for !attempt(ctx, h, e) && ctx.Err() == nil {
			}
			return nil
		}
	})
	brokertest.RunInBubbles(t, func(*testing.T) brokertest.Harness {
		first := memory.New()
		return brokertest.Harness{New: func(*testing.T) broker.Broker {
			b := again
			b.Broker = first.Peer()
			return b
		}}
	}, brokertest.Promise{AtLeastOnce: true, CountsSubscribers: true})
}

// faultVariable names the fault to run the suite with in a process of its own.
const faultVariable = "MICRO_BROKERTEST_FAULT"

// TestBroken runs the suite with a broken broker. It fails, and is run by
// TestTheSuiteFindsEveryFault only.
func TestBroken(t *testing.T) {
	name := os.Getenv(faultVariable)
	if name == "" {
		t.Skip("runs in a process of TestTheSuiteFindsEveryFault")
	}
	for _, f := range faults() {
		if f.name == name {
			brokertest.RunInBubbles(t, func(*testing.T) brokertest.Harness {
				first := memory.New()
				return brokertest.Harness{New: func(*testing.T) broker.Broker {
					b := f.broken
					b.Broker = first.Peer()
					return b
				}}
			}, f.promise)
		}
	}
}

func TestTheSuiteFindsEveryFault(t *testing.T) {
	for _, f := range faults() {
		t.Run(f.name, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestBroken$/^"+f.find+"$", "-test.v", "-test.timeout=60s")
			cmd.Env = append(os.Environ(), faultVariable+"="+f.name)
			out, err := cmd.CombinedOutput()
			if err == nil || !strings.Contains(string(out), "--- FAIL: TestBroken/"+f.find) || !strings.Contains(string(out), "the rule: ") {
				t.Errorf("case %s did not find that the broker %s; it ended with %v and said:\n%s", f.find, f.name, err, out)
			}
		})
	}
}
