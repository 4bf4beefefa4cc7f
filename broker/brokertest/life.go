package brokertest

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/seed-9a4e2794/micro/broker"
)

func lifeCases() []testCase {
	return []testCase{{
		name: "PublishBeforeConnect",
		rule: "Publish before Connect and after Disconnect is ErrNotConnected",
		run: func(e *env) {
			b := e.raw()
			if err := b.Publish(e.ctx, e.topic, message(0)); !errors.Is(err, broker.ErrNotConnected) {
				e.Errorf("Publish before Connect: %v, want ErrNotConnected", err)
			}
			e.connect(b)
			e.publish(b, e.topic, message(0))
			e.disconnect(b)
			if err := b.Publish(e.ctx, e.topic, message(0)); !errors.Is(err, broker.ErrNotConnected) {
				e.Errorf("Publish after Disconnect: %v, want ErrNotConnected", err)
			}
		},
	}, {
		name: "SubscribeBeforeConnect",
		rule: "a subscription made before Connect takes effect with it, and one unsubscribed before never does",
		run: func(e *env) {
			a, b := e.connected(), e.raw()
			r, gone := e.recorder(), e.recorder()
			s := e.subscribe(b, e.topic, r.handle, broker.Queue("q"))
			if s.Topic() != e.topic || s.Options().Queue != "q" || !s.Options().AutoAck {
				e.Errorf("the subscriber says topic %q, options %+v; want %q, queue q, AutoAck", s.Topic(), s.Options(), e.topic)
			}
			g := e.subscribe(b, e.topic, gone.handle)
			if err := g.Unsubscribe(e.ctx); err != nil {
				e.Fatalf("Unsubscribe before Connect: %v", err)
			}
			e.connect(b)
			e.connect(b) // twice is no error
			e.warm(e.topic, []broker.Broker{a}, r)
			e.publishN(a, e.topic, 0, 5)
			e.await(5, "the messages", r)
			e.disconnect(a, b)
			e.exactly(0, 5, "the subscriber", r)
			e.exactly(0, 0, "the subscriber that left before Connect", gone)
			if gone.probed("0") {
				e.Error("the subscriber that left before Connect got a probe")
			}
		},
	}, {
		name: "Reconnect",
		rule: "Disconnect ends all subscriptions; a broker connected again publishes, and delivers to new ones only",
		run: func(e *env) {
			a, b := e.connected(), e.connected()
			before, after := e.recorder(), e.recorder()
			e.subscribe(b, e.topic, before.handle)
			e.warm(e.topic, []broker.Broker{a}, before)
			e.disconnect(b)
			e.disconnect(b) // twice is no error
			e.connect(b)
			e.subscribe(b, e.topic, after.handle)
			e.warm(e.topic, []broker.Broker{a, b}, after)
			e.publishN(a, e.topic, 0, 5)
			e.publishN(b, e.topic, 5, 5)
			e.await(10, "the messages", after)
			e.disconnect(a, b)
			e.exactly(0, 10, "the new subscriber", after)
			e.exactly(0, 0, "the subscriber of before", before)
		},
	}, {
		name: "Unsubscribe",
		rule: "no handler starts after Unsubscribe has returned; the other subscriptions go on; calling it again is no error",
		run: func(e *env) {
			a, b := e.connected(), e.connected()
			var over atomic.Bool
			var late atomic.Int64
			leaving, staying := e.recorder(), e.recorder()
			s := e.subscribe(b, e.topic, func(ctx context.Context, ev broker.Event) error {
				if over.Load() {
					late.Add(1)
				}
				return leaving.handle(ctx, ev)
			})
			e.subscribe(b, e.topic, staying.handle)
			e.warm(e.topic, []broker.Broker{a}, leaving, staying)
			stop, ended := make(chan struct{}), make(chan int)
			go func() {
				n := 0
				defer func() { ended <- n }()
				for ; ; n++ {
					select {
					case <-stop:
						return
					default:
					}
					if err := a.Publish(e.ctx, e.topic, message(n)); err != nil {
						e.Errorf("Publish while a subscriber leaves: %v", err)
						return
					}
				}
			}()
			e.await(20, "messages to flow", leaving)
			err := s.Unsubscribe(e.ctx)
			over.Store(true)
			if err != nil {
				e.Errorf("Unsubscribe: %v", err)
			}
			have := len(staying.got())
			e.await(have+20, "messages to flow on", staying)
			close(stop)
			n := <-ended
			if err := s.Unsubscribe(e.ctx); err != nil {
				e.Errorf("Unsubscribe again: %v", err)
			}
			e.await(n, "the subscriber that stays to have them all", staying)
			e.disconnect(a, b)
			e.exactly(0, n, "the subscriber that stays", staying)
			if k := late.Load(); k != 0 {
				e.Errorf("%d handlers started after Unsubscribe had returned", k)
			}
		},
	}, {
		name: "UnsubscribeWaits",
		rule: "Unsubscribe waits for handlers that run; their context goes on until then",
		run: func(e *env) {
			waits(e, func(b broker.Broker, s broker.Subscriber, ctx context.Context) error { return s.Unsubscribe(ctx) })
		},
	}, {
		name: "DisconnectWaits",
		rule: "Disconnect waits for handlers that run; their context goes on until then",
		run: func(e *env) {
			waits(e, func(b broker.Broker, s broker.Subscriber, ctx context.Context) error { return b.Disconnect(ctx) })
		},
	}, {
		name: "UnsubscribeGivesUp",
		rule: "Unsubscribe waits no longer than its context, and the context of a handler that still runs ends",
		run: func(e *env) {
			givesUp(e, func(b broker.Broker, s broker.Subscriber, ctx context.Context) error { return s.Unsubscribe(ctx) })
		},
	}, {
		name: "DisconnectGivesUp",
		rule: "Disconnect waits no longer than its context, and the context of a handler that still runs ends",
		run: func(e *env) {
			givesUp(e, func(b broker.Broker, s broker.Subscriber, ctx context.Context) error { return b.Disconnect(ctx) })
		},
	}, {
		name: "CancelledContext",
		rule: "with a context that has ended Publish and Subscribe do nothing and return its error",
		run: func(e *env) {
			a := e.connected()
			r, none := e.recorder(), e.recorder()
			e.subscribe(a, e.topic, r.handle)
			e.warm(e.topic, []broker.Broker{a}, r)
			ctx, cancel := context.WithCancel(e.ctx)
			cancel()
			if err := a.Publish(ctx, e.topic, message(100)); !errors.Is(err, context.Canceled) {
				e.Errorf("Publish: %v, want context.Canceled", err)
			}
			if _, err := a.Subscribe(ctx, e.topic, none.handle); !errors.Is(err, context.Canceled) {
				e.Errorf("Subscribe: %v, want context.Canceled", err)
			}
			e.publishN(a, e.topic, 0, 3)
			e.await(3, "the messages", r)
			e.disconnect(a)
			e.exactly(0, 3, "the subscriber", r)
			e.exactly(0, 0, "the subscriber whose context had ended", none)
		},
	}}
}

