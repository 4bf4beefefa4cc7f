package main

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/urfave/cli/v3"

	"github.com/seed-9a4e2794/micro/debug"
)

func (t *tool) healthCommand() *command {
	return &command{
		name: "health", group: groupLook, args: "SERVICE", min: 1, max: 1,
		summary: "ask each node of a service how it is",
		about:   "Ends with exit code 5 unless every node is ok.",
		examples: []string{
			"micro health greeter",
			"micro health greeter --timeout 500ms || echo unwell",
			"micro health greeter -o json",
		},
		flags: []cli.Flag{outputFlag(), &timeFlag{Name: "timeout", Value: askTimeout, Usage: "how long a node may take"}},
		run:   t.health,
	}
}

// nodeHealth is one node in the output of health.
type nodeHealth struct {
	Node     string            `json:"node"`
	Address  string            `json:"address"`
	Version  string            `json:"version"`
	Status   string            `json:"status"`
	Problems map[string]string `json:"problems"`
	TookNS   int64             `json:"took_ns"`
}

func (t *tool) health(ctx context.Context, c *cli.Command) error {
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
		nodes, unwell := []nodeHealth{}, 0
		for _, a := range ask[debug.HealthResponse](ctx, p, versions, "Debug.Health") {
			h := nodeHealth{a.node.Id, a.node.Address, a.version, a.value.Status, a.value.Problems, int64(a.took)}
			if a.err != nil {
				h.Status, h.Problems = "unreachable", map[string]string{"call": plain(a.err)}
			}
			if h.Problems == nil {
				h.Problems = map[string]string{}
			}
			if h.Status != "ok" {
				unwell++
			}
			nodes = append(nodes, h)
		}
		if asJSON {
			err = t.printJSON(nodes)
		} else {
			rows := [][]string{{"NODE", "ADDRESS", "VERSION", "STATUS", "TOOK", "PROBLEM"}}
			for _, h := range nodes {
				rows = append(rows, []string{h.Node, h.Address, dash(h.Version), h.Status, micros(h.TookNS), problems(h.Problems)})
			}
			err = table(t.stdout, rows)
		}
		if err == nil && unwell > 0 {
			return &failure{exit: exitUnhealthy, what: fmt.Sprintf("%d of %s of %s not ok", unwell, plural(len(nodes), "node"), name)}
		}
		return err
	})
}

func problems(m map[string]string) string {
	text := ""
	for _, k := range slices.Sorted(maps.Keys(m)) {
		if text != "" {
			text += "; "
		}
		text += k + ": " + m[k]
	}
	return text
}
