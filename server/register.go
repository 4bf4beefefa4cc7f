package server

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/seed-9a4e2794/micro/registry"
)

// firstRetry is the first pause after a registration that failed; it doubles
// up to the register interval.
const firstRetry = 200 * time.Millisecond

// maxRetry is the longest pause where there is no interval.
const maxRetry = DefaultRegisterInterval

// register asks the check and then registers or leaves the registry. It
// reports whether all went well.
func (s *server) register(run *running, timeout time.Duration) bool {
	ctx, cancel := context.WithTimeout(run.ctx, timeout)
	defer cancel()
	var checked error
	if run.opts.RegisterCheck != nil {
		checked = run.opts.RegisterCheck(ctx)
	}
	s.mu.Lock()
	if s.state != serving || s.run != run {
		s.mu.Unlock()
		return true
	}
	first := s.checkUp == nil
	s.checkUp = checked
	s.healthChanged()
	s.mu.Unlock()
	if checked != nil {
		if first {
			s.log().Warn("the register check fails; the node leaves the registry until it passes", "service", run.name, "error", checked)
		}
		if err := run.opts.Registry.Deregister(ctx, run.service); err != nil && !errors.Is(err, registry.ErrReadOnly) {
			s.registered(run, fmt.Errorf("deregister: %w", err))
		}
		return false
	}
	if !first {
		s.log().Info("the register check passes again", "service", run.name)
	}
	full := *run.service
	full.Endpoints = s.endpoints()
	err := run.opts.Registry.Register(ctx, &full, registry.RegisterTTL(run.opts.RegisterTTL))
	if errors.Is(err, registry.ErrReadOnly) {
		err = nil // where the nodes are is configured
	}
	s.registered(run, err)
	return err == nil
}

// registered notes how a registration went, and logs when that changes.
func (s *server) registered(run *running, err error) {
	s.mu.Lock()
	before := s.regUp
	s.regUp = err
	s.healthChanged()
	s.mu.Unlock()
	switch {
	case err != nil && before == nil:
		s.log().Warn("the service cannot register; it serves and goes on trying", "service", run.name, "error", err)
	case err == nil && before != nil:
		s.log().Info("the service is registered again", "service", run.name)
	}
}

// endpoints returns what the service answers and receives.
func (s *server) endpoints() []*registry.Endpoint {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []*registry.Endpoint
	for _, h := range s.handled {
		if !h.Options().Internal {
			out = append(out, h.Endpoints()...)
		}
	}
	for _, n := range s.subs {
		if !n.sub.opts.Internal {
			out = append(out, n.sub.descs...)
		}
	}
	return out
}

// keepRegistered renews the registration until the server stops.
func (s *server) keepRegistered(run *running) {
	interval := run.opts.RegisterInterval
	pause := firstRetry
	s.mu.Lock()
	well := s.checkUp == nil && s.regUp == nil
	s.mu.Unlock()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		switch {
		case !well:
			timer.Reset(jitter(pause))
			limit := interval
			if limit <= 0 {
				limit = maxRetry
			}
			pause = min(2*pause, limit)
		case interval > 0:
			timer.Reset(jitter(interval))
			pause = firstRetry
		default:
			timer.Stop()
		}
		select {
		case <-timer.C:
		case <-run.renew:
		case <-run.ctx.Done():
			return
		}
		well = s.register(run, partTimeout)
	}
}

// jitter spreads d by a tenth either way, so that services started together
// do not go on registering together.
func jitter(d time.Duration) time.Duration {
	return d - d/10 + time.Duration(rand.Int64N(int64(d/5)+1))
}
