package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/seed-9a4e2794/micro/debug"
)

// askTimeout bounds what is asked of all nodes of a service.
const askTimeout = 2 * time.Second

func (t *tool) statsCommand() *command {
	return &command{
		name: "stats", group: groupLook, args: "SERVICE", min: 1, max: 1,
		summary: "ask each node of a service what it has counted",
		about:   "Counts since the node started. Durations of -o json are in nanoseconds.",
		examples: []string{
			"micro stats greeter",
			"micro stats greeter -o json | jq '.[].stats.requests'",
		},
		flags: []cli.Flag{outputFlag(), &timeFlag{Name: "timeout", Value: askTimeout, Usage: "how long a node may take"}},
		run:   t.stats,
	}
}

// nodeStats is one node in the output of stats.
type nodeStats struct {
	Node    string               `json:"node"`
	Address string               `json:"address"`
	Version string               `json:"version"`
	Error   string               `json:"error,omitempty"`
	Stats   *debug.StatsResponse `json:"stats"`
}

func (t *tool) stats(ctx context.Context, c *cli.Command) error {
	asJSON, err := wantsJSON(c)
	if err != nil {
		return err
	}
	return t.with(c, func(p *parts) error {
		ctx, cancel := within(ctx, c)
		defer cancel()
		name := c.Args().First()
		versions, err := p.service(ctx, name)
		if err != nil {
			return err
		}
		nodes, silent := []nodeStats{}, 0
		for _, a := range ask[debug.StatsResponse](ctx, p, versions, "Debug.Stats") {
			n := nodeStats{Node: a.node.Id, Address: a.node.Address, Version: a.version}
			if a.err != nil {
				n.Error = plain(a.err)
				silent++
			} else {
				n.Stats = &a.value
				slices.SortFunc(n.Stats.Endpoints, func(a, b debug.Endpoint) int { return cmp.Compare(a.Name, b.Name) })
			}
			nodes = append(nodes, n)
		}
		if asJSON {
			err = t.printJSON(nodes)
		} else {
			err = t.printStats(nodes)
		}
		if err == nil && silent > 0 {
			return &failure{exit: exitUnreachable, what: fmt.Sprintf("%d of %s of %s did not answer", silent, plural(len(nodes), "node"), name)}
		}
		return err
	})
}

func (t *tool) printStats(nodes []nodeStats) error {
	rows := [][]string{{"NODE", "ADDRESS", "UPTIME", "HEAP", "GOROUTINES", "REQUESTS", "ERRORS"}}
	if slices.ContainsFunc(nodes, func(n nodeStats) bool { return n.Stats == nil }) {
		rows[0] = append(rows[0], "PROBLEM")
	}
	calls := [][]string{{"NODE", "ENDPOINT", "REQUESTS", "ERRORS", "INFLIGHT", "MEAN", "P50", "P90", "P99"}}
	for _, n := range nodes {
		s := n.Stats
		if s == nil {
			rows = append(rows, []string{n.Node, n.Address, "-", "-", "-", "-", "-", n.Error})
			continue
		}
		rows = append(rows, []string{n.Node, n.Address, (time.Duration(s.Uptime) * time.Second).String(), size(s.Memory),
			strconv.FormatUint(s.Threads, 10), strconv.FormatUint(s.Requests, 10), strconv.FormatUint(s.Errors, 10)})
		for _, e := range s.Endpoints {
			calls = append(calls, []string{n.Node, e.Name, strconv.FormatUint(e.Requests, 10), strconv.FormatUint(e.Errors, 10),
				strconv.FormatUint(e.InFlight, 10), micros(e.Mean), micros(e.P50), micros(e.P90), micros(e.P99)})
		}
	}
	if err := table(t.stdout, rows); err != nil || len(calls) == 1 {
		return err
	}
	fmt.Fprintln(t.stdout)
	return table(t.stdout, calls)
}

// micros prints nanoseconds; what has not been measured is a dash.
func micros(ns int64) string {
	if ns == 0 {
		return "-"
	}
	return short(time.Duration(ns))
}

// size prints a number of bytes.
func size(n uint64) string {
	switch {
	case n < 1<<10:
		return fmt.Sprintf("%dB", n)
	case n < 1<<20:
		return fmt.Sprintf("%.1fKiB", float64(n)/(1<<10))
	case n < 1<<30:
		return fmt.Sprintf("%.1fMiB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%.1fGiB", float64(n)/(1<<30))
}
