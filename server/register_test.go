package server_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-9a4e2794/micro/registry"
	"github.com/seed-9a4e2794/micro/server"
)

func TestRegistrationIsRenewedAtItsIntervalGiveOrTakeATenth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.serve(t, []server.Handler{hello()}, server.RegisterInterval(30*time.Second), server.RegisterTTL(90*time.Second))
		<-time.After(time.Hour)
		times := w.registry.times()
		if n := len(times); n < 109 || n > 134 {
			t.Fatalf("registered %d times in an hour", n)
		}
		seen := make(map[time.Duration]bool)
		for i := 1; i < len(times); i++ {
			gap := times[i].Sub(times[i-1])
			seen[gap] = true
			if gap < 27*time.Second || gap > 33*time.Second {
				t.Errorf("renewed after %v", gap)
			}
		}
		if len(seen) < 50 {
			t.Errorf("only %d different pauses: no jitter", len(seen))
		}
	})
}

func TestNoIntervalRegistersOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.serve(t, []server.Handler{hello()}, server.RegisterInterval(0))
		<-time.After(time.Hour)
		if n := len(w.registry.times()); n != 1 {
			t.Errorf("registered %d times", n)
		}
	})
}

func TestFailingRegisterCheckKeepsTheNodeOutUntilItPasses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		var bad atomic.Bool
		bad.Store(true)
		s := w.serve(t, []server.Handler{hello()}, server.RegisterCheck(func(context.Context) error {
			if bad.Load() {
				return errors.New("the disk is full")
			}
			return nil
		}))
		if n := len(w.registry.times()); n != 0 {
			t.Errorf("registered %d times although the check fails", n)
		}
		want(t, health(s).Check, "the disk is full")
		bad.Store(false)
		<-time.After(time.Second)
		if w.registry.nodes() != 1 || health(s).Check != nil {
			t.Errorf("after the check passes: %d nodes, %v", w.registry.nodes(), health(s).Check)
		}
		bad.Store(true)
		<-time.After(34 * time.Second)
		if w.registry.nodes() != 0 {
			t.Error("the node is registered although the check fails again")
		}
		<-time.After(10 * time.Minute)
		bad.Store(false)
		<-time.After(34 * time.Second)
		if w.registry.nodes() != 1 {
			t.Error("the node is not registered again")
		}
		if n := w.log.count("check fails"); n != 2 {
			t.Errorf("two failures were logged %d times", n)
		}
	})
}

func TestRegistryThatIsDownAtStartDoesNotStopTheService(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.registry.fail(fmt.Errorf("etcd: %w", registry.ErrUnavailable))
		s := w.serve(t, []server.Handler{hello()})
		if !health(s).Serving || !errors.Is(health(s).Registry, registry.ErrUnavailable) {
			t.Errorf("health is %+v", health(s))
		}
		c := w.client(t)
		if got, err := ask(c, "Greeter.Hello", "Ada", withAddress(s)); err != nil || got != "Hello Ada" {
			t.Errorf("the service does not serve: %q, %v", got, err)
		}
		<-time.After(5 * time.Minute)
		times := w.registry.times()
		if len(times) < 12 || len(times) > 30 {
			t.Errorf("tried %d times in 5 minutes", len(times))
		}
		if first, last := times[1].Sub(times[0]), times[len(times)-1].Sub(times[len(times)-2]); first > 300*time.Millisecond || last < 20*time.Second {
			t.Errorf("the pauses go from %v to %v", first, last)
		}
		if n := w.log.count("cannot register"); n != 1 {
			t.Errorf("the outage was logged %d times", n)
		}
		w.registry.fail(nil)
		<-time.After(34 * time.Second)
		if w.registry.nodes() != 1 || health(s).Registry != nil {
			t.Errorf("afterwards: %d nodes, %v", w.registry.nodes(), health(s).Registry)
		}
		if n := w.log.count("is registered again"); n != 1 {
			t.Errorf("the end of the outage was logged %d times", n)
		}
	})
}

func TestRegistryThatDoesNotAnswerHoldsTheStartUpForAMomentOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		s := w.server(server.Registry(&silentRegistry{faultyRegistry: w.registry}))
		began := time.Now()
		must(t, s.Start())
		if d := time.Since(began); d > 4*time.Second {
			t.Errorf("Start took %v", d)
		}
		began = time.Now()
		must(t, s.Stop())
		if d := time.Since(began); d > 11*time.Second {
			t.Errorf("Stop took %v", d)
		}
	})
}

// silentRegistry never answers.
type silentRegistry struct{ *faultyRegistry }

func (*silentRegistry) Register(ctx context.Context, _ *registry.Service, _ ...registry.RegisterOption) error {
	<-ctx.Done()
	return ctx.Err()
}

func (*silentRegistry) Deregister(ctx context.Context, _ *registry.Service) error {
	<-ctx.Done()
	return ctx.Err()
}

func TestRegistryThatCannotBeWrittenIsNoProblem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.registry.fail(fmt.Errorf("static: %w", registry.ErrReadOnly))
		s := w.serve(t, []server.Handler{hello()})
		if health(s).Registry != nil {
			t.Errorf("health is %+v", health(s))
		}
	})
}

func TestBrokerThatIsDownAtStartIsTriedUntilItIsThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.broker.down.Store(true)
		s := w.server()
		box := new(inbox)
		must(t, s.Subscribe(s.NewSubscriber("t", func(_ context.Context, e *Ask) error { box.add("x", e.Name); return nil })))
		must(t, s.Handle(hello()))
		must(t, s.Start())
		defer func() { must(t, s.Stop()) }()
		c := w.client(t)
		if got, err := ask(c, "Greeter.Hello", "Ada"); err != nil || got != "Hello Ada" {
			t.Errorf("the service does not serve: %q, %v", got, err)
		}
		want(t, health(s).Broker, "unavailable")
		want(t, s.Subscribe(s.NewSubscriber("u", func(context.Context, *Ask) error { return nil })), "subscribe to u", "unavailable")
		<-time.After(5 * time.Minute)
		if n := w.broker.connects.Load(); n < 12 || n > 30 {
			t.Errorf("connected %d times in 5 minutes", n)
		}
		if n := w.log.count("the broker is not ready"); n != 1 {
			t.Errorf("the outage was logged %d times", n)
		}
		w.broker.down.Store(false)
		<-time.After(34 * time.Second)
		if err := health(s).Broker; err != nil {
			t.Errorf("afterwards: %v", err)
		}
		publish(t, c, "t", &Ask{"once"})
		synctest.Wait()
		if got := box.of("x"); got != "once" {
			t.Errorf("the subscriber got %q", got)
		}
	})
}
