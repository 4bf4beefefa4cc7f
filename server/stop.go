package server

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/seed-9a4e2794/micro/broker"
	"github.com/seed-9a4e2794/micro/registry"
)

func (s *server) Stop() error {
	s.life.Lock()
	defer s.life.Unlock()
	s.mu.Lock()
	if s.state != serving {
		s.mu.Unlock()
		return nil
	}
	s.state = stopping
	s.healthChanged()
	run := s.run
	s.mu.Unlock()
	log := s.log()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(run.ctx), run.opts.StopTimeout)
	defer cancel()
	began := time.Now()

	// Nobody is sent here any more ...
	run.cancel()
	var errs []error
	// A registration under way would come after the leaving. A part that does
	// not heed its context must not have the time of the calls.
	part, done := context.WithTimeout(ctx, min(partTimeout, run.opts.StopTimeout/4))
	errs = append(errs, within(part, "a RegisterCheck, the registry or the broker", func() error {
		run.loop.Wait()
		return nil
	}))
	done()
	part, done = context.WithTimeout(ctx, min(partTimeout, run.opts.StopTimeout/4))
	err := within(part, "the registry's Deregister", func() error { return leave(part, run) })
	done()
	if errors.Is(err, errStuck) {
		errs = append(errs, err)
	} else if err != nil {
		// Callers will learn it from the connection; the TTL clears the rest.
		log.Warn("the service could not leave the registry", "service", run.name, "error", err)
	}
	unsubscribed := make(chan error, 1)
	go func() {
		unsubscribed <- within(ctx, "the broker's Unsubscribe", func() error { return s.unsubscribe(ctx) })
	}()
	if err := pause(ctx, run.opts.DrainDelay); err != nil {
		errs = append(errs, fmt.Errorf("the drain delay of %v was cut short: the StopTimeout is %v", run.opts.DrainDelay, run.opts.StopTimeout))
	}
	// ... those who come all the same are refused, and those who are here are
	// finished.
	if err := run.listener.Shutdown(ctx); err != nil {
		errs = append(errs, fmt.Errorf("calls under way were cut off after %v%s: %w", time.Since(began).Round(time.Millisecond), s.underWay(), err))
	}
	errs = append(errs, <-unsubscribed)
	if run.opts.wait != nil {
		errs = append(errs, waitGroup(ctx, run.opts.wait, began))
	}
	disconnect := func() error { return run.opts.Broker.Disconnect(ctx) }
	if err := within(ctx, "the broker's Disconnect", disconnect); err != nil {
		errs = append(errs, fmt.Errorf("broker: %w", err))
	}
	run.accept.Wait()
	s.disown()
	s.mu.Lock()
	s.state = stopped
	s.mu.Unlock()
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("server: stop %s: %w", run.name, err)
	}
	log.Info("stopped", "service", run.name, "took", time.Since(began).Round(time.Millisecond))
	return nil
}

// underWay lists the calls whose handlers still run.
func (s *server) underWay() string {
	var list []string
	for _, e := range s.Stats() {
		if e.InFlight > 0 {
			list = append(list, fmt.Sprintf("%d of %s", e.InFlight, e.Name))
		}
	}
	if len(list) == 0 {
		return ""
	}
	return " (" + strings.Join(list, ", ") + ")"
}

// leave takes the node out of the registry.
func leave(ctx context.Context, run *running) error {
	err := run.opts.Registry.Deregister(ctx, run.service)
	if errors.Is(err, registry.ErrReadOnly) {
		return nil
	}
	return err
}

// unsubscribe ends all subscriptions, and waits for their handlers.
func (s *server) unsubscribe(ctx context.Context) error {
	s.mu.Lock()
	var active []broker.Subscriber
	for _, n := range s.subs {
		if n.active != nil {
			active = append(active, n.active)
			n.active = nil
		}
	}
	s.mu.Unlock()
	errs := make([]error, len(active))
	var group sync.WaitGroup
	for i, a := range active {
		group.Go(func() {
			if err := a.Unsubscribe(ctx); err != nil {
				errs[i] = fmt.Errorf("unsubscribe from %s: %w", a.Topic(), err)
			}
		})
	}
	group.Wait()
	return errors.Join(errs...)
}

func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// errStuck is wrapped by the errors of within that are not the function's own.
var errStuck = errors.New("it has not returned after the end of its context, and is not waited for")

// stuckGrace is how long a function has to return once its context has ended.
const stuckGrace = 100 * time.Millisecond

// within calls a function of a part that the program gave. It goes on without
// it when the function does not heed the end of ctx; the function's goroutine
// then ends when the function does.
func within(ctx context.Context, part string, f func() error) error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	grace := time.NewTimer(stuckGrace)
	defer grace.Stop()
	select {
	case err := <-done:
		return err
	case <-grace.C:
		return fmt.Errorf("%s: %w", part, errStuck)
	}
}

// waitGroup waits for a group that the program gave.
func waitGroup(ctx context.Context, wg *sync.WaitGroup, began time.Time) error {
	done := make(chan struct{})
	go func() { // ends with the program's own work, which cannot be cut off
		wg.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("the WaitGroup of server.Wait was not done %v after Stop began: %w", time.Since(began).Round(time.Millisecond), ctx.Err())
	}
}
