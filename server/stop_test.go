package server_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-9a4e2794/micro/client"
	microerrors "github.com/seed-9a4e2794/micro/errors"
	"github.com/seed-9a4e2794/micro/server"
)

// withAddress calls one node.
func withAddress(s server.Server) client.CallOption { return client.WithAddress(s.Options().Address) }

// held is a handler that waits until it is let go.
func held(release chan struct{}) server.Handler {
	return server.Typed("Greeter.Held", func(context.Context, *Ask) (*Answer, error) {
		<-release
		return &Answer{"done"}, nil
	})
}

func TestStopFinishesWhatIsUnderWayAndRefusesWhatComes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.registry.remote = true
		release := make(chan struct{})
		s := w.server(server.Address("memory:1"))
		must(t, s.Handle(hello()))
		must(t, s.Handle(held(release)))
		events := make(chan struct{})
		must(t, s.Subscribe(s.NewSubscriber("t", func(context.Context, *Ask) error { <-events; return nil })))
		must(t, s.Start())
		c := w.client(t)
		const calls = 20
		results := make(chan error, calls)
		for range calls {
			go func() {
				_, err := ask(c, "Greeter.Held", "", client.WithRequestTimeout(time.Minute))
				results <- err
			}()
		}
		publish(t, c, "t", &Ask{})
		synctest.Wait()
		began := time.Now()
		stopped := make(chan error, 1)
		go func() { stopped <- s.Stop() }()
		synctest.Wait()
		if w.registry.nodes() != 0 || health(s).Serving {
			t.Error("the node has not left at once")
		}
		// Callers who have not heard of it are still served.
		if got, err := ask(c, "Greeter.Hello", "Ada", withAddress(s)); err != nil || got != "Hello Ada" {
			t.Errorf("in the drain delay: %q, %v", got, err)
		}
		<-time.After(server.DefaultDrainDelay)
		synctest.Wait()
		_, err := ask(c, "Greeter.Hello", "Ada", client.WithAddress("memory:1"), client.WithRetries(0))
		if err == nil || !client.RetryRefused(err) {
			t.Errorf("after the drain delay: %v", err)
		}
		<-time.After(3 * time.Second)
		select {
		case err := <-stopped:
			t.Fatalf("stopped before the calls had ended: %v", err)
		default:
		}
		close(release)
		for range calls {
			if err := <-results; err != nil {
				t.Errorf("a call under way: %v", err)
			}
		}
		synctest.Wait()
		if w.broker.disconnected.Load() != 0 {
			t.Error("the broker was disconnected while an event was being handled")
		}
		close(events)
		must(t, <-stopped)
		if d := time.Since(began); d != 5*time.Second {
			t.Errorf("Stop took %v", d)
		}
		if w.broker.disconnected.Load() != 1 {
			t.Error("the broker was not disconnected")
		}
	})
}

func TestStopDoesNotWaitForOthersOnThisMachine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		s := w.server()
		must(t, s.Start())
		began := time.Now()
		must(t, s.Stop())
		if d := time.Since(began); d != 0 {
			t.Errorf("Stop took %v", d)
		}
	})
}

func TestStopTimeoutCutsOffAHandlerThatNeverReturnsAndSaysWhich(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		release := make(chan struct{})
		s := w.server(server.StopTimeout(3 * time.Second))
		must(t, s.Handle(held(release)))
		must(t, s.Start())
		c := w.client(t)
		result := make(chan error, 1)
		go func() {
			_, err := ask(c, "Greeter.Held", "", client.WithRequestTimeout(time.Minute))
			result <- err
		}()
		synctest.Wait()
		began := time.Now()
		err := s.Stop()
		if d := time.Since(began); d != 3*time.Second {
			t.Errorf("Stop took %v", d)
		}
		want(t, err, "stop greeter", "cut off after 3s", "1 of Greeter.Held")
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		if err := <-result; err == nil || errors.Is(err, microerrors.ErrRefused) {
			t.Errorf("the call that was cut off ended with %v", err)
		}
		close(release)
	})
}

func TestDrainDelayLongerThanStopTimeoutSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		s := w.server(server.StopTimeout(time.Second), server.DrainDelay(time.Minute))
		must(t, s.Start())
		want(t, s.Stop(), "drain delay of 1m0s", "StopTimeout is 1s")
	})
}

func TestStopWaitsForTheProgramsOwnWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		var wg sync.WaitGroup
		s := w.server(server.Wait(&wg))
		must(t, s.Start())
		wg.Add(1)
		go func() {
			<-time.After(4 * time.Second)
			wg.Done()
		}()
		began := time.Now()
		must(t, s.Stop())
		if d := time.Since(began); d != 4*time.Second {
			t.Errorf("Stop took %v", d)
		}
	})
}

func TestServerStartsAndStopsAgainAndAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		s := w.server()
		box := new(inbox)
		must(t, s.Handle(hello()))
		must(t, s.Subscribe(s.NewSubscriber("t", func(_ context.Context, e *Ask) error { box.add("x", e.Name); return nil })))
		must(t, s.Stop()) // before any start it does nothing
		c := w.client(t)
		for range 5 {
			must(t, s.Start())
			want(t, s.Start(), "started and not stopped")
			synctest.Wait() // the client hears of the new node
			if got, err := ask(c, "Greeter.Hello", "Ada"); err != nil || got != "Hello Ada" {
				t.Errorf("got %q, %v", got, err)
			}
			must(t, w.broker.Connect(t.Context()))
			publish(t, c, "t", &Ask{"e"})
			synctest.Wait()
			var group sync.WaitGroup
			for range 3 { // whoever calls it, Stop returns when it has stopped
				group.Go(func() {
					must(t, s.Stop())
					if w.registry.nodes() != 0 || health(s).Serving {
						t.Error("Stop returned before the end")
					}
				})
			}
			group.Wait()
		}
		if got := box.of("x"); got != "e,e,e,e,e" {
			t.Errorf("the subscriber got %s", got)
		}
	})
}

func TestNodeRefusesCallsThatAreMeantForAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		runs := 0
		s := w.serve(t, []server.Handler{server.Typed("Greeter.Hello", func(context.Context, *Ask) (*Answer, error) {
			runs++
			return nil, nil
		})}, server.Name("other"))
		// The registry still has a node of greeter at the address.
		stale := *w.registry.last
		stale.Name = "greeter"
		must(t, w.registry.Register(t.Context(), &stale))
		_, err := ask(w.client(t), "Greeter.Hello", "")
		want(t, err, `node of \"other\", not of \"greeter\"`, s.Options().Address)
		if !errors.Is(err, microerrors.ErrRefused) || runs != 0 {
			t.Errorf("executed %d times, %v", runs, err)
		}
		// Who gives the address means that node.
		if _, err := ask(w.client(t), "Greeter.Hello", "", withAddress(s)); err != nil || runs != 1 {
			t.Errorf("by address: %v", err)
		}
	})
}
