package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v3"

	"github.com/seed-9a4e2794/micro/registry"
)

func (t *tool) deregisterCommand() *command {
	return &command{
		name: "deregister", group: groupParts, args: "SERVICE [NODE] | JSON | @FILE | -", min: 1, max: 2,
		summary: "take a service or one of its nodes out of the registry",
		about:   "A node that lives registers again with its next renewal: this is for records that nobody owns.",
		examples: []string{
			"micro deregister legacy",
			"micro deregister legacy legacy-1",
			"micro deregister @legacy.json",
		},
		flags: []cli.Flag{timeoutFlag()},
		run:   t.deregister,
	}
}

func (t *tool) deregister(ctx context.Context, c *cli.Command) error {
	first := c.Args().First()
	return t.with(c, func(p *parts) error {
		ctx, cancel := within(ctx, c)
		defer cancel()
		var services []*registry.Service
		var err error
		if first != "" && strings.ContainsAny(first[:1], "{[@-") {
			services, err = t.records(first)
		} else {
			services, err = p.nodes(ctx, first, c.Args().Get(1))
		}
		if err != nil {
			return err
		}
		for _, s := range services {
			if err := p.registry.Deregister(ctx, s); err != nil {
				return err
			}
			fmt.Fprintf(t.stderr, "deregistered %s %s, %s\n", s.Name, dash(s.Version), plural(len(s.Nodes), "node"))
		}
		return nil
	})
}

// nodes returns a service with the node of that id, or with all.
func (p *parts) nodes(ctx context.Context, name, id string) ([]*registry.Service, error) {
	versions, err := p.service(ctx, name)
	if err != nil || id == "" {
		return versions, err
	}
	var ids []string
	for _, s := range versions {
		for _, n := range s.Nodes {
			if n.Id == id {
				one := *s
				one.Nodes = []*registry.Node{n}
				return []*registry.Service{&one}, nil
			}
			ids = append(ids, n.Id)
		}
	}
	slices.Sort(ids)
	return nil, missing(fmt.Sprintf("%s has no node %q", name, id), id, ids, "")
}
