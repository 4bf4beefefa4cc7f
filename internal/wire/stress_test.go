package wire

import (
	"bytes"
	"context"
	stderrors "errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-9a4e2794/micro/errors"
	"github.com/seed-9a4e2794/micro/internal/leaktest"
	"github.com/seed-9a4e2794/micro/transport"
)

// TestNothingIsMixedUpOrLeftOverUnderStress makes calls and streams that are
// cancelled, run out of time, are reset, and lose their connections at random,
// and checks that what arrives is right and that nothing is left afterwards.
func TestNothingIsMixedUpOrLeftOverUnderStress(t *testing.T) {
	leaktest.Check(t)
	length := 1500 * time.Millisecond
	if !testing.Short() {
		length = 4 * time.Second
	}
	end := time.Now().Add(length)
	var calls, streams, failed atomic.Int64
	var group sync.WaitGroup
	for n := range 3 {
		group.Go(func() {
			for time.Now().Before(end) {
				stressOnce(t, n, end, &calls, &streams, &failed)
			}
		})
	}
	group.Wait()
	t.Logf("%d calls and %d streams, %d of them ended early", calls.Load(), streams.Load(), failed.Load())
	if calls.Load() == 0 || streams.Load() == 0 || failed.Load() == 0 {
		t.Error("the stress was none")
	}
}

// stressOnce is the life of one listener and one caller.
func stressOnce(t *testing.T, n int, end time.Time, calls, streams, failed *atomic.Int64) {
	l := listenTCP(t, Config{MaxCalls: 200, MaxStreams: 50, Window: 8 << 10}, unaries{
		"Echo": echoUnary,
		"Late": func(ctx context.Context, body transport.Body) (transport.Message, error) {
			select {
			case <-ctx.Done():
			case <-time.After(time.Duration(rand.IntN(3000)) * time.Microsecond):
			}
			return raw(body.Data), nil
		},
	}, nil)
	defer l.Close()
	c := callerOf(t, l, Config{Window: 8 << 10})
	life := min(time.Until(end), time.Duration(50+rand.IntN(300))*time.Millisecond)
	stop := make(chan struct{})
	var group sync.WaitGroup
	for g := range 20 {
		group.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				ctx, cancel := context.Background(), context.CancelFunc(func() {})
				switch rand.IntN(3) {
				case 0:
					ctx, cancel = context.WithTimeout(ctx, time.Duration(rand.IntN(3000))*time.Microsecond)
				case 1:
					ctx, cancel = context.WithCancel(ctx)
					time.AfterFunc(time.Duration(rand.IntN(2000))*time.Microsecond, cancel)
				}
				body := []byte(fmt.Sprintf("%d/%d/%d ", n, g, i))
				body = append(body, bytes.Repeat([]byte{byte(i)}, rand.IntN(1<<rand.IntN(17)))...)
				var err error
				if rand.IntN(3) == 0 {
					streams.Add(1)
					err = stressStream(t, ctx, c, body)
				} else {
					calls.Add(1)
					err = stressCall(t, ctx, c, body)
				}
				cancel()
				if err != nil {
					failed.Add(1)
				}
			}
		})
	}
	<-time.After(life)
	switch rand.IntN(3) {
	case 0:
		c.Close()
	case 1:
		l.Close()
	case 2:
		ctx, cancel := context.WithTimeout(context.Background(), wait)
		if err := l.Shutdown(ctx); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		cancel()
	}
	close(stop)
	group.Wait()
	c.Close()
	c.mu.Lock()
	if len(c.free) != len(c.slots) || c.live != 0 {
		t.Errorf("%d slots, %d free, %d calls under way", len(c.slots), len(c.free), c.live)
	}
	for _, s := range c.slots {
		if s.waiting || len(s.ready) > 0 || s.opening {
			t.Errorf("slot %d is left as %+v", s.index, s)
		}
	}
	c.mu.Unlock()
}

// known fails for an error that is none of those that a call may end with.
func known(t *testing.T, err error) {
	t.Helper()
	for _, e := range []error{context.Canceled, context.DeadlineExceeded, transport.ErrLost, errors.ErrRefused} {
		if stderrors.Is(err, e) {
			return
		}
	}
	t.Errorf("a call ended with %v", err)
}

func stressCall(t *testing.T, ctx context.Context, c *Caller, body []byte) error {
	r := ask([]string{"Echo", "Late"}[rand.IntN(2)], body)
	if rand.IntN(3) == 0 {
		r.Deadline = time.Now().Add(time.Duration(rand.IntN(3000)) * time.Microsecond)
	}
	rsp, err := c.Call(ctx, r)
	if err != nil {
		known(t, err)
		return err
	}
	if !bytes.Equal(rsp.Body.Data, body) {
		t.Errorf("%.20q came back as %.20q", body, rsp.Body.Data)
	}
	rsp.Body.Release()
	return nil
}

func stressStream(t *testing.T, ctx context.Context, c *Caller, body []byte) error {
	r := ask("Stream", nil)
	if rand.IntN(3) == 0 {
		r.Deadline = time.Now().Add(time.Duration(rand.IntN(5000)) * time.Microsecond)
	}
	s, err := c.Open(ctx, r)
	if err != nil {
		known(t, err)
		return err
	}
	var group sync.WaitGroup
	defer group.Wait()
	n := rand.IntN(5)
	group.Go(func() {
		for range n {
			if err := s.Send(raw(body)); err != nil {
				if err != io.EOF {
					known(t, err)
				}
				return
			}
		}
		_ = s.CloseSend() // Recv tells how it ended
	})
	if rand.IntN(3) == 0 {
		group.Go(s.Reset)
	}
	for i := 0; ; i++ {
		got, err := s.Recv()
		if err == io.EOF {
			if i != n {
				t.Errorf("%d of %d messages came back", i, n)
			}
			return nil
		}
		if err != nil {
			known(t, err)
			return err
		}
		if !bytes.Equal(got.Data, body) {
			t.Errorf("%.20q came back as %.20q", body, got.Data)
		}
		got.Release()
	}
}
