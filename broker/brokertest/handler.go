package brokertest

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/seed-9a4e2794/micro/broker"
)

func handlerCases() []testCase {
	return []testCase{{
		name: "FailingHandler",
		rule: "a handler that returns an error or panics hurts neither later messages nor other subscribers",
		run: func(e *env) {
			a, b := e.connected(), e.connected()
			well, failing, panicking := e.recorder(), e.recorder(), e.recorder()
			e.subscribe(b, e.topic, failing.once(e, func() error { return errors.New("this handler fails on purpose") }))
			e.subscribe(b, e.topic, panicking.once(e, func() error { panic("this handler panics on purpose") }), broker.Queue("q"))
			e.subscribe(b, e.topic, well.handle)
			e.warm(e.topic, []broker.Broker{a}, well, failing, panicking)
			e.publishN(a, e.topic, 0, 10)
			e.await(30, "every subscriber to have 10 messages", well, failing, panicking)
			e.disconnect(a, b)
			e.exactly(0, 10, "the subscriber that handles well", well)
			e.exactly(0, 10, "the subscriber that fails", failing)
			e.exactly(0, 10, "the subscriber that panics", panicking)
		},
	}, {
		name: "HandlersRunConcurrently",
		rule: "a handler that waits does not hold up the next message, unless the backend promises an order",
		when: func(p Promise) bool { return !p.Ordered },
		run: func(e *env) {
			a, b := e.connected(), e.connected()
			r := e.recorder()
			release := make(chan struct{})
			var once sync.Once
			var running atomic.Int64
			e.subscribe(b, e.topic, r.skipProbes(func(context.Context, broker.Event) error {
				if running.Add(1) == 3 {
					once.Do(func() { close(release) })
				}
				select {
				case <-release:
				case <-e.ctx.Done():
				}
				return nil
			}))
			e.warm(e.topic, []broker.Broker{a}, r)
			e.publishN(a, e.topic, 0, 3)
			wait(e, release, "three handlers of one subscription to run at the same time")
		},
	}, {
		name: "HandlerPublishes",
		rule: "a handler may publish, to its own topic too",
		run: func(e *env) {
			a, b := e.connected(), e.connected()
			r := e.recorder()
			e.subscribe(b, e.topic, r.skipProbes(func(ctx context.Context, ev broker.Event) error {
				if err := r.handle(ctx, ev); err != nil {
					return err
				}
				if string(ev.Message().Body) == "message 0" {
					return b.Publish(ctx, e.topic, message(1))
				}
				return nil
			}))
			e.warm(e.topic, []broker.Broker{a, b}, r)
			e.publishN(a, e.topic, 0, 1)
			e.await(2, "the message and the one its handler published", r)
			e.disconnect(a, b)
			e.exactly(0, 2, "the subscriber", r)
		},
	}}
}

// once is a handler that records each message the first time it comes and then
// fails by f; when the message comes again it is handled well.
func (r *recorder) once(e *env, f func() error) broker.Handler {
	var mu sync.Mutex
	seen := make(map[string]bool)
	return r.skipProbes(func(ctx context.Context, ev broker.Event) error {
		mu.Lock()
		again := seen[string(ev.Message().Body)]
		seen[string(ev.Message().Body)] = true
		mu.Unlock()
		if again {
			if !e.promise.AtLeastOnce {
				e.Errorf("%q came again to a handler that failed, but the backend promises at most once", ev.Message().Body)
			}
			return nil
		}
		if err := r.handle(ctx, ev); err != nil {
			return err
		}
		return f()
	})
}

func promiseCases() []testCase {
	return []testCase{{
		name: "AtMostOnce",
		rule: "an event that was refused is not delivered again; Ack and Nack do nothing and are no error",
		when: func(p Promise) bool { return !p.AtLeastOnce },
		run: func(e *env) {
			a, b := e.connected(), e.connected()
			r := e.recorder()
			e.subscribe(b, e.topic, r.skipProbes(func(ctx context.Context, ev broker.Event) error {
				if err := errors.Join(ev.Ack(), ev.Nack(), r.handle(ctx, ev)); err != nil {
					e.Errorf("Ack or Nack: %v", err)
				}
				return errors.New("this handler fails on purpose")
			}), broker.DisableAutoAck())
			e.warm(e.topic, []broker.Broker{a}, r)
			e.publishN(a, e.topic, 0, 5)
			e.await(5, "the messages", r)
			e.disconnect(a, b)
			e.exactly(0, 5, "the subscriber", r)
		},
	}, {
		name: "RefusedComesAgain",
		rule: "an event refused by an error, by Nack, or by a panic is delivered again until it is acknowledged, and then no more",
		when: func(p Promise) bool { return p.AtLeastOnce },
		run: func(e *env) {
			for _, way := range []struct {
				name   string
				refuse func(broker.Event) error
				opts   []broker.SubscribeOption
			}{
				{"error", func(broker.Event) error { return errors.New("this handler fails on purpose") }, nil},
				{"panic", func(broker.Event) error { panic("this handler panics on purpose") }, nil},
				{"nack", func(ev broker.Event) error { return ev.Nack() }, []broker.SubscribeOption{broker.DisableAutoAck()}},
			} {
				a, b := e.connected(), e.connected()
				topic := e.topic + "." + way.name
				r, probes := e.recorder(), e.recorder()
				var times atomic.Int64
				e.subscribe(b, topic, func(ctx context.Context, ev broker.Event) error {
					if _, probe := ev.Message().Header[probeHeader]; probe {
						return errors.Join(ev.Ack(), probes.handle(ctx, ev))
					}
					if times.Add(1) <= 2 {
						return way.refuse(ev)
					}
					if err := r.handle(ctx, ev); err != nil {
						return err
					}
					if len(way.opts) > 0 {
						return ev.Ack()
					}
					return nil
				}, append(way.opts, broker.Queue("q"))...)
				e.warm(topic, []broker.Broker{a}, probes)
				e.publishN(a, topic, 0, 1)
				e.await(1, "the message to come a third time after "+way.name, r)
				e.disconnect(a, b)
				if n := times.Load(); n != 3 {
					e.Errorf("%s: the event was delivered %d times, want 3", way.name, n)
				}
			}
		},
	}, {
		name: "Order",
		rule: "a subscription gets the messages of one publisher one at a time and in order",
		when: func(p Promise) bool { return p.Ordered },
		run: func(e *env) {
			a, b := e.connected(), e.connected()
			r := e.recorder()
			var running atomic.Int64
			e.subscribe(b, e.topic, r.skipProbes(func(ctx context.Context, ev broker.Event) error {
				if running.Add(1) != 1 {
					e.Error("two handlers of one subscription ran at the same time")
				}
				defer running.Add(-1)
				return r.handle(ctx, ev)
			}))
			e.warm(e.topic, []broker.Broker{a}, r)
			const n = 200
			e.publishN(a, e.topic, 0, n)
			e.await(n, "the messages", r)
			e.disconnect(a, b)
			got := r.got()
			for i := range got {
				if want := string(message(i).Body); got[i] != want {
					e.Fatalf("message %d is %q, want %q; around it: %s", i, got[i], want,
						strings.Join(slices.Clone(got[max(0, i-2):min(len(got), i+3)]), ", "))
				}
			}
		},
	}}
}
