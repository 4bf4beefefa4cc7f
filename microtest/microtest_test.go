package microtest_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-9a4e2794/micro"
	"github.com/seed-9a4e2794/micro/client"
	"github.com/seed-9a4e2794/micro/internal/leaktest"
	"github.com/seed-9a4e2794/micro/microtest"
	"github.com/seed-9a4e2794/micro/registry"
	"github.com/seed-9a4e2794/micro/server"
)

type Slow struct{ takes time.Duration }

func (s *Slow) Work(ctx context.Context, _ *SumRequest, rsp *SumResponse) error {
	timer := time.NewTimer(s.takes)
	defer timer.Stop()
	select {
	case <-timer.C:
		rsp.Total = 1
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func sum(ctx context.Context, c client.Client, numbers ...int) (int, error) {
	rsp, err := micro.Call[SumResponse](ctx, c, "calc", "Calc.Sum", &SumRequest{Numbers: numbers})
	if err != nil {
		return 0, err
	}
	return rsp.Total, nil
}

// inAndOut runs a test outside and inside a bubble.
func inAndOut(t *testing.T, test func(t *testing.T)) {
	t.Run("outside a bubble", func(t *testing.T) {
		leaktest.Check(t)
		test(t)
	})
	t.Run("in a bubble", func(t *testing.T) { synctest.Test(t, test) })
}

func TestAServiceIsCalledWhenStartReturns(t *testing.T) {
	inAndOut(t, func(t *testing.T) {
		net := microtest.New(t)
		calc := net.NewService(micro.Name("calc"))
		if err := micro.RegisterHandler(calc.Server(), new(Calc)); err != nil {
			t.Fatal(err)
		}
		net.Start(t, calc)
		if got, err := sum(t.Context(), net.Client(t), 1, 2, 3); err != nil || got != 6 {
			t.Errorf("got %d, %v, want 6", got, err)
		}
		found, err := net.Registry().GetService(t.Context(), "calc")
		if err != nil || len(found) != 1 || len(found[0].Endpoints) != 1 || found[0].Endpoints[0].Name != "Calc.Sum" {
			t.Errorf("registered: %v, %v, want one service with Calc.Sum", found, err)
		}
	})
}

func TestHandlersMayBeRegisteredWithARunningService(t *testing.T) {
	inAndOut(t, func(t *testing.T) {
		net := microtest.New(t)
		calc := net.Service(t, micro.Name("calc"))
		if err := micro.RegisterHandler(calc.Server(), new(Calc)); err != nil {
			t.Fatal(err)
		}
		caller := net.Service(t, micro.Name("caller"))
		if got, err := sum(t.Context(), caller.Client(), 4, 5); err != nil || got != 9 {
			t.Errorf("got %d, %v, want 9", got, err)
		}
	})
}

type event struct {
	N int `json:"n"`
}

func TestEventsReachEveryServiceOnceAndOneMemberOfAQueue(t *testing.T) {
	inAndOut(t, func(t *testing.T) {
		const events = 20
		net := microtest.New(t)
		var mu sync.Mutex
		got := make(map[string]int)
		arrived := make(chan struct{}, 4*events)
		note := func(who string) func(context.Context, *event) error {
			return func(context.Context, *event) error {
				mu.Lock()
				got[who]++
				mu.Unlock()
				arrived <- struct{}{}
				return nil
			}
		}
		for i := range 2 {
			s := net.NewService(micro.Name("subscriber"))
			if err := micro.Subscribe(s, "numbers", note(fmt.Sprint("node ", i))); err != nil {
				t.Fatal(err)
			}
			if err := micro.Subscribe(s, "numbers", note("queue"), server.SubscriberQueue("shared")); err != nil {
				t.Fatal(err)
			}
			net.Start(t, s)
		}
		publisher := net.Client(t)
		for i := range events {
			if err := micro.Publish(t.Context(), publisher, "numbers", &event{i}); err != nil {
				t.Fatal(err)
			}
		}
		deadline := time.After(10 * time.Second)
		for i := range 3 * events {
			select {
			case <-arrived:
			case <-deadline:
				t.Fatalf("%d of %d deliveries have come", i, 3*events)
			}
		}
		mu.Lock()
		defer mu.Unlock()
		if got["node 0"] != events || got["node 1"] != events || got["queue"] != events {
			t.Errorf("got %v, want %d each", got, events)
		}
	})
}

func TestTimePassesByItselfInABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := microtest.New(t)
		s := net.NewService(micro.Name("slow"))
		if err := micro.RegisterHandler(s.Server(), &Slow{takes: time.Hour}); err != nil {
			t.Fatal(err)
		}
		net.Start(t, s)
		c := net.Client(t)
		began := time.Now()
		_, err := micro.Call[SumResponse](t.Context(), c, "slow", "Slow.Work", &SumRequest{}, client.WithRequestTimeout(time.Minute))
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want a deadline that has passed", err)
		}
		if took := time.Since(began); took != time.Minute {
			t.Errorf("the call took %v, want 1m0s", took)
		}
		rsp, err := micro.Call[SumResponse](t.Context(), c, "slow", "Slow.Work", &SumRequest{}, client.WithRequestTimeout(2*time.Hour))
		if err != nil || rsp.Total != 1 {
			t.Errorf("got %v, %v, want the answer after an hour", rsp, err)
		}
		if took := time.Since(began); took != time.Hour+time.Minute {
			t.Errorf("both calls took %v, want 1h1m0s", took)
		}
	})
}

