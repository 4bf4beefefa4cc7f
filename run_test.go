package micro_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-9a4e2794/micro"
	"github.com/seed-9a4e2794/micro/internal/leaktest"
	"github.com/seed-9a4e2794/micro/transport"
)

func TestHooksRunInOrderAroundStartAndStop(t *testing.T) {
	leaktest.Check(t)
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		var tr trace
		lis := &tracing{Transport: w.transport, trace: &tr}
		ctx, cancel := context.WithCancel(context.Background())
		stopFault, afterFault := errors.New("before stop failed"), errors.New("after stop failed")
		s := micro.NewService(w.options(micro.Name("hooked"), micro.Transport(lis), micro.Context(ctx),
			micro.BeforeStart(tr.hook("before-start-1", nil)), micro.BeforeStart(tr.hook("before-start-2", nil)),
			micro.AfterStart(tr.hook("after-start-1", nil)),
			micro.AfterStart(func() error {
				tr.note("after-start-2:" + strings.Join(w.registered(t), ","))
				cancel()
				return nil
			}),
			micro.BeforeStop(func() error { tr.note("before-stop-1:" + strings.Join(w.registered(t), ",")); return stopFault }),
			micro.BeforeStop(tr.hook("before-stop-2", nil)),
			micro.AfterStop(tr.hook("after-stop-1", afterFault)),
			micro.AfterStop(func() error { tr.note("after-stop-2:" + strings.Join(w.registered(t), ",")); return nil }))...)
		if err := s.Init(); err != nil {
			t.Fatal(err)
		}
		err := s.Run()
		if !errors.Is(err, stopFault) || !errors.Is(err, afterFault) {
			t.Errorf("Run returned %v, want both hooks' errors", err)
		}
		want := "before-start-1 before-start-2 listen after-start-1 after-start-2:hooked " +
			"before-stop-1:hooked before-stop-2 shutdown after-stop-1 after-stop-2:"
		if got := tr.String(); got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
	})
}

// tracing is a transport that notes listening and the end of it.
type tracing struct {
	transport.Transport
	trace *trace
}

func (t *tracing) Listen(ctx context.Context, addr string) (transport.Listener, error) {
	t.trace.note("listen")
	l, err := t.Transport.Listen(ctx, addr)
	return &tracingListener{l, t.trace}, err
}

type tracingListener struct {
	transport.Listener
	trace *trace
}

func (l *tracingListener) Shutdown(ctx context.Context) error {
	l.trace.note("shutdown")
	return l.Listener.Shutdown(ctx)
}

// anHour returns a context that ends a Run which does not end by itself, in
// the time of a bubble.
func anHour(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	t.Cleanup(cancel)
	return ctx
}

func TestAnErrorBeforeStartEndsRunBeforeTheServerListens(t *testing.T) {
	leaktest.Check(t)
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		var tr trace
		fault := errors.New("no database")
		s := micro.NewService(w.options(micro.Context(anHour(t)), micro.Transport(&tracing{w.transport, &tr}),
			micro.BeforeStart(tr.hook("before-start-1", nil)), micro.BeforeStart(tr.hook("before-start-2", fault)),
			micro.BeforeStart(tr.hook("before-start-3", nil)), micro.AfterStart(tr.hook("after-start", nil)), micro.AfterStop(tr.hook("after-stop", nil)))...)
		if err := s.Run(); !errors.Is(err, fault) {
			t.Errorf("Run returned %v", err)
		}
		if got := tr.String(); got != "before-start-1 before-start-2" {
			t.Errorf("got %q", got)
		}
		if got := w.registered(t); len(got) != 0 {
			t.Errorf("registered: %v", got)
		}
	})
}

func TestAnErrorAfterStartStopsTheServer(t *testing.T) {
	leaktest.Check(t)
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		var tr trace
		fault := errors.New("no cache")
		s := micro.NewService(w.options(micro.Name("after"), micro.Context(anHour(t)), micro.Transport(&tracing{w.transport, &tr}),
			micro.AfterStart(func() error { tr.note(strings.Join(w.registered(t), ",")); return fault }),
			micro.AfterStart(tr.hook("after-start-2", nil)))...)
		if err := s.Run(); !errors.Is(err, fault) {
			t.Errorf("Run returned %v", err)
		}
		if got := tr.String(); got != "listen after shutdown" {
			t.Errorf("got %q", got)
		}
		if got := w.registered(t); len(got) != 0 {
			t.Errorf("registered: %v", got)
		}
	})
}

func TestAnAddressInUseIsTheErrorOfRun(t *testing.T) {
	leaktest.Check(t)
	runtimeDir(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s := micro.NewService(micro.Args(nil), micro.Address(l.Addr().String()), micro.HandleSignal(false))
	if err := s.Run(); err == nil || !strings.Contains(err.Error(), l.Addr().String()) {
		t.Errorf("Run returned %v", err)
	}
}

func TestTheEndOfTheContextEndsRunWithCallsFinished(t *testing.T) {
	leaktest.Check(t)
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		ctx, cancel := context.WithCancel(context.Background())
		started, entered := make(chan struct{}), make(chan struct{})
		s := micro.NewService(w.options(micro.Name("slow"), micro.Context(ctx), micro.AfterStart(func() error { close(started); return nil }))...)
		if err := micro.Handle(s, "Slow.Wait", func(context.Context, *HelloRequest) (*HelloResponse, error) {
			close(entered)
			<-time.After(time.Second)
			return &HelloResponse{"done"}, nil
		}); err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- s.Run() }()
		<-started
		caller := w.run(t, micro.Name("caller"))
		called := make(chan error, 1)
		go func() {
			rsp, err := micro.Call[HelloResponse](context.Background(), caller.Client(), "slow", "Slow.Wait", &HelloRequest{})
			if err == nil && rsp.Message != "done" {
				err = fmt.Errorf("got %q", rsp.Message)
			}
			called <- err
		}()
		<-entered
		began := time.Now()
		cancel()
		if err := <-called; err != nil {
			t.Errorf("the call under way: %v", err)
		}
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("Run took %v to end after a call of 1s", took)
		}
		if err := s.Run(); err == nil || !strings.Contains(err.Error(), "make a new one") {
			t.Errorf("the second Run: %v", err)
		}
	})
}
