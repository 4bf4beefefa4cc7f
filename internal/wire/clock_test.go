package wire

import (
	"context"
	stderrors "errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-9a4e2794/micro/metadata"
	"github.com/seed-9a4e2794/micro/transport"
)

// swallowing is a connection whose packets, from some moment on, are lost.
type swallowing struct {
	net.Conn
	lost chan struct{}
}

func (c *swallowing) Write(b []byte) (int, error) {
	select {
	case <-c.lost:
		return len(b), nil
	default:
		return c.Conn.Write(b)
	}
}

func TestSilentPeerIsGivenUpAfterTwiceKeepAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, h := server(t)
		near, far := net.Pipe()
		lost := make(chan struct{})
		h.conns <- &swallowing{far, lost}
		c := newCaller(t, &swallowing{near, lost}, Config{})
		get(t, c, ask("Echo", []byte("x")), "x")
		<-time.After(time.Hour) // without calls there is nothing to watch over
		if err := c.Err(); err != nil {
			t.Fatalf("an idle connection has ended: %v", err)
		}
		began := time.Now()
		result := make(chan error, 2)
		go func() {
			_, err := c.Call(context.Background(), ask("Wait", nil))
			result <- err
		}()
		s := open(t, c)
		go func() {
			_, err := s.Recv()
			result <- err
		}()
		synctest.Wait()
		close(lost)
		for range 2 {
			if err := <-result; !stderrors.Is(err, transport.ErrLost) || !strings.Contains(err.Error(), "PING") {
				t.Errorf("got %v, want ErrLost", err)
			}
		}
		if d := time.Since(began); d < 20*time.Second || d > 31*time.Second {
			t.Errorf("the peer was given up after %v, KeepAlive is 10 s", d)
		}
		c.Close()
		l.Close()
	})
}

func TestQuietPeerThatAnswersPingsIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, h := server(t)
		c := newCaller(t, h.dial(t), Config{})
		r := ask("Wait", nil)
		r.Deadline = time.Now().Add(10 * time.Minute)
		began := time.Now()
		if _, err := c.Call(context.Background(), r); !stderrors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		if d := time.Since(began); d < 10*time.Minute || d > 10*time.Minute+time.Millisecond {
			t.Errorf("the call ended after %v", d)
		}
		get(t, c, ask("Echo", []byte("x")), "x")
		c.Close()
		l.Close()
	})
}

// TestLargeFrameOnASlowLinkIsNotSilence has a reply and then a request take
// minutes, with bytes coming and going all the time.
func TestLargeFrameOnASlowLinkIsNotSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		done := make(chan struct{})
		go func() {
			defer close(done)
			p := newPeer(t, far)
			p.greeted()
			p.bytes(greeting())
			p.frame() // NAME
			far.SetDeadline(time.Time{})
			for range 1024 { // the request: a little at a time
				if _, err := io.CopyN(io.Discard, far, 1024); err != nil {
					t.Errorf("reading the request: %v", err)
					return
				}
				<-time.After(100 * time.Millisecond)
			}
			go io.Copy(io.Discard, far) // PINGs that are not answered
			rsp := appendFrame(nil, header{typ: typeRsp, codec: 3}, strings.Repeat("x", 100_000))
			for len(rsp) > 0 {
				n := min(len(rsp), 1000)
				if _, err := far.Write(rsp[:n]); err != nil {
					t.Errorf("writing the reply: %v", err)
					return
				}
				rsp = rsp[n:]
				<-time.After(time.Second)
			}
		}()
		c := newCaller(t, near, Config{})
		rsp, err := c.Call(context.Background(), ask("Large", make([]byte, 1<<20)))
		if err != nil {
			t.Errorf("the call failed: %.200s", err)
		}
		_ = rsp
		<-done
		c.Close()
		far.Close()
	})
}

func TestDeadlinesAreKeptToTheMillisecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, h := server(t)
		c := newCaller(t, h.dial(t), Config{})
		began := time.Now()
		type result struct {
			want, got time.Duration
			err       error
		}
		results := make(chan result)
		const n = 100
		for i := range n {
			d := time.Duration(1+i*37%n) * 13 * time.Millisecond
			go func() {
				r := ask("Wait", nil)
				r.Deadline = began.Add(d)
				_, err := c.Call(context.Background(), r)
				results <- result{d, time.Since(began), err}
			}()
		}
		for range n {
			r := <-results
			if !stderrors.Is(r.err, context.DeadlineExceeded) || r.got < r.want || r.got > r.want+2*time.Millisecond {
				t.Errorf("a deadline of %v was kept after %v: %v", r.want, r.got, r.err)
			}
		}
		c.mu.Lock()
		free, slots := len(c.free), len(c.slots)
		c.mu.Unlock()
		if free != slots {
			t.Errorf("%d of %d slots are free", free, slots)
		}
		c.Close()
		l.Close()
	})
}

