package server

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/seed-9a4e2794/micro/broker"
	"github.com/seed-9a4e2794/micro/registry"
)

func (s *server) Subscribe(sub Subscriber) error {
	return s.noted("subscriber", s.addSubscriber(sub))
}

func (s *server) addSubscriber(sub Subscriber) error {
	k, ok := sub.(*subscriber)
	if !ok {
		return fmt.Errorf("server: a %T is not a subscriber of this package: make it with NewSubscriber or TypedSubscriber", sub)
	}
	if k.err != nil {
		return k.err
	}
	s.mu.Lock()
	for _, other := range s.subs {
		if other.sub == k {
			s.mu.Unlock()
			return fmt.Errorf("server: this subscriber of topic %s has been subscribed already", k.topic)
		}
	}
	n := &subscription{sub: k}
	s.subs = append(s.subs, n)
	run := s.run
	started := s.state == serving
	s.mu.Unlock()
	if !started {
		return nil
	}
	ctx, cancel := context.WithTimeout(run.ctx, partTimeout)
	defer cancel()
	err := s.attach(ctx, run, n)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil { // nothing is left of it: it may be subscribed again
		n.dropped = true // also for who has copied the list
		s.subs = slices.DeleteFunc(s.subs, func(other *subscription) bool { return other == n })
		return err
	}
	s.again()
	return nil
}

// attach subscribes with the broker, unless that has been done.
func (s *server) attach(ctx context.Context, run *running, n *subscription) error {
	s.mu.Lock()
	if n.active != nil || n.busy || n.dropped {
		s.mu.Unlock()
		return nil
	}
	n.busy = true
	s.mu.Unlock()
	var opts []broker.SubscribeOption
	if n.sub.opts.Queue != "" {
		opts = append(opts, broker.Queue(n.sub.opts.Queue))
	}
	if !n.sub.opts.AutoAck {
		opts = append(opts, broker.DisableAutoAck())
	}
	active, err := run.opts.Broker.Subscribe(ctx, n.sub.topic, s.handle(run, n.sub), opts...)
	s.mu.Lock()
	n.busy = false
	why := ""
	switch {
	case err != nil:
	case n.dropped:
		why = "it has been given up"
	case s.state != serving || s.run != run:
		why = "the server has been stopped"
	}
	if why != "" {
		s.mu.Unlock()
		uctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), partTimeout)
		defer cancel() // Stop has ended ctx, perhaps
		return errors.Join(fmt.Errorf("server: subscribe to %s: %s", n.sub.topic, why), active.Unsubscribe(uctx))
	}
	if err == nil {
		n.active = active
	}
	s.mu.Unlock()
	if err != nil {
		return fmt.Errorf("server: subscribe to %s: %w", n.sub.topic, err)
	}
	return nil
}

// connectBroker connects the broker and subscribes what has not been
// subscribed. It reports whether that has to be tried again.
func (s *server) connectBroker(run *running, timeout time.Duration) (again bool) {
	ctx, cancel := context.WithTimeout(run.ctx, timeout)
	defer cancel()
	err := run.opts.Broker.Connect(ctx)
	s.mu.Lock()
	subs := append([]*subscription(nil), s.subs...)
	s.mu.Unlock()
	for _, n := range subs {
		err = errors.Join(err, s.attach(ctx, run, n))
	}
	if run.ctx.Err() != nil {
		return false // what has failed was cut off
	}
	s.mu.Lock()
	before := s.brokUp
	s.brokUp = err
	s.healthChanged()
	s.mu.Unlock()
	switch {
	case err != nil && before == nil:
		s.log().Warn("the broker is not ready; the service serves and goes on trying", "service", run.name, "error", err)
	case err == nil && before != nil:
		s.log().Info("the broker is ready again", "service", run.name)
	}
	return err != nil && !errors.Is(err, registry.ErrReadOnly) // that stays as it is
}

// keepConnecting connects the broker again and again until all is well.
func (s *server) keepConnecting(run *running) {
	for wait := firstRetry; ; wait = min(2*wait, maxRetry) {
		if pause(run.ctx, jitter(wait)) != nil || !s.connectBroker(run, partTimeout) {
			return
		}
	}
}

// noBroker stands where a server has no use for a broker.
type noBroker struct{}

func (noBroker) Connect(context.Context) error    { return nil }
func (noBroker) Disconnect(context.Context) error { return nil }
func (noBroker) Publish(context.Context, string, *broker.Message, ...broker.PublishOption) error {
	return broker.ErrNotConnected
}
func (noBroker) Subscribe(context.Context, string, broker.Handler, ...broker.SubscribeOption) (broker.Subscriber, error) {
	return nil, fmt.Errorf("%w: the server was started without one", broker.ErrNotConnected)
}
