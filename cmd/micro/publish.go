package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/urfave/cli/v3"

	"github.com/seed-9a4e2794/micro/broker"
	"github.com/seed-9a4e2794/micro/client"
	"github.com/seed-9a4e2794/micro/codec"
	"github.com/seed-9a4e2794/micro/registry"
)

func (t *tool) publishCommand() *command {
	return &command{
		name: "publish", group: groupUse, args: "TOPIC JSON | KEY=VALUE... | @FILE | -", min: 2, max: -1,
		summary: "publish an event to a topic",
		about: `
With the direct broker an event that nobody subscribes to is gone: the command
says so, and fails with --require.`,
		examples: []string{
			"micro publish orders.created id=1 paid=true",
			`micro publish orders.created '{"id":1}' --require`,
			"micro publish orders.created @order.json",
		},
		flags: []cli.Flag{
			&cli.BoolFlag{Name: "require", Usage: "fail when nobody subscribes"},
			&cli.StringSliceFlag{Name: "metadata", Aliases: []string{"H"}, Usage: "header of the event; may be given again"},
			timeoutFlag(),
		},
		run: t.publish,
	}
}

func (t *tool) publish(ctx context.Context, c *cli.Command) error {
	ctx, err := withMetadata(ctx, c)
	if err != nil {
		return err
	}
	return t.with(c, func(p *parts) error {
		ctx, cancel := within(ctx, c)
		defer cancel()
		topic := c.Args().First()
		all, err := p.registry.ListServices(ctx)
		if err != nil && !c.IsSet("broker") { // other brokers know their subscribers without it
			return err
		}
		topics, event := topicsOf(all, topic)
		body, err := t.body(c.Args().Tail(), event)
		if err != nil {
			return err
		}
		msg := p.client.NewMessage(topic, body, client.WithMessageContentType(codec.JSON))
		err = p.client.Publish(ctx, msg, client.RequireSubscriber())
		if !errors.Is(err, broker.ErrNoSubscriber) {
			return err
		}
		f := missing(fmt.Sprintf("nobody subscribes to %q: the event is gone", topic), topic, topics, "")
		if len(topics) == 0 {
			f.hints = []string{"no topic has subscribers"}
		}
		if c.Bool("require") {
			return f
		}
		fmt.Fprintf(t.stderr, "warning: %s\n  %s\n", f.what, f.hints[0])
		return nil
	})
}

// topicsOf returns the topics that services subscribe to, and the type of the
// events of one of them, nil when nobody has registered it.
func topicsOf(services []*registry.Service, topic string) ([]string, *registry.Value) {
	var topics []string
	var event *registry.Value
	seen := make(map[string]bool)
	for _, s := range services {
		for _, e := range s.Endpoints {
			name := e.Metadata["topic"]
			if e.Metadata["subscriber"] != "true" || name == "" {
				continue
			}
			if !seen[name] {
				seen[name] = true
				topics = append(topics, name)
			}
			if name == topic && event == nil && s.Name != subscriberName {
				event = e.Request
			}
		}
	}
	return topics, event
}
