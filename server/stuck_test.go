package server_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-9a4e2794/micro/broker"
	"github.com/seed-9a4e2794/micro/registry"
	"github.com/seed-9a4e2794/micro/server"
)

// deafRegistry does not heed the context of Deregister.
type deafRegistry struct {
	*faultyRegistry
	release chan struct{}
}

func (r deafRegistry) Deregister(context.Context, *registry.Service) error {
	<-r.release
	return nil
}

// deafBroker does not heed the contexts of Unsubscribe and Disconnect.
type deafBroker struct {
	*faultyBroker
	release chan struct{}
}

func (b deafBroker) Disconnect(ctx context.Context) error {
	<-b.release
	return b.faultyBroker.Disconnect(ctx)
}

func (b deafBroker) Subscribe(ctx context.Context, topic string, h broker.Handler, opts ...broker.SubscribeOption) (broker.Subscriber, error) {
	s, err := b.faultyBroker.Subscribe(ctx, topic, h, opts...)
	return deafSubscriber{s, b.release}, err
}

type deafSubscriber struct {
	broker.Subscriber
	release chan struct{}
}

func (s deafSubscriber) Unsubscribe(ctx context.Context) error {
	<-s.release
	return s.Subscriber.Unsubscribe(ctx)
}

func TestStopIsBoundedAlsoWhenPartsDoNotHeedTheirContext(t *testing.T) {
	const timeout = 8 * time.Second
	for _, c := range []struct {
		name  string
		opts  func(w *world, release chan struct{}) []server.Option
		texts []string
	}{
		{"check", func(_ *world, release chan struct{}) []server.Option {
			first := true
			return []server.Option{server.RegisterInterval(time.Second), server.RegisterCheck(func(context.Context) error {
				if !first {
					<-release
				}
				first = false
				return nil
			})}
		}, []string{"RegisterCheck"}},
		{"registry", func(w *world, release chan struct{}) []server.Option {
			return []server.Option{server.Registry(deafRegistry{w.registry, release})}
		}, []string{"Deregister"}},
		{"broker", func(w *world, release chan struct{}) []server.Option {
			return []server.Option{server.Broker(deafBroker{w.broker, release})}
		}, []string{"Unsubscribe", "Disconnect"}},
		{"wait", func(_ *world, release chan struct{}) []server.Option {
			var wg sync.WaitGroup
			wg.Go(func() { <-release })
			return []server.Option{server.Wait(&wg)}
		}, []string{"WaitGroup of server.Wait", "8s"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				release := make(chan struct{})
				s := w.server(append(c.opts(w, release), server.StopTimeout(timeout))...)
				must(t, s.Subscribe(s.NewSubscriber("t", func(context.Context, *Ask) error { return nil })))
				must(t, s.Start())
				<-time.After(5 * time.Second)
				began := time.Now()
				err := s.Stop()
				took := time.Since(began)
				close(release)
				synctest.Wait()
				want(t, err, c.texts...)
				if took > timeout+time.Second {
					t.Errorf("Stop took %v", took)
				}
			})
		})
	}
}

// slowBroker subscribes when it is let, and counts what is live.
type slowBroker struct {
	*faultyBroker
	calls   chan struct{}
	proceed chan error
	live    *sync.Map
}

func (b slowBroker) Subscribe(ctx context.Context, topic string, h broker.Handler, opts ...broker.SubscribeOption) (broker.Subscriber, error) {
	b.calls <- struct{}{}
	if err := <-b.proceed; err != nil {
		return nil, err
	}
	s, err := b.Broker.Subscribe(ctx, topic, h, opts...)
	if err == nil {
		b.live.Store(topic, true)
	}
	return countedSubscriber{s, b.live}, err
}

type countedSubscriber struct {
	broker.Subscriber
	live *sync.Map
}

func (s countedSubscriber) Unsubscribe(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.live.Delete(s.Topic())
	return s.Subscriber.Unsubscribe(ctx)
}

func TestASubscriptionThatFailedIsNotMadeLiveBehindTheProgramsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		b := slowBroker{w.broker, make(chan struct{}, 8), make(chan error), new(sync.Map)}
		s := w.server(server.Broker(b))
		sub := func(topic string) server.Subscriber {
			return s.NewSubscriber(topic, func(context.Context, *Ask) error { return nil })
		}
		must(t, s.Subscribe(sub("first")))
		refused := errors.New("refused")
		go func() { b.proceed <- refused }() // the start: the broker is tried again
		must(t, s.Start())
		result := make(chan error, 1)
		go func() { result <- s.Subscribe(sub("second")) }()
		synctest.Wait()           // it is in the broker
		<-time.After(time.Second) // keepConnecting has copied the list, and is in the broker with the first
		b.proceed <- refused      // one of the two
		synctest.Wait()
		b.proceed <- refused // the other
		err := <-result
		want(t, err, "refused")
		for range 3 { // whatever comes after is for the first alone
			select {
			case b.proceed <- nil:
				synctest.Wait()
			case <-time.After(time.Minute):
			}
		}
		if _, live := b.live.Load("second"); live {
			t.Error("the subscription whose Subscribe failed is live")
		}
		if _, live := b.live.Load("first"); !live {
			t.Error("the other subscription is not live")
		}
		must(t, s.Stop())
	})
}
