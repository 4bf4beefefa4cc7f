package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"sync"

	"github.com/urfave/cli/v3"

	"github.com/seed-9a4e2794/micro"
	rawbytes "github.com/seed-9a4e2794/micro/codec/bytes"
	"github.com/seed-9a4e2794/micro/server"
)

// subscriberName is the service that micro subscribe runs, to be reachable.
const subscriberName = "micro-subscribe"

func (t *tool) subscribeCommand() *command {
	return &command{
		name: "subscribe", group: groupUse, args: "TOPIC", min: 1, max: 1,
		summary: "print the events of a topic until Ctrl-C",
		about: `
Each event is a line of JSON on stdout; one that is not JSON is printed as a
JSON string. While it runs, the registry shows a service micro-subscribe.`,
		examples: []string{
			"micro subscribe orders.created",
			"micro subscribe orders.created | jq .id",
			"micro subscribe orders.created --queue audit",
		},
		flags: []cli.Flag{&cli.StringFlag{Name: "queue", Usage: "share the events with the others of this queue"}},
		run:   t.subscribe,
	}
}

func (t *tool) subscribe(ctx context.Context, c *cli.Command) error {
	return t.with(c, func(p *parts) error {
		topic := c.Args().First()
		opts := []micro.Option{micro.Args(nil), micro.HandleSignal(false), micro.Context(ctx), micro.Logger(t.logger(c)),
			micro.Name(subscriberName), micro.Version(thisBuild().Version), micro.Registry(p.registry),
			micro.AfterStart(func() error {
				fmt.Fprintf(t.stderr, "subscribed to %s, ctrl-c ends it\n", topic)
				return nil
			})}
		if p.broker != nil {
			opts = append(opts, micro.Broker(p.broker))
		}
		opts = append(opts, micro.Transport(p.transport))
		service := micro.NewService(opts...)
		if err := service.Init(); err != nil {
			return err
		}
		var mu sync.Mutex // one line at a time
		print := func(_ context.Context, event *rawbytes.Frame) error {
			mu.Lock()
			defer mu.Unlock()
			return writeLine(t.stdout, asLine(event.Data))
		}
		var sopts []server.SubscriberOption
		if q := c.String("queue"); q != "" {
			sopts = append(sopts, server.SubscriberQueue(q))
		}
		if err := micro.RegisterSubscriber(topic, service.Server(), print, sopts...); err != nil {
			return err
		}
		return service.Run()
	})
}

// asLine returns an event as one line of JSON.
func asLine(data []byte) []byte {
	var b bytes.Buffer
	if json.Compact(&b, data) == nil {
		return b.Bytes()
	}
	line, _ := json.Marshal(string(data)) // a string always has a form
	return line
}