// inCall runs f in a handler and returns after the handler has.
func inCall(t *testing.T, deadline time.Duration, f func(ctx context.Context)) {
	t.Helper()
	h := newHall()
	l := listen(t, h, Config{}, unaries{"F": func(ctx context.Context, _ transport.Body) (transport.Message, error) {
		f(ctx)
		return raw(nil), nil
	}}, nil)
	c := newCaller(t, h.dial(t), Config{})
	r := ask("F", nil)
	r.Header = metadata.Header{{Key: "x-user", Value: "ada"}}
	if deadline > 0 {
		r.Deadline = time.Now().Add(deadline)
	}
	_, _ = c.Call(context.Background(), r) // f has checked what there is to check
	synctest.Wait()
	c.Close()
	l.Close()
}

func TestDerivedContextsStartNoGoroutine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inCall(t, time.Minute, func(ctx context.Context) {
			before := runtime.NumGoroutine()
			var derived []context.Context
			for range 100 {
				d, cancel := context.WithCancel(ctx)
				defer cancel()
				derived = append(derived, d)
			}
			if after := runtime.NumGoroutine(); after > before {
				t.Errorf("100 derived contexts started %d goroutines", after-before)
			}
			k := ctx.(*call)
			if len(k.after) != 100 {
				t.Errorf("%d of 100 derived contexts wait on the call", len(k.after))
			}
			k.end(context.Canceled)
			for _, d := range derived {
				<-d.Done()
			}
		})
	})
}

func TestDoneIsMadeWhenAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inCall(t, time.Minute, func(ctx context.Context) {
			k := ctx.(*call)
			if k.done != nil || k.timer != nil || k.header != nil || k.reply != nil {
				t.Error("a call has a channel, a timer or metadata before anyone asked")
			}
			if d, ok := ctx.Deadline(); !ok || time.Until(d) != time.Minute {
				t.Errorf("the deadline is %v", d)
			}
			if first := ctx.Done(); first != ctx.Done() || k.timer == nil {
				t.Error("Done makes more than one channel, or no timer")
			}
		})
	})
}

func TestContextEndsAtTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, ask := range []func(context.Context) error{
			func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() },
			func(ctx context.Context) error { // Err alone sees it too
				if err := ctx.Err(); err != nil {
					return fmt.Errorf("early: %w", err)
				}
				<-time.After(time.Second)
				return ctx.Err()
			},
		} {
			inCall(t, time.Second, func(ctx context.Context) {
				if err := ask(ctx); err != context.DeadlineExceeded && err != context.Canceled {
					t.Errorf("got %v", err)
				}
			})
		}
	})
}

func TestContextEndsAfterTheHandlerAndItsMetadataStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var kept, derived context.Context
		ran := 0
		inCall(t, time.Minute, func(ctx context.Context) {
			kept = ctx
			var cancel context.CancelFunc
			derived, cancel = context.WithTimeout(ctx, time.Hour)
			_ = cancel // ends with its parent
			context.AfterFunc(ctx, func() { ran++ })
			stop := context.AfterFunc(ctx, func() { ran += 100 })
			if !stop() || stop() {
				t.Error("stop of an AfterFunc does not say whether it stopped it")
			}
			if kept.Err() != nil {
				t.Errorf("in the handler: %v", kept.Err())
			}
		})
		if kept.Err() != context.Canceled || derived.Err() != context.Canceled {
			t.Errorf("after the handler: %v, %v", kept.Err(), derived.Err())
		}
		if ran != 1 {
			t.Errorf("AfterFunc ran as %d, want 1", ran)
		}
		if v, _ := metadata.Get(derived, "X-User"); v != "ada" {
			t.Errorf("metadata after the handler: %q", v)
		}
		if p, ok := transport.PeerFromContext(kept); !ok || p.Protocol != "micro" {
			t.Errorf("peer after the handler: %+v", p)
		}
		late := false
		context.AfterFunc(kept, func() { late = true })
		synctest.Wait()
		if !late {
			t.Error("AfterFunc on an ended context did not run")
		}
	})
}
