package main

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/urfave/cli/v3"

	"github.com/seed-9a4e2794/micro/registry"
)

func (t *tool) registerCommand() *command {
	return &command{
		name: "register", group: groupParts, args: "JSON | @FILE | -", min: 1, max: 1,
		summary: "register a node that cannot do so itself",
		about: `
The record stays until it is deregistered: nobody sees whether the node lives.
Its JSON is what micro get -o json prints.`,
		examples: []string{
			`micro register '{"name":"legacy","version":"1","nodes":[{"id":"legacy-1","address":"127.0.0.1:9000"}]}'`,
			"micro register @legacy.json",
		},
		flags: []cli.Flag{timeoutFlag()},
		run:   t.register,
	}
}

// keeper is a registry that keeps records which no process owns.
type keeper interface {
	RegisterPersistent(ctx context.Context, s *registry.Service) error
}

func (t *tool) register(ctx context.Context, c *cli.Command) error {
	services, err := t.records(c.Args().First())
	if err != nil {
		return err
	}
	return t.with(c, func(p *parts) error {
		ctx, cancel := within(ctx, c)
		defer cancel()
		for _, s := range services {
			register := func(ctx context.Context, s *registry.Service) error { return p.registry.Register(ctx, s) }
			if k, ok := p.registry.(keeper); ok {
				register = k.RegisterPersistent
			}
			if err := register(ctx, s); err != nil {
				return err
			}
			fmt.Fprintf(t.stderr, "registered %s, %s\n", s.Name, plural(len(s.Nodes), "node"))
		}
		return nil
	})
}

// records reads one service or a list of them.
func (t *tool) records(arg string) ([]*registry.Service, error) {
	b, err := t.readArgument(arg)
	if err != nil {
		return nil, err
	}
	if b, err = checkJSON(arg, b, `a record is JSON, such as '{"name":"x","nodes":[{"id":"x-1","address":"127.0.0.1:9000"}]}'`); err != nil {
		return nil, err
	}
	var services []*registry.Service
	if b[0] == '[' {
		err = json.Unmarshal(b, &services)
	} else {
		one := new(registry.Service)
		err = json.Unmarshal(b, one)
		services = append(services, one)
	}
	hint := `such as '{"name":"legacy","nodes":[{"id":"legacy-1","address":"127.0.0.1:9000"}]}'`
	if err != nil {
		return nil, usage(hint, "this is no record of a service: %v", err)
	}
	for _, s := range services {
		if err := registry.Check(s); err != nil {
			return nil, usage(hint, "%v", err)
		}
	}
	return services, nil
}
