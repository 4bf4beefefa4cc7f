package client_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-9a4e2794/micro/client"
	microerrors "github.com/seed-9a4e2794/micro/errors"
	"github.com/seed-9a4e2794/micro/registry"
	"github.com/seed-9a4e2794/micro/transport"
)

// failing is a call wrapper that ends attempts with an error, without the wire,
// and notes where they went.
type failing struct {
	mu    sync.Mutex
	err   func(n int) error // nil is the real call
	nodes []string
	times []time.Time
}

func (f *failing) wrap(next client.CallFunc) client.CallFunc {
	return func(ctx context.Context, node *registry.Node, req client.Request, rsp any, opts client.CallOptions) error {
		f.mu.Lock()
		n := len(f.nodes)
		f.nodes = append(f.nodes, node.Id)
		f.times = append(f.times, time.Now())
		f.mu.Unlock()
		if err := f.err(n); err != nil {
			return err
		}
		return next(ctx, node, req, rsp, opts)
	}
}

func always(err error) func(int) error { return func(int) error { return err } }

var (
	errRefusedTest = microerrors.Refuse("test", microerrors.CodeUnavailable, "full")
	errLostTest    = fmt.Errorf("test: %w", transport.ErrLost)
)

func TestOnlyWhatSurelyWasNotExecutedIsTriedAgain(t *testing.T) {
	for _, k := range []struct {
		name string
		err  error
		opts []client.CallOption
		want int
	}{
		{"refused", errRefusedTest, nil, 2},
		{"unreachable", fmt.Errorf("test: %w", transport.ErrUnreachable), nil, 2},
		{"lost", errLostTest, nil, 1},
		{"lost, idempotent", errLostTest, []client.CallOption{client.WithIdempotent()}, 2},
		{"handler's 500", microerrors.InternalServerError("greeter", "no"), nil, 1},
		{"handler's 500, idempotent", microerrors.InternalServerError("greeter", "no"), []client.CallOption{client.WithIdempotent()}, 1},
		{"deadline", context.DeadlineExceeded, nil, 1},
		{"RetryOnError of a 500", microerrors.InternalServerError("greeter", "no"), []client.CallOption{client.WithRetry(client.RetryOnError)}, 2},
		{"RetryOnError of a 408", microerrors.Timeout("greeter", "no"), []client.CallOption{client.WithRetry(client.RetryOnError)}, 2},
		{"RetryOnError of a 404", microerrors.NotFound("greeter", "no"), []client.CallOption{client.WithRetry(client.RetryOnError)}, 1},
		{"RetryOnError of a lost connection", errLostTest, []client.CallOption{client.WithRetry(client.RetryOnError)}, 2},
		{"RetryAlways", microerrors.NotFound("greeter", "no"), []client.CallOption{client.WithRetry(client.RetryAlways)}, 2},
		{"no retries", errRefusedTest, []client.CallOption{client.WithRetries(0)}, 1},
		{"three retries", errRefusedTest, []client.CallOption{client.WithRetries(3)}, 4},
		{"a retry function that fails", errRefusedTest, []client.CallOption{client.WithRetry(func(context.Context, client.Request, int, error) (bool, error) {
			return true, errors.New("do not ask me")
		})}, 1},
	} {
		t.Run(k.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				for _, n := range []string{"a", "b", "c"} {
					w.node(t, n)
				}
				f := &failing{err: always(k.err)}
				c := w.client(t)
				_, err := ask(t.Context(), c, "Greeter.Hello", "", append(k.opts, client.WithCallWrapper(f.wrap))...)
				if err == nil || len(f.nodes) != k.want {
					t.Fatalf("%d attempts, want %d: %v", len(f.nodes), k.want, err)
				}
				for i := 1; i < len(f.nodes); i++ {
					if f.nodes[i] == f.nodes[i-1] {
						t.Errorf("an attempt went to the same node again: %v", f.nodes)
					}
				}
				if strings.Contains(k.name, "a retry function") {
					want(t, err, "do not ask me")
				}
			})
		})
	}
}

func TestRefusedCallIsExecutedOnceAndElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		var a, b atomic.Int64
		w.serve(t, "a", answering(&a, well))
		w.serve(t, "b", answering(&b, well))
		c := w.client(t)
		w.transport.onDial(unreachable("a"))
		for range 100 {
			if got, err := ask(t.Context(), c, "Greeter.Hello", "Ada"); err != nil || got != "Hello Ada" {
				t.Fatalf("got %q, %v", got, err)
			}
		}
		if a.Load() != 0 || b.Load() != 100 {
			t.Errorf("executed %d and %d times", a.Load(), b.Load())
		}
	})
}

func TestWhatTheHandlerReturnsAfterAnAttemptThatFailedStaysWhatItIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.node(t, "a")
		teapot := microerrors.New("greeter", "short and stout", 418)
		for name, opts := range map[string][]client.CallOption{
			"not tried again": nil, "and tried again": {client.WithRetry(client.RetryAlways), client.WithRetries(2)},
		} {
			f := &failing{err: func(n int) error {
				if n == 0 {
					return errRefusedTest
				}
				return teapot
			}}
			_, err := ask(t.Context(), w.client(t), "Greeter.Hello", "", append(opts, client.WithCallWrapper(f.wrap))...)
			var e *microerrors.Error
			if !errors.As(err, &e) || e.Id != "greeter" || e.Code != 418 || e.Detail != "short and stout" || errors.Is(err, microerrors.ErrRefused) {
				t.Errorf("%s: got %#v", name, err)
			}
		}
	})
}

func TestCallThatMayHaveBeenExecutedIsNeverReportedAsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.node(t, "a")
		f := &failing{err: func(n int) error { return []error{errLostTest, errRefusedTest}[n] }}
		_, err := ask(t.Context(), w.client(t), "Greeter.Hello", "", client.WithIdempotent(), client.WithCallWrapper(f.wrap))
		if errors.Is(err, microerrors.ErrRefused) || !errors.Is(err, transport.ErrLost) || len(attempts(t, err)) != 2 {
			t.Errorf("got %v", err)
		}
	})
}

func TestBudgetBoundsFurtherAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.node(t, "a")
		f := &failing{err: always(errRefusedTest)}
		c := w.client(t, client.WrapCall(f.wrap), client.Backoff(func(context.Context, client.Request, int) (time.Duration, error) { return 0, nil }))
		// At one moment: ten, and a tenth of the calls.
		const calls = 1000
		var spent error
		for range calls {
			if _, err := ask(t.Context(), c, "Greeter.Hello", ""); strings.Contains(err.Error(), "budget") {
				spent = err
			}
		}
		if again := len(f.nodes) - calls; again < 100 || again > 111 {
			t.Errorf("%d calls at once made %d further attempts", calls, again)
		}
		want(t, spent, "the retry budget is spent")
		var tried *client.Tried
		if !errors.As(spent, &tried) || !tried.Spent || !errors.Is(spent, microerrors.ErrRefused) {
			t.Errorf("got %v", spent)
		}
		// Few calls: ten a second.
		f.nodes = nil
		for range 1000 {
			<-time.After(20 * time.Millisecond)
			_, _ = ask(t.Context(), c, "Greeter.Hello", "")
		}
		if again := len(f.nodes) - 1000; again < 290 || again > 311 {
			t.Errorf("1000 calls in 20 seconds made %d further attempts, want 10 a second and a tenth of the calls", again)
		}
	})
}

