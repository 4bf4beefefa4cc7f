package stats

import (
	"math/rand/v2"
	"sort"
	"testing"
	"time"
)

func TestBucketsAreInOrderAndAtMostAQuarterWide(t *testing.T) {
	for i := 1; i < bucketCount-1; i++ {
		lo, hi := lower(i), lower(i+1)
		if hi <= lo {
			t.Fatalf("bucket %d begins at %d and the next at %d", i, lo, hi)
		}
		if bucketOf(lo) != i || bucketOf(hi-1) != i {
			t.Errorf("bucket %d is [%d, %d) but these fall into %d and %d", i, lo, hi, bucketOf(lo), bucketOf(hi-1))
		}
		if i >= 1<<subBits && float64(hi-lo) > 0.25*float64(lo) {
			t.Errorf("bucket %d is [%d, %d): wider than a quarter", i, lo, hi)
		}
	}
	for _, d := range []time.Duration{-1, 0, 1 << 62} {
		if i := bucketOf(d); i < 0 || i >= bucketCount {
			t.Errorf("%d falls into bucket %d", d, i)
		}
	}
}

func TestQuantilesAreWithinAQuarter(t *testing.T) {
	var h Histogram
	r := rand.New(rand.NewPCG(1, 2))
	var all []time.Duration
	for range 10000 {
		d := time.Duration(r.ExpFloat64() * float64(time.Millisecond))
		all = append(all, d)
		h.Add(d)
	}
	sort.Slice(all, func(i, j int) bool { return all[i] < all[j] })
	s := h.Snapshot()
	if s.Count != 10000 {
		t.Fatalf("count %d", s.Count)
	}
	for _, q := range []float64{0, 0.5, 0.9, 0.99, 0.999, 1} {
		want := all[min(int(q*10000), 9999)]
		got := s.Quantile(q)
		if got < want || float64(got) > 1.26*float64(want)+2 {
			t.Errorf("quantile %v: got %v, want %v", q, got, want)
		}
	}
}

func TestCallsUnderWayAreCounted(t *testing.T) {
	var c Calls
	c.Begin()
	c.Begin()
	c.End(time.Millisecond, true)
	s := c.Snapshot()
	if s.Requests != 2 || s.Errors != 1 || s.InFlight != 1 || s.Durations.Count != 1 || s.Durations.Mean() != time.Millisecond {
		t.Errorf("got %+v", s)
	}
	if n := testing.AllocsPerRun(100, func() { c.Begin(); c.End(time.Microsecond, false) }); n != 0 {
		t.Errorf("counting a call allocates %v times", n)
	}
}
