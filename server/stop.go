package server

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/seed-9a4e2794/micro/registry"
)

func (s *server) Stop() error {
	s.mu.Lock()
	if s.state != serving {
		s.mu.Unlock()
		return nil
	}
	s.state = stopping
	run := s.run
	subs := append([]*subscription(nil), s.subs...)
	s.mu.Unlock()
	log := s.log()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(run.ctx), run.opts.StopTimeout)
	defer cancel()
	began := time.Now()

	// Nobody is sent here any more ...
	run.cancel()
	run.loop.Wait() // or a registration under way would come after the leaving
	var errs []error
	if err := leave(ctx, run); err != nil {
		// Callers will learn it from the connection; the TTL clears the rest.
		log.Warn("the service could not leave the registry", "service", run.name, "error", err)
	}
	unsubscribed := make(chan error, 1)
	go func() { unsubscribed <- unsubscribe(ctx, subs) }()
	if err := pause(ctx, run.opts.DrainDelay); err != nil {
		errs = append(errs, err)
	}
	// ... those who come all the same are refused, and those who are here are
	// finished.
	if err := run.listener.Shutdown(ctx); err != nil {
		errs = append(errs, fmt.Errorf("calls under way were cut off after %v: %w", time.Since(began).Round(time.Millisecond), err))
	}
	errs = append(errs, <-unsubscribed)
	if run.opts.wait != nil {
		errs = append(errs, waitGroup(ctx, run.opts.wait))
	}
	if err := run.opts.Broker.Disconnect(ctx); err != nil {
		errs = append(errs, fmt.Errorf("broker: %w", err))
	}
	run.accept.Wait()
	s.disown()
	s.mu.Lock()
	s.state = stopped
	for _, n := range s.subs {
		n.active = nil
	}
	s.mu.Unlock()
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("server: stop %s: %w", run.name, err)
	}
	log.Info("stopped", "service", run.name, "took", time.Since(began).Round(time.Millisecond))
	return nil
}

// leave takes the node out of the registry.
func leave(ctx context.Context, run *running) error {
	ctx, cancel := context.WithTimeout(ctx, partTimeout)
	defer cancel()
	err := run.opts.Registry.Deregister(ctx, run.service)
	if errors.Is(err, registry.ErrReadOnly) {
		return nil
	}
	return err
}

// unsubscribe ends all subscriptions, and waits for their handlers.
func unsubscribe(ctx context.Context, subs []*subscription) error {
	errs := make([]error, len(subs))
	var group sync.WaitGroup
	for i, n := range subs {
		if n.active == nil {
			continue
		}
		group.Go(func() {
			if err := n.active.Unsubscribe(ctx); err != nil {
				errs[i] = fmt.Errorf("unsubscribe from %s: %w", n.sub.topic, err)
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

// waitGroup waits for a group that the program gave.
func waitGroup(ctx context.Context, wg *sync.WaitGroup) error {
	done := make(chan struct{})
	go func() { // ends with the program's own work, which cannot be cut off
		wg.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waiting for the program's own work: %w", ctx.Err())
	}
}
