package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/seed-9a4e2794/micro/client"
	"github.com/seed-9a4e2794/micro/client/selector"
	microerrors "github.com/seed-9a4e2794/micro/errors"
	"github.com/seed-9a4e2794/micro/internal/leaktest"
	"github.com/seed-9a4e2794/micro/metadata"
	"github.com/seed-9a4e2794/micro/registry"
	"github.com/seed-9a4e2794/micro/server"
	"github.com/seed-9a4e2794/micro/transport"
)

// Streams has the kinds of streams.
type Streams struct{ ended chan error }

// Echo answers each message until the caller has sent all.
func (*Streams) Echo(ctx context.Context, s server.Stream) error {
	_ = metadata.SetHeader(ctx, "X-Head", "h")
	for {
		var req Ask
		err := s.Recv(&req)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if err := s.Send(&Answer{"Hello " + req.Name}); err != nil {
			return err
		}
	}
}

// Count sends three messages without reading any.
func (*Streams) Count(_ context.Context, s server.Stream) error {
	for i := range 3 {
		if err := s.Send(&Answer{fmt.Sprint(i)}); err != nil {
			return err
		}
	}
	return nil
}

// Proto sends protobuf without reading.
func (*Streams) Proto(_ context.Context, s server.Stream) error {
	return s.Send(wrapperspb.String("Ada"))
}

// Sum reads all and answers once.
func (*Streams) Sum(_ context.Context, s server.Stream) error {
	n := 0
	for {
		var req Ask
		if err := s.Recv(&req); err == io.EOF {
			return s.Send(&Answer{fmt.Sprint(n)})
		} else if err != nil {
			return err
		}
		n++
	}
}

// Fail answers once and then fails.
func (*Streams) Fail(_ context.Context, s server.Stream) error {
	if err := s.Send(&Answer{"first"}); err != nil {
		return err
	}
	return microerrors.New("greeter", "short and stout", 418)
}

// Forever waits for the end of its context.
func (s *Streams) Forever(ctx context.Context, _ server.Stream) error {
	<-ctx.Done()
	s.ended <- ctx.Err()
	return nil
}

// open opens a stream of the service greeter.
func open(ctx context.Context, t testing.TB, c client.Client, endpoint string, opts ...client.CallOption) client.Stream {
	t.Helper()
	s, err := c.Stream(ctx, c.NewRequest("greeter", endpoint, &Ask{}), opts...)
	must(t, err)
	return s
}

func TestStreamsOfAllKinds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.serve(t, "a", server.NewServer().NewHandler(new(Streams)))
		c := w.client(t)
		recv := func(s client.Stream) string {
			t.Helper()
			var rsp Answer
			if err := s.Recv(&rsp); err != nil {
				t.Fatalf("Recv: %v", err)
			}
			return rsp.Text
		}
		end := func(s client.Stream) {
			t.Helper()
			if err := s.Recv(new(Answer)); err != io.EOF {
				t.Errorf("the stream ended with %v", err)
			}
			if s.Error() != nil {
				t.Errorf("its error is %v", s.Error())
			}
		}
		s := open(t.Context(), t, c, "Streams.Echo")
		for _, name := range []string{"Ada", "Grace"} {
			must(t, s.Send(&Ask{name}))
			if got := recv(s); got != "Hello "+name {
				t.Errorf("got %q", got)
			}
		}
		if s.Response().Header()["X-Head"] != "h" || s.Request().Endpoint() != "Streams.Echo" {
			t.Errorf("the header is %v", s.Response().Header())
		}
		must(t, s.(client.CloseSender).CloseSend())
		end(s)
		if err := s.Send(&Ask{}); err == nil {
			t.Error("a message was sent after CloseSend")
		}

		s = open(t.Context(), t, c, "Streams.Count")
		for i := range 3 {
			if got := recv(s); got != fmt.Sprint(i) {
				t.Errorf("got %q", got)
			}
		}
		end(s)

		s = open(t.Context(), t, c, "Streams.Sum")
		for range 5 {
			must(t, s.Send(&Ask{}))
		}
		must(t, s.(client.CloseSender).CloseSend())
		if got := recv(s); got != "5" {
			t.Errorf("got %q", got)
		}
		end(s)

		s = open(t.Context(), t, c, "Streams.Fail")
		recv(s)
		err := s.Recv(new(Answer))
		var e *microerrors.Error
		if !errors.As(err, &e) || e.Code != 418 || e.Detail != "short and stout" || s.Error() != err {
			t.Errorf("got %#v", err)
		}

		// Who reads only is answered in the encoding of the request's type.
		ps, err := c.Stream(t.Context(), c.NewRequest("greeter", "Streams.Proto", wrapperspb.String("")))
		must(t, err)
		var v wrapperspb.StringValue
		if err := ps.Recv(&v); err != nil || v.Value != "Ada" {
			t.Errorf("got %q, %v", v.Value, err)
		}

		want(t, open(t.Context(), t, c, "Streams.Nothing").Recv(new(Answer)), "no endpoint", "Streams.Echo")
		_, err = c.Stream(t.Context(), c.NewRequest("nobody", "Streams.Echo", nil))
		if !errors.Is(err, registry.ErrNotFound) || len(attempts(t, err)) != 1 {
			t.Errorf("a stream of nobody: %v", err)
		}
	})
}

func TestCloseGivesTheServerASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		streams := &Streams{ended: make(chan error, 1)}
		w.serve(t, "a", server.NewServer().NewHandler(streams))
		c := w.client(t)
		s := open(t.Context(), t, c, "Streams.Forever")
		synctest.Wait()
		began := time.Now()
		must(t, s.Close())
		must(t, s.Close())
		if err := <-streams.ended; err == nil || time.Since(began) != time.Second {
			t.Errorf("the handler was ended by %v after %v", err, time.Since(began))
		}
		<-s.Context().Done()
	})
}

// In real time: a Send that waits holds a mutex, for which a bubble's clock
// does not move.
func TestCloseWithASendThatWaitsTakesASecondToo(t *testing.T) {
	leaktest.Check(t)
	w := newWorld()
	streams := &Streams{ended: make(chan error, 1)}
	w.serve(t, "a", server.NewServer().NewHandler(streams))
	s := open(t.Context(), t, w.client(t), "Streams.Forever")
	sent := make(chan error, 1)
	var count atomic.Int64
	go func() {
		for {
			if err := s.Send(&Ask{string(make([]byte, 10_000))}); err != nil {
				sent <- err
				return
			}
			count.Add(1)
		}
	}()
	for count.Load() < 1 { // the next fills the window, and one more waits
		runtime.Gosched()
	}
	began := time.Now()
	must(t, s.Close())
	<-sent
	<-streams.ended
	if d := time.Since(began); d > 10*time.Second {
		t.Errorf("Close with a Send under way took %v", d)
	}
}

func TestStreamLivesLongerThanTheRequestTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.serve(t, "a", server.NewServer().NewHandler(new(Streams)))
		s := open(t.Context(), t, w.client(t), "Streams.Echo", client.WithRequestTimeout(time.Second))
		<-time.After(time.Hour)
		must(t, s.Send(&Ask{"Ada"}))
		must(t, s.Recv(new(Answer)))
		must(t, s.Close())
	})
}

// counting is a selector that notes how attempts ended.
type counting struct {
	simple
	ends chan error
}

func (c *counting) Mark(_ string, _ *registry.Node, err error) { c.ends <- err }

func TestSelectorHearsHowStreamsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		streams := &Streams{ended: make(chan error, 10)}
		w.serve(t, "a", server.NewServer().NewHandler(streams))
		sel := &counting{simple: simple{node: &registry.Node{Id: "a", Address: "a:1"}}, ends: make(chan error, 10)}
		c := w.client(t, client.Selector(sel))
		ctx, cancel := context.WithCancel(t.Context())
		open(ctx, t, c, "Streams.Forever") // and nobody looks at it again
		synctest.Wait()
		if len(sel.ends) != 0 {
			t.Error("the stream counts as over")
		}
		cancel()
		if err := <-sel.ends; !errors.Is(err, context.Canceled) {
			t.Errorf("abandoned: %v", err)
		}
		must(t, open(t.Context(), t, c, "Streams.Echo").Close())
		if err := <-sel.ends; err != nil {
			t.Errorf("ended well: %v", err)
		}
		s := open(t.Context(), t, c, "Streams.Fail")
		must(t, s.Recv(new(Answer)))
		_ = s.Recv(new(Answer))
		if err := <-sel.ends; errors.Is(err, transport.ErrLost) {
			t.Errorf("the handler failed: %v", err)
		}
		s = open(t.Context(), t, c, "Streams.Forever")
		synctest.Wait()
		w.transport.cut()
		if err := <-sel.ends; !errors.Is(err, transport.ErrLost) {
			t.Errorf("the node died: %v", err)
		}
		if err := s.Recv(new(Answer)); !errors.Is(err, transport.ErrLost) || errors.Is(err, microerrors.ErrRefused) {
			t.Errorf("the stream ended with %v", err)
		}
		synctest.Wait()
		if len(sel.ends) != 0 {
			t.Error("an end was told twice")
		}
	})
}

var _ selector.Selector = (*counting)(nil)

func TestStreamIsOpenedOnAnotherNodeWhenOneIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.node(t, "a")
		w.serve(t, "b", server.NewServer().NewHandler(new(Streams)))
		c := w.client(t)
		for range 20 {
			s := open(t.Context(), t, c, "Streams.Echo")
			must(t, s.Send(&Ask{"Ada"}))
			must(t, s.Recv(new(Answer)))
			must(t, s.Close())
		}
		_, err := c.Stream(t.Context(), c.NewRequest("greeter", "Streams.Echo", nil), client.WithAddress("x:1", "y:1"))
		if got := attempts(t, err); len(got) != 2 || got[0].Address == got[1].Address || !errors.Is(err, transport.ErrUnreachable) {
			t.Errorf("got %v", err)
		}
	})
}
