package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"time"
)

// line is a line of the table: medians over the rounds.
type line struct {
	Peer           string  `json:"peer"`
	Callers        int     `json:"callers"`
	Rounds         int     `json:"rounds"`
	PerSecond      float64 `json:"requests_per_second"`
	Ratio          float64 `json:"ratio_to_grpc_go"` // 0 when grpc-go was not measured
	RatioLow       float64 `json:"ratio_low"`        // the lowest and the highest of the rounds
	RatioHigh      float64 `json:"ratio_high"`
	P50            float64 `json:"p50_us"`
	P99            float64 `json:"p99_us"`
	P999           float64 `json:"p999_us"`
	CPU            float64 `json:"cpu_us_per_request"`
	ClientAllocs   float64 `json:"client_allocs_per_request"`
	ServerAllocs   float64 `json:"server_allocs_per_request"`
	CPURatio       float64 `json:"cpu_ratio_to_grpc_go"`
	perRound, cpus []float64
}

// baseline is the peer that ratios are to.
const baseline = "grpc-go"

// tabulate takes the medians of the results of each peer and number of
// callers. The results are in the order of the rounds.
func tabulate(results []result, peers []string, callers []int) []line {
	var table []line
	for _, c := range callers {
		group := make([]line, 0, len(peers))
		for _, p := range peers {
			var of []result
			for _, r := range results {
				if r.Peer == p && r.Callers == c {
					of = append(of, r)
				}
			}
			if len(of) == 0 {
				continue
			}
			col := func(f func(result) float64) (all []float64) {
				for _, r := range of {
					all = append(all, f(r))
				}
				return all
			}
			us := func(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
			l := line{Peer: p, Callers: c, Rounds: len(of),
				P50:          median(col(func(r result) float64 { return us(r.P50) })),
				P99:          median(col(func(r result) float64 { return us(r.P99) })),
				P999:         median(col(func(r result) float64 { return us(r.P999) })),
				ClientAllocs: median(col(func(r result) float64 { return r.ClientAllocs })),
				ServerAllocs: median(col(func(r result) float64 { return r.ServerAllocs })),
				perRound:     col(func(r result) float64 { return r.PerSecond }),
				cpus:         col(func(r result) float64 { return us(r.CPU) }),
			}
			l.PerSecond, l.CPU = median(l.perRound), median(l.cpus)
			group = append(group, l)
		}
		base := slices.IndexFunc(group, func(l line) bool { return l.Peer == baseline })
		for i := range group {
			if base < 0 {
				break
			}
			// Round by round: what else the machine does is then much the
			// same on both sides of a ratio.
			ratios := divide(group[i].perRound, group[base].perRound)
			group[i].Ratio, group[i].RatioLow, group[i].RatioHigh = median(ratios), slices.Min(ratios), slices.Max(ratios)
			group[i].CPURatio = median(divide(group[i].cpus, group[base].cpus))
		}
		table = append(table, group...)
	}
	return table
}

func divide(a, b []float64) []float64 {
	out := make([]float64, min(len(a), len(b)))
	for i := range out {
		out[i] = a[i] / b[i]
	}
	return out
}

// median returns the middle value, of an even number the mean of the two.
func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	n := len(v)
	return (v[(n-1)/2] + v[n/2]) / 2
}

func printMarkdown(w io.Writer, table []line) {
	fmt.Fprintln(w, "| callers | peer | requests/s | to grpc-go (range) | p50 µs | p99 µs | p99.9 µs | CPU µs/request | to grpc-go | allocs client | allocs server |")
	fmt.Fprintln(w, "|---:|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
	for _, l := range table {
		ratio, cpu := "", ""
		if l.Ratio > 0 {
			ratio = fmt.Sprintf("**%.2f** (%.2f–%.2f)", l.Ratio, l.RatioLow, l.RatioHigh)
			cpu = fmt.Sprintf("%.2f", l.CPURatio)
		}
		fmt.Fprintf(w, "| %d | %s | %.0f | %s | %.0f | %.0f | %.0f | %.1f | %s | %.1f | %.1f |\n",
			l.Callers, l.Peer, l.PerSecond, ratio, l.P50, l.P99, l.P999, l.CPU, cpu, l.ClientAllocs, l.ServerAllocs)
	}
}

func printJSON(w io.Writer, table []line) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(table)
}
