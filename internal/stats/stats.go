// Package stats counts calls: how many, how many failed, how many are under
// way, and how long they took. Counting takes no lock and allocates nothing.
package stats

import (
	"math/bits"
	"sync/atomic"
	"time"
)

// Calls counts the calls of one endpoint. The zero Calls is ready to use; its
// methods may run concurrently.
type Calls struct {
	started  atomic.Uint64
	ended    atomic.Uint64
	failed   atomic.Uint64
	duration Histogram
}

// Begin counts a call that begins.
func (c *Calls) Begin() { c.started.Add(1) }

// End counts a call that has ended.
func (c *Calls) End(took time.Duration, failed bool) {
	c.duration.Add(took)
	if failed {
		c.failed.Add(1)
	}
	c.ended.Add(1)
}

// Snapshot is what has been counted.
type Snapshot struct {
	// Requests is the number of calls that have begun, Errors of those that
	// failed, InFlight of those that have not ended.
	Requests, Errors, InFlight uint64
	// Durations are how long the calls took.
	Durations Durations
}

// Snapshot returns the counts of this moment.
func (c *Calls) Snapshot() Snapshot {
	ended := c.ended.Load()
	s := Snapshot{Requests: c.started.Load(), Errors: c.failed.Load(), Durations: c.duration.Snapshot()}
	s.InFlight = s.Requests - min(ended, s.Requests)
	return s
}

// A Histogram counts durations in buckets that grow with the duration: four to
// each power of two nanoseconds, so a bucket is at most a quarter wider than
// its lower bound. (Log-linear buckets as in HdrHistogram, with two bits of
// precision.)
type Histogram struct {
	buckets [bucketCount]atomic.Uint64
	sum     atomic.Uint64 // nanoseconds
}

const (
	subBits     = 2
	bucketCount = (42 - subBits) << subBits // up to 2^41 ns, about 36 minutes
)

func bucketOf(d time.Duration) int {
	n := uint64(max(d, 1))
	exp := bits.Len64(n) - 1
	if exp < subBits {
		return int(n)
	}
	i := (exp-subBits+1)<<subBits | int(n>>(exp-subBits)&(1<<subBits-1))
	return min(i, bucketCount-1)
}

// lower returns the smallest duration of a bucket.
func lower(i int) time.Duration {
	if i < 1<<subBits {
		return time.Duration(i)
	}
	exp := i>>subBits + subBits - 1
	return time.Duration(1<<subBits|i&(1<<subBits-1)) << (exp - subBits)
}

// Add counts one duration.
func (h *Histogram) Add(d time.Duration) {
	h.buckets[bucketOf(d)].Add(1)
	h.sum.Add(uint64(max(d, 0)))
}

// Durations is a copy of a histogram.
type Durations struct {
	Count   uint64
	Sum     time.Duration
	buckets [bucketCount]uint64
}

// Snapshot returns the counts of this moment.
func (h *Histogram) Snapshot() Durations {
	var d Durations
	for i := range h.buckets {
		d.buckets[i] = h.buckets[i].Load()
		d.Count += d.buckets[i]
	}
	d.Sum = time.Duration(h.sum.Load())
	return d
}

// Mean returns the average duration, 0 when there is none.
func (d *Durations) Mean() time.Duration {
	if d.Count == 0 {
		return 0
	}
	return d.Sum / time.Duration(d.Count)
}

// Quantile returns a duration that the share q of all durations does not
// exceed, at most a quarter too long; 0 when there is none.
func (d *Durations) Quantile(q float64) time.Duration {
	if d.Count == 0 {
		return 0
	}
	rank := uint64(q * float64(d.Count))
	rank = min(rank, d.Count-1)
	var seen uint64
	for i, n := range d.buckets {
		if seen += n; seen > rank {
			return lower(i + 1)
		}
	}
	return lower(bucketCount)
}
