package main

import (
	"context"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/seed-9a4e2794/micro/bench/internal/echo"
)

func TestEveryPeerEchoesTheMessageToManyCallers(t *testing.T) {
	for _, p := range peers() {
		t.Run(p.name, func(t *testing.T) {
			addr, stop, err := p.serve()
			if err != nil {
				t.Fatal(err)
			}
			defer stop()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			const size = 580
			c, err := p.dial(ctx, addr, size)
			if err != nil {
				t.Fatal(err)
			}
			defer c.close()
			m, err := echo.New(size)
			if err != nil {
				t.Fatal(err)
			}
			got, err := c.call(ctx, m)
			if err != nil {
				t.Fatal(err)
			}
			if !proto.Equal(got, m) {
				t.Fatalf("got %v, want %v", got, m)
			}
			l, err := press(ctx, c, m, 16, 20*time.Millisecond)
			if err != nil {
				t.Fatal(err)
			}
			if l.Count == 0 || l.P50 <= 0 || l.P50 > l.P99 || l.P99 > l.P999 {
				t.Errorf("%+v", l)
			}
		})
	}
}

func TestTheMessageHasTheSizeAskedFor(t *testing.T) {
	for _, size := range []int{480, 580, 1024, 64 << 10} {
		m, err := echo.New(size)
		if err != nil {
			t.Errorf("%d: %v", size, err)
		} else if n := proto.Size(m); n != size {
			t.Errorf("%d: the message has %d", size, n)
		}
	}
	if m, err := echo.New(16); err == nil {
		t.Errorf("a message of 16 bytes: %v", m)
	}
}

func TestQuantilesAreKnownToThreePerCent(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var h histogram
	all := make([]time.Duration, 0, 10000)
	for range cap(all) {
		d := time.Duration(r.ExpFloat64() * float64(time.Millisecond))
		all = append(all, d)
		h.add(d)
	}
	slices.Sort(all)
	for _, q := range []float64{0.1, 0.5, 0.99, 0.999} {
		want := all[int(q*float64(len(all)))]
		got := h.quantile(q)
		if diff := float64(got-want) / float64(want); diff < 0 || diff > 0.035 {
			t.Errorf("quantile %v is %v, want %v and at most 3.5%% more", q, got, want)
		}
	}
	if h.count() != uint64(len(all)) {
		t.Errorf("count %d, want %d", h.count(), len(all))
	}
}

func TestTheTableHasMediansAndTheRatiosOfEachRound(t *testing.T) {
	var results []result
	for round, n := range []float64{100, 300, 200} { // the machine's speed
		results = append(results,
			result{Peer: "grpc-go", Callers: 1, PerSecond: n, CPU: 100 * time.Microsecond},
			result{Peer: "micro", Callers: 1, PerSecond: n * float64(2+round), CPU: 20 * time.Microsecond})
	}
	table := tabulate(results, []string{"grpc-go", "micro"}, []int{1})
	if len(table) != 2 {
		t.Fatalf("%d lines", len(table))
	}
	if l := table[1]; l.Peer != "micro" || l.PerSecond != 800 || l.Ratio != 3 || l.RatioLow != 2 || l.RatioHigh != 4 || l.CPURatio != 0.2 {
		t.Errorf("%+v", l)
	}
	var out strings.Builder
	printMarkdown(&out, table)
	if want := "| 1 | micro | 800 | **3.00** (2.00–4.00) |"; !strings.Contains(out.String(), want) {
		t.Errorf("no %q in\n%s", want, out.String())
	}
}
