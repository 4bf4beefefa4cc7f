package main

import (
	"context"
	"errors"
	"math/bits"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/seed-9a4e2794/micro/bench/internal/echo"
)

// load is what a number of callers did in a time, each calling again as soon
// as it has its answer (a closed loop: a slow answer also delays the calls
// that would have come behind it, so the tails look better than they would to
// callers that come by the clock).
type load struct {
	Count          uint64
	Took           time.Duration
	P50, P99, P999 time.Duration
}

// press lets callers call for a time.
func press(ctx context.Context, c client, m *echo.Message, callers int, d time.Duration) (load, error) {
	var over atomic.Bool
	var group sync.WaitGroup
	counts := make([]histogram, callers)
	errs := make([]error, callers)
	began := time.Now()
	for i := range callers {
		own := proto.CloneOf(m) // a message caches its size
		group.Go(func() {
			at := time.Now()
			for !over.Load() {
				got, err := c.call(ctx, own)
				if err == nil && got.GetId() != own.GetId() {
					err = errors.New("the answer is of another message")
				}
				if err != nil {
					errs[i] = err
					over.Store(true)
					return
				}
				now := time.Now()
				counts[i].add(now.Sub(at))
				at = now
			}
		})
	}
	timer := time.AfterFunc(d, func() { over.Store(true) })
	defer timer.Stop()
	group.Wait()
	took := time.Since(began)
	if err := errors.Join(errs...); err != nil {
		return load{}, err
	}
	for i := range counts[1:] {
		counts[0].merge(&counts[i+1])
	}
	h := &counts[0]
	return load{Count: h.count(), Took: took, P50: h.quantile(0.5), P99: h.quantile(0.99), P999: h.quantile(0.999)}, nil
}

// histogram counts durations in steps that grow with the duration: 32 to each
// doubling, so that a quantile is known to about three per cent.
type histogram [32 * 36]uint32

func (h *histogram) add(d time.Duration) { h[min(step(uint64(max(d, 0))), len(h)-1)]++ }

// step returns the index that n belongs to: itself below 32, and then 32 to
// each power of two.
func step(n uint64) int {
	if n < 32 {
		return int(n)
	}
	shift := bits.Len64(n) - 6
	return 32*(shift+1) + int(n>>shift) - 32
}

// floor returns the least n of a step.
func floor(step int) time.Duration {
	if step < 32 {
		return time.Duration(step)
	}
	return time.Duration(32+step%32) << (step/32 - 1)
}

func (h *histogram) merge(o *histogram) {
	for i, n := range o {
		h[i] += n
	}
}

func (h *histogram) count() (n uint64) {
	for _, k := range h {
		n += uint64(k)
	}
	return n
}

// quantile returns the duration below which the part q of all lies.
func (h *histogram) quantile(q float64) time.Duration {
	left := int64(q * float64(h.count()))
	for i, k := range h {
		if left -= int64(k); left < 0 {
			return floor(i + 1)
		}
	}
	return floor(len(h))
}
