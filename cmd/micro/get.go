package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/urfave/cli/v3"

	"github.com/seed-9a4e2794/micro/registry"
)

func (t *tool) getCommand() *command {
	return &command{
		name: "get", aliases: []string{"describe"}, group: groupLook, args: "SERVICE", min: 1, max: 1,
		summary:  "show a service: its endpoints, their fields, its nodes",
		examples: []string{"micro get greeter", "micro get greeter -o json"},
		flags:    []cli.Flag{outputFlag(), timeoutFlag()},
		run:      t.get,
	}
}

func (t *tool) get(ctx context.Context, c *cli.Command) error {
	asJSON, err := wantsJSON(c)
	if err != nil {
		return err
	}
	return t.with(c, func(p *parts) error {
		ctx, cancel := within(ctx, c)
		defer cancel()
		versions, err := p.service(ctx, c.Args().First())
		if err != nil {
			return err
		}
		if asJSON {
			return t.printJSON(versions)
		}
		for i, s := range versions {
			if i > 0 {
				fmt.Fprintln(t.stdout)
			}
			if err := t.describe(s); err != nil {
				return err
			}
		}
		return nil
	})
}

// describe prints one version of a service.
func (t *tool) describe(s *registry.Service) error {
	fmt.Fprintf(t.stdout, "%s  version %s  %s", s.Name, dash(s.Version), plural(len(s.Nodes), "node"))
	if len(s.Metadata) > 0 {
		fmt.Fprintf(t.stdout, "  %s", pairs(s.Metadata))
	}
	fmt.Fprintln(t.stdout)
	endpoints := [][]string{{"  ENDPOINT", "KIND", "REQUEST", "RESPONSE"}}
	topics := [][]string{{"  TOPIC", "EVENT"}}
	types := [][]string{{"  TYPE", "FIELD", "KIND"}}
	for _, e := range s.Endpoints {
		switch {
		case e.Metadata["subscriber"] == "true":
			topics = append(topics, []string{"  " + e.Metadata["topic"], message(e.Request)})
		case e.Metadata["stream"] == "true":
			endpoints = append(endpoints, []string{"  " + e.Name, "stream", message(e.Request), message(e.Response)})
		default:
			endpoints = append(endpoints, []string{"  " + e.Name, "unary", message(e.Request), message(e.Response)})
		}
		for _, v := range []*registry.Value{e.Request, e.Response} {
			types = withType(types, v)
		}
	}
	nodes := [][]string{{"  NODE", "ADDRESS", "METADATA"}}
	for _, n := range s.Nodes {
		nodes = append(nodes, []string{"  " + n.Id, n.Address, dash(pairs(n.Metadata))})
	}
	for _, rows := range [][][]string{endpoints, topics, types, nodes} {
		if len(rows) == 1 {
			continue
		}
		fmt.Fprintln(t.stdout)
		if err := table(t.stdout, rows); err != nil {
			return err
		}
	}
	return nil
}

// message names a type. Stream handlers without types register only that they
// are streams.
func message(v *registry.Value) string {
	if v == nil || v.Type == "Context" || v.Type == "Stream" {
		return "-"
	}
	if v.Type == "" {
		return dash(v.Name)
	}
	return v.Type
}

// withType adds the fields of a type, unless it is there already.
func withType(rows [][]string, v *registry.Value) [][]string {
	name := "  " + message(v)
	if v == nil || len(v.Values) == 0 || slices.ContainsFunc(rows, func(row []string) bool { return row[0] == name }) {
		return rows
	}
	for _, f := range fieldRows("", v) {
		rows = append(rows, []string{name, f[0], f[1]})
		name = ""
	}
	return rows
}

// fieldRows returns the fields of a type, those of inner types with a dot: as
// micro call takes them.
func fieldRows(prefix string, v *registry.Value) [][2]string {
	var rows [][2]string
	for _, f := range v.Values {
		if len(f.Values) > 0 {
			rows = append(rows, fieldRows(prefix+f.Name+".", f)...)
			continue
		}
		rows = append(rows, [2]string{prefix + f.Name, dash(f.Type)})
	}
	return rows
}

// pairs prints a map in the order of its keys.
func pairs(m map[string]string) string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		out = append(out, k+"="+m[k])
	}
	return strings.Join(out, " ")
}