func TestARegistrationIsRenewedForADay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := microtest.New(t)
		calc := net.Service(t, micro.Name("calc"))
		if err := micro.RegisterHandler(calc.Server(), new(Calc)); err != nil {
			t.Fatal(err)
		}
		<-time.After(24 * time.Hour)
		if got, err := sum(t.Context(), net.Client(t), 7); err != nil || got != 7 {
			t.Errorf("got %d, %v, want 7", got, err)
		}
	})
}

func TestAStoppedServiceHasFinishedItsCallsAndLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := microtest.New(t)
		s := net.NewService(micro.Name("slow"))
		if err := micro.RegisterHandler(s.Server(), &Slow{takes: 3 * time.Second}); err != nil {
			t.Fatal(err)
		}
		net.Start(t, s)
		c := net.Client(t)
		answered := make(chan error, 1)
		go func() {
			_, err := micro.Call[SumResponse](t.Context(), c, "slow", "Slow.Work", &SumRequest{})
			answered <- err
		}()
		synctest.Wait() // the call is being served
		net.Stop(t, s)
		net.Stop(t, s) // again is nothing
		if err := <-answered; err != nil {
			t.Errorf("the call under way: %v", err)
		}
		if _, err := net.Registry().GetService(t.Context(), "slow"); !errors.Is(err, registry.ErrNotFound) {
			t.Errorf("after Stop the registry says %v", err)
		}
		_, err := micro.Call[SumResponse](t.Context(), c, "slow", "Slow.Work", &SumRequest{}, client.WithRequestTimeout(time.Second))
		if err == nil {
			t.Error("a call was answered after Stop")
		}
	})
}

func TestNetworksDoNotMeet(t *testing.T) {
	for _, name := range []string{"one", "two"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			net := microtest.New(t)
			other := microtest.New(t)
			calc := net.Service(t, micro.Name("calc"))
			if err := micro.RegisterHandler(calc.Server(), new(Calc)); err != nil {
				t.Fatal(err)
			}
			if _, err := sum(t.Context(), other.Client(t, client.RequestTimeout(100*time.Millisecond)), 1); !errors.Is(err, registry.ErrNotFound) {
				t.Errorf("from another network: %v, want a service that is not found", err)
			}
		})
	}
}

func TestFlagsAndEnvironmentDoNotReachANetwork(t *testing.T) {
	t.Setenv("MICRO_SERVER_NAME", "another")
	t.Setenv("MICRO_REGISTRY", "nonsense")
	net := microtest.New(t)
	if s := net.Service(t, micro.Name("calc")); s.Name() != "calc" {
		t.Errorf("the service is called %s", s.Name())
	}
}

// recorder is a test that notes how it failed instead of failing.
type recorder struct {
	*testing.T
	mu     sync.Mutex
	faults []string
}

type fatal struct{}

func (r *recorder) Errorf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.faults = append(r.faults, fmt.Sprintf(format, args...))
}

func (r *recorder) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	panic(fatal{})
}

// reports runs fn and returns how the test that it was given failed.
func (r *recorder) reports(fn func()) []string {
	func() {
		defer func() {
			if p := recover(); p != nil && p != (fatal{}) {
				panic(p)
			}
		}()
		fn()
	}()
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.faults
}

func TestAServiceThatDoesNotStartEndsTheTest(t *testing.T) {
	leaktest.Check(t)
	net := microtest.New(t)
	r := &recorder{T: t}
	got := r.reports(func() {
		net.Service(r, micro.Name("calc"), micro.BeforeStart(func() error { return errors.New("no disk") }))
	})
	if want := "microtest: calc: micro: before start: no disk"; len(got) != 1 || got[0] != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestAHookThatWaitsForEverEndsTheTest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := microtest.New(t)
		r := &recorder{T: t}
		release := make(chan struct{})
		defer close(release)
		got := r.reports(func() {
			net.Service(r, micro.Name("calc"), micro.BeforeStart(func() error { <-release; return nil }))
		})
		if want := "microtest: calc has not started after 30s: does a hook wait?"; len(got) != 1 || got[0] != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

func TestAContextThatEndsStopsAServiceWithoutAFault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := microtest.New(t)
		ctx, cancel := context.WithCancel(t.Context())
		stopped := make(chan struct{})
		net.Service(t, micro.Context(ctx), micro.AfterStop(func() error { close(stopped); return nil }))
		cancel()
		<-stopped
		net.Service(t, micro.Context(ctx)) // one that has ended before
	})
}

func TestStartingTwiceAndErrorsOfStopAreReported(t *testing.T) {
	net := microtest.New(t)
	r := &recorder{T: t}
	s := net.Service(r, micro.AfterStop(func() error { return errors.New("no flush") }))
	r.reports(func() { net.Start(r, s) })
	got := r.reports(func() { net.Stop(r, s) })
	want := []string{"microtest: go.micro.server has been started already", "microtest: go.micro.server: no flush"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
