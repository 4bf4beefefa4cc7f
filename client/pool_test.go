package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-9a4e2794/micro/client"
	microerrors "github.com/seed-9a4e2794/micro/errors"
	"github.com/seed-9a4e2794/micro/server"
	"github.com/seed-9a4e2794/micro/transport"
)

func TestManyCallersDialOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		var n atomic.Int64
		w.serve(t, "a", answering(&n, well))
		w.transport.onDial(func(context.Context, string) error { <-time.After(time.Second); return nil })
		c := w.client(t)
		var group sync.WaitGroup
		for range 100 {
			group.Go(func() {
				if _, err := ask(t.Context(), c, "Greeter.Hello", ""); err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
		if d := w.transport.dials.Load(); d != 1 || n.Load() != 100 {
			t.Errorf("%d dials, %d calls", d, n.Load())
		}
	})
}

func TestCallerWhoGivesUpDoesNotEndTheDialOfTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		var n atomic.Int64
		w.serve(t, "a", answering(&n, well))
		w.transport.onDial(func(context.Context, string) error { <-time.After(time.Second); return nil })
		c := w.client(t)
		ctx, cancel := context.WithCancel(t.Context())
		first := make(chan error, 1)
		go func() {
			_, err := ask(ctx, c, "Greeter.Hello", "")
			first <- err
		}()
		synctest.Wait()
		second := make(chan error, 1)
		go func() {
			_, err := ask(t.Context(), c, "Greeter.Hello", "")
			second <- err
		}()
		synctest.Wait()
		cancel()
		if err := <-first; !errors.Is(err, context.Canceled) {
			t.Errorf("the first: %v", err)
		}
		if err := <-second; err != nil || w.transport.dials.Load() != 1 {
			t.Errorf("the second: %v after %d dials", err, w.transport.dials.Load())
		}
	})
}

func TestStaleConnectionsAreReplacedAndNeverSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		var n atomic.Int64
		s := w.serve(t, "a", answering(&n, well), server.NewServer().NewHandler(new(Streams)))
		c := w.client(t, client.Retries(0)) // no attempt is spent on it
		for i := range 10 {
			if _, err := ask(t.Context(), c, "Greeter.Hello", ""); err != nil {
				t.Fatalf("round %d: %v", i, err)
			}
			switch i % 3 {
			case 0: // the process ends and another begins
				w.transport.cut()
			case 1: // a restart in order
				must(t, s.Stop())
				must(t, s.Start())
			}
			synctest.Wait()
			st, err := c.Stream(t.Context(), c.NewRequest("greeter", "Streams.Echo", &Ask{}))
			must(t, err)
			must(t, st.Send(&Ask{"Ada"}))
			if err := st.Recv(new(Answer)); err != nil {
				t.Fatalf("round %d: a stream: %v", i, err)
			}
			must(t, st.Close())
			if i%3 == 2 {
				w.transport.cut()
			}
			synctest.Wait()
		}
		if got := w.transport.open(); got != 1 {
			t.Errorf("%d connections have not been closed, want the one in use", got)
		}
	})
}

func TestDroppedConnectionIsClosedWhenItsLastCallHasEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		release := make(chan struct{})
		var n atomic.Int64
		slow := func(_ context.Context, req *Ask) (*Answer, error) {
			if req.Name == "slow" {
				<-release
			}
			return &Answer{"Hello " + req.Name}, nil
		}
		s := w.serve(t, "a", answering(&n, slow))
		w.serve(t, "b", answering(&n, slow))
		c := w.client(t)
		result := make(chan error, 1)
		go func() {
			_, err := ask(t.Context(), c, "Greeter.Hello", "slow", client.WithAddress("a:1"), client.WithRequestTimeout(time.Minute))
			result <- err
		}()
		synctest.Wait()
		stopped := make(chan error, 1)
		go func() { stopped <- s.Stop() }()
		synctest.Wait()
		// The node refuses: the connection is dropped with a call under way.
		if got, err := ask(t.Context(), c, "Greeter.Hello", "Ada", client.WithAddress("a:1", "b:1")); err != nil || got != "Hello Ada" {
			t.Errorf("got %q, %v", got, err)
		}
		for range 8 { // within the retry budget of a client that has made few calls
			_, err := ask(t.Context(), c, "Greeter.Hello", "Ada", client.WithAddress("a:1", "b:1"))
			must(t, err)
		}
		if got := w.transport.open(); got != 2 {
			t.Errorf("%d connections are open while a call is under way", got)
		}
		close(release)
		must(t, <-result)
		must(t, <-stopped)
		synctest.Wait()
		if got := w.transport.open(); got != 1 {
			t.Errorf("%d connections are open afterwards", got)
		}
	})
}

func TestNodesThatComeAndGoAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		c := w.client(t, client.Retries(0))
		var n atomic.Int64
		for i := range 1100 {
			addr := fmt.Sprintf("n%d:1", i)
			ln, err := w.transport.Listen(t.Context(), addr)
			must(t, err)
			done := make(chan error, 1)
			go func() { done <- ln.Accept(func(s transport.Socket) { n.Add(1); s.Finish(nil, nil) }) }()
			_, err = ask(t.Context(), c, "Greeter.Hello", "", client.WithAddress(addr))
			must(t, err)
			must(t, ln.Close())
			must(t, <-done)
		}
		synctest.Wait()
		if got := w.transport.open(); got > 1024 {
			t.Errorf("%d connections to nodes that are gone have not been let go", got)
		}
		if n.Load() != 1100 {
			t.Errorf("%d calls", n.Load())
		}
	})
}

func TestCloseWhileDialingEndsTheDialAndTheCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.node(t, "a")
		for _, late := range []bool{false, true} {
			w.transport.onDial(func(ctx context.Context, addr string) error {
				if !late {
					<-ctx.Done()
					return fmt.Errorf("%w: %w", transport.ErrUnreachable, ctx.Err())
				}
				<-time.After(time.Second) // and then there is a connection
				return nil
			})
			var ln transport.Listener
			accepted := make(chan error, 1)
			if late {
				var err error
				ln, err = w.transport.Listen(t.Context(), "a:1")
				must(t, err)
				go func() { accepted <- ln.Accept(func(s transport.Socket) { s.Finish(nil, nil) }) }()
			}
			c := client.NewClient(client.Registry(w.registry), client.Transport(w.transport), client.Logger(w.log))
			result := make(chan error, 1)
			go func() {
				_, err := ask(t.Context(), c, "Greeter.Hello", "")
				result <- err
			}()
			synctest.Wait()
			began := time.Now()
			must(t, c.(io.Closer).Close())
			if d := time.Since(began); d > time.Second || !late && d != 0 {
				t.Errorf("Close took %v", d)
			}
			if err := <-result; err == nil || errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("the call ended with %v", err)
			}
			_, err := ask(t.Context(), c, "Greeter.Hello", "")
			want(t, err, "the client has been closed")
			_, err = c.Stream(t.Context(), c.NewRequest("greeter", "Greeter.Hello", nil))
			want(t, err, "the client has been closed")
			want(t, c.Publish(t.Context(), c.NewMessage("t", &Ask{})), "the client has been closed")
			must(t, c.(io.Closer).Close())
			if w.transport.open() != 0 {
				t.Error("a connection is left")
			}
			if late {
				must(t, ln.Close())
				must(t, <-accepted)
			}
		}
	})
}

func TestCloseEndsCallsUnderWayAlsoOnDroppedConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		var n atomic.Int64
		s := server.NewServer(server.Name("greeter"), server.Address("a:1"), server.Registry(w.registry), server.Transport(w.transport), server.Logger(w.log))
		must(t, s.Handle(answering(&n, func(ctx context.Context, _ *Ask) (*Answer, error) { <-ctx.Done(); return nil, nil })))
		must(t, s.Start())
		c := client.NewClient(client.Registry(w.registry), client.Transport(w.transport), client.Logger(w.log))
		result := make(chan error, 1)
		go func() {
			_, err := ask(t.Context(), c, "Greeter.Hello", "", client.WithRequestTimeout(0))
			result <- err
		}()
		synctest.Wait()
		stopped := make(chan error, 1)
		go func() { stopped <- s.Stop() }()
		synctest.Wait()
		_, err := ask(t.Context(), c, "Greeter.Hello", "", client.WithAddress("a:1"))
		want(t, err, "a:1") // refused: the connection is dropped, with a call on it
		must(t, c.(io.Closer).Close())
		if err := <-result; !errors.Is(err, transport.ErrLost) || errors.Is(err, microerrors.ErrRefused) {
			t.Errorf("the call under way ended with %v", err)
		}
		must(t, <-stopped)
	})
}