func TestAttemptsAreSpacedAtRandomAndAFunctionMaySayHow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.node(t, "a")
		f := &failing{err: always(errRefusedTest)}
		c := w.client(t, client.WrapCall(f.wrap), client.Retries(8))
		_, _ = ask(t.Context(), c, "Greeter.Hello", "")
		for i := 1; i < len(f.times); i++ {
			if gap, most := f.times[i].Sub(f.times[i-1]), min(4*time.Millisecond<<i, 200*time.Millisecond); gap > most {
				t.Errorf("the pause before attempt %d is %v, more than %v", i, gap, most)
			}
		}
		f.times = nil
		var asked []int
		began := time.Now()
		_, _ = ask(t.Context(), c, "Greeter.Hello", "", client.WithRetries(2), client.WithBackoff(func(_ context.Context, req client.Request, n int) (time.Duration, error) {
			asked = append(asked, n)
			if req.Endpoint() != "Greeter.Hello" {
				t.Errorf("asked for %s", req.Endpoint())
			}
			return time.Duration(n) * 100 * time.Millisecond, nil
		}))
		if fmt.Sprint(asked) != "[0 1 2]" || len(f.times) != 3 || f.times[2].Sub(began) != 300*time.Millisecond {
			t.Errorf("asked %v, attempts at %v", asked, f.times)
		}
		_, err := ask(t.Context(), c, "Greeter.Hello", "", client.WithBackoff(func(context.Context, client.Request, int) (time.Duration, error) {
			return 0, errors.New("not now")
		}))
		want(t, err, "not now")
	})
}

func TestRequestTimeoutSpansAllAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.node(t, "a")
		f := &failing{err: always(errRefusedTest)}
		c := w.client(t, client.WrapCall(f.wrap), client.RequestTimeout(time.Second), client.Retries(100),
			client.Backoff(func(_ context.Context, _ client.Request, n int) (time.Duration, error) {
				return 300 * time.Millisecond, nil
			}))
		began := time.Now()
		_, err := ask(t.Context(), c, "Greeter.Hello", "")
		if d := time.Since(began); d > time.Second || len(f.nodes) != 3 {
			t.Errorf("it took %v and %d attempts", d, len(f.nodes))
		}
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		want(t, err, "full; ", "the next attempt would be in 300ms")
	})
}

func TestDeadlinesReachTheServerAndEndTheCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		var n atomic.Int64
		var left time.Duration
		ended := make(chan error, 1)
		w.serve(t, "a", answering(&n, func(ctx context.Context, _ *Ask) (*Answer, error) {
			d, _ := ctx.Deadline()
			left = time.Until(d)
			<-ctx.Done()
			ended <- ctx.Err()
			return nil, ctx.Err()
		}))
		c := w.client(t)
		short, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		for _, k := range []struct {
			ctx  context.Context
			opts []client.CallOption
			want time.Duration
		}{
			{t.Context(), nil, client.DefaultRequestTimeout},
			{t.Context(), []client.CallOption{client.WithRequestTimeout(time.Second)}, time.Second},
			{short, []client.CallOption{client.WithRequestTimeout(time.Minute)}, 2 * time.Second},
		} {
			if k.ctx == short { // its time runs from here
				short, cancel = context.WithTimeout(t.Context(), 2*time.Second)
				defer cancel()
				k.ctx = short
			}
			began := time.Now()
			_, err := ask(k.ctx, c, "Greeter.Hello", "", k.opts...)
			took := time.Since(began)
			var e *microerrors.Error
			if !errors.Is(err, context.DeadlineExceeded) || !errors.As(err, &e) || e.Code != 408 || e.Detail == "" {
				t.Errorf("got %v", err)
			}
			if err := <-ended; err == nil {
				t.Error("the handler's context did not end")
			}
			if took != k.want || left != k.want {
				t.Errorf("it ended after %v, the handler had %v, want %v", took, left, k.want)
			}
		}
		if n.Load() != 3 {
			t.Errorf("executed %d times", n.Load())
		}
	})
}

func TestCancelEndsTheCallHereAndThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		var n atomic.Int64
		ended := make(chan error, 1)
		w.serve(t, "a", answering(&n, func(ctx context.Context, _ *Ask) (*Answer, error) {
			<-ctx.Done()
			ended <- ctx.Err()
			return nil, nil
		}))
		ctx, cancel := context.WithCancel(t.Context())
		result := make(chan error, 1)
		c := w.client(t, client.Retry(client.RetryAlways))
		go func() {
			_, err := ask(ctx, c, "Greeter.Hello", "", client.WithRequestTimeout(0))
			result <- err
		}()
		<-time.After(time.Hour) // no time limit of its own
		cancel()
		if err := <-result; !errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		if err := <-ended; err != context.Canceled || n.Load() != 1 {
			t.Errorf("the handler saw %v, executed %d times", err, n.Load())
		}
	})
}
