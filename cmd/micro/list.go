package main

import (
	"context"
	"fmt"
	"strconv"

	"github.com/urfave/cli/v3"

	"github.com/seed-9a4e2794/micro/broker/direct"
	"github.com/seed-9a4e2794/micro/cmd/micro/internal/gateway"
	"github.com/seed-9a4e2794/micro/registry"
)

func (t *tool) listCommand() *command {
	return &command{
		name: "list", aliases: []string{"services"}, group: groupLook,
		summary: "list the services of the registry",
		about:   "One line a service and version. With -o json the records as they are registered.",
		examples: []string{
			"micro list",
			"micro list -o json | jq -r '.[].name'",
			"micro list --registry static --registry_address 'greeter=10.0.0.7:9000'",
		},
		flags: []cli.Flag{outputFlag(), &cli.BoolFlag{Name: "all", Aliases: []string{"a"}, Usage: "with the records of subscriptions"}, timeoutFlag()},
		run:   t.list,
	}
}

// endpointsWidth is how wide the list of endpoints gets.
const endpointsWidth = 60

func (t *tool) list(ctx context.Context, c *cli.Command) error {
	asJSON, err := wantsJSON(c)
	if err != nil {
		return err
	}
	return t.with(c, func(p *parts) error {
		ctx, cancel := within(ctx, c)
		defer cancel()
		all, err := p.registry.ListServices(ctx)
		if err != nil {
			return err
		}
		services := make([]*registry.Service, 0, len(all))
		for _, s := range all {
			if c.Bool("all") || s.Name != direct.ServiceName {
				services = append(services, s)
			}
		}
		if asJSON {
			return t.printJSON(services)
		}
		if len(services) == 0 {
			fmt.Fprintf(t.stderr, "no services (registry: %s)   start one: micro run ./greeter\n", p.registryName)
			return nil
		}
		rows := [][]string{{"SERVICE", "VERSION", "NODES", "ENDPOINTS"}}
		for _, s := range services {
			endpoints := gateway.Endpoints([]*registry.Service{s})
			rows = append(rows, []string{s.Name, dash(s.Version), strconv.Itoa(len(s.Nodes)), dash(clip(endpoints, endpointsWidth))})
		}
		return table(t.stdout, rows)
	})
}

// dash stands for what is not there.
func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
