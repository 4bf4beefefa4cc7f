package client

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	microerrors "github.com/seed-9a4e2794/micro/errors"
	"github.com/seed-9a4e2794/micro/transport"
)

// BackoffFunc returns how long to wait before an attempt; attempts counts
// those made before.
type BackoffFunc func(ctx context.Context, req Request, attempts int) (time.Duration, error)

// RetryFunc says whether a call that failed with err is tried again;
// retryCount counts the attempts made before this one.
type RetryFunc func(ctx context.Context, req Request, retryCount int, err error) (bool, error)

// RetryAlways tries every error again.
func RetryAlways(context.Context, Request, int, error) (bool, error) { return true, nil }

// RetryOnError tries again what go-micro v1 did: errors with code 408 or 500,
// and failures of the connection. Calls that may have been executed are
// repeated by it.
func RetryOnError(_ context.Context, _ Request, _ int, err error) (bool, error) {
	if err == nil {
		return false, nil
	}
	if RetryRefused(err) || errors.Is(err, transport.ErrLost) {
		return true, nil
	}
	e := microerrors.Parse(err.Error())
	return e.Code == 408 || e.Code == 500, nil
}

// RetryRefused reports whether a call surely was not executed, which is when
// it is tried again by default.
func RetryRefused(err error) bool {
	return errors.Is(err, microerrors.ErrRefused) || errors.Is(err, transport.ErrUnreachable)
}

// maxBackoff bounds the pause between attempts: a node that refuses is left
// alone by the selector, and another is tried soon.
const maxBackoff = 200 * time.Millisecond

// defaultBackoff is the pause before attempt n: none before the first, then a
// random part of 4 ms, doubling. ("Full jitter": Brooker, Exponential Backoff
// And Jitter, AWS Architecture Blog, 2015.)
func defaultBackoff(n int) time.Duration {
	if n == 0 {
		return 0
	}
	limit := min(4*time.Millisecond<<min(n, 10), maxBackoff)
	return time.Duration(rand.Int64N(int64(limit)))
}

// budget bounds further attempts: a tenth of the calls, and ten a second
// besides, so that retries cannot multiply the load on services in trouble.
// What is not used is kept, up to budgetMax. (A retry budget as in Finagle.)
type budget struct {
	calls atomic.Int64

	mu     sync.Mutex
	seen   int64
	tokens float64
	last   time.Time
}

const (
	budgetShare  = 0.1
	budgetPerSec = 10
	budgetMax    = 1000
)

// call counts a first attempt.
func (b *budget) call() { b.calls.Add(1) }

// spend takes one further attempt from the budget.
func (b *budget) spend(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	calls := b.calls.Load()
	if b.last.IsZero() {
		b.tokens = budgetPerSec
	} else {
		b.tokens += budgetPerSec * now.Sub(b.last).Seconds()
	}
	b.tokens = min(b.tokens+budgetShare*float64(calls-b.seen), budgetMax)
	b.seen, b.last = calls, now
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}