type ending func(b broker.Broker, s broker.Subscriber, ctx context.Context) error

// blocked starts a handler that runs until release is closed. It tells its
// context on started.
func blocked(e *env, release <-chan struct{}, after func(ctx context.Context)) (broker.Broker, broker.Subscriber, context.Context) {
	a, b := e.connected(), e.connected()
	started := make(chan context.Context, 1)
	r := e.recorder()
	s := e.subscribe(b, e.topic, r.skipProbes(func(ctx context.Context, _ broker.Event) error {
		started <- ctx
		<-release
		after(ctx)
		return nil
	}))
	e.warm(e.topic, []broker.Broker{a}, r)
	e.publish(a, e.topic, message(0))
	return b, s, wait(e, started, "the handler to start")
}

func waits(e *env, end ending) {
	release := make(chan struct{})
	var ended, cut atomic.Bool
	b, s, _ := blocked(e, release, func(ctx context.Context) {
		cut.Store(ctx.Err() != nil)
		ended.Store(true)
	})
	returned := make(chan error, 1)
	go func() { returned <- end(b, s, e.ctx) }()
	select {
	case <-returned:
		e.Error("it returned while a handler was running")
		close(release)
		return
	case <-afterPause():
	}
	close(release)
	if err := wait(e, returned, "it to return after the handler had"); err != nil {
		e.Errorf("it returned %v", err)
	}
	if !ended.Load() {
		e.Error("it returned before the handler had")
	}
	if cut.Load() {
		e.Error("the handler's context had ended although the wait was not cut short")
	}
}

func givesUp(e *env, end ending) {
	release := make(chan struct{})
	b, s, handlerCtx := blocked(e, release, func(context.Context) {})
	ctx, cancel := context.WithCancel(e.ctx)
	returned := make(chan error, 1)
	go func() { returned <- end(b, s, ctx) }()
	cancel()
	select {
	case err := <-returned:
		if !errors.Is(err, context.Canceled) {
			e.Errorf("it returned %v, want context.Canceled: a handler still ran", err)
		}
	case <-e.ctx.Done():
		e.Error("it did not return although its context had ended")
	}
	select {
	case <-handlerCtx.Done():
	case <-e.ctx.Done():
		e.Error("the handler's context did not end")
	}
	close(release)
}
