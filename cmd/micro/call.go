package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/seed-9a4e2794/micro/client"
	"github.com/seed-9a4e2794/micro/cmd/micro/internal/gateway"
	"github.com/seed-9a4e2794/micro/cmd/micro/internal/lookup"
	"github.com/seed-9a4e2794/micro/metadata"
	"github.com/seed-9a4e2794/micro/registry"
)

func (t *tool) callCommand() *command {
	return &command{
		name: "call", group: groupUse, args: "SERVICE ENDPOINT [JSON | KEY=VALUE... | @FILE | -]", min: 2, max: -1,
		summary: "call an endpoint of a service",
		about: `
ENDPOINT is Greeter.Hello, or hello where that is unique. The request is JSON,
or fields with the types that the service has registered: name=Ada age=36
address.city=London tags=a tags=b. The answer's body goes to stdout. Exit codes
of 64 and more are what the service answered: 64 plus the gRPC code.`,
		examples: []string{
			"micro call greeter hello name=Ada",
			`micro call greeter Greeter.Hello '{"name":"Ada"}' --metadata X-Tenant=blue`,
			"micro call helloworld.Greeter SayHello name=Ada --protocol grpc --address 127.0.0.1:50051",
		},
		flags: append(callFlags(), timeoutFlag()),
		run:   t.call,
	}
}

// callFlags are those of call and stream.
func callFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "metadata", Aliases: []string{"H"}, Usage: "metadata of the call; may be given again"},
		&cli.StringFlag{Name: "address", Usage: "call this node, host:port, and no other"},
		&cli.StringFlag{Name: "protocol", Usage: "micro, grpc, grpc-web, connect (or http), mucp; else (or rpc) what the node's record says"},
		bodyFlag(),
	}
}

// target is the endpoint that a command is about.
type target struct {
	service, endpoint string
	record            *registry.Endpoint // nil when nobody has registered it
	opts              []client.CallOption
	form              form
}

// target finds the endpoint of a call or stream. With an address the registry
// only helps.
func (p *parts) target(ctx context.Context, c *cli.Command) (*target, error) {
	x := &target{service: c.Args().Get(0), endpoint: c.Args().Get(1)}
	protocol, address := c.String("protocol"), c.String("address")
	if err := p.speaks(protocol); err != nil {
		return nil, err
	}
	if protocol != "" {
		x.opts = append(x.opts, client.WithProtocol(protocol))
	}
	versions, err := p.service(ctx, x.service)
	if address != "" {
		x.opts = append(x.opts, client.WithAddress(address))
		if n := nodeAt(versions, address); n != nil {
			x.opts = append(x.opts, asNode(n))
		}
		err = nil
	}
	if err != nil {
		return nil, err
	}
	endpoints := gateway.Endpoints(versions)
	if len(endpoints) == 0 { // the node decides
		x.form, err = p.form(ctx, x, versions, protocol, address)
		return x, err
	}
	found, several := lookup.Endpoint(endpoints, x.endpoint)
	switch {
	case found != "":
		x.endpoint, x.record = found, gateway.Endpoint(versions, found)
	case strings.HasPrefix(x.endpoint, "Debug."): // every service answers these and registers none
	case len(several) > 0:
		return nil, &failure{exit: exitUsage, what: fmt.Sprintf("%s has several endpoints called %q", x.service, x.endpoint),
			hints: []string{"say which: " + lookup.List(several)}}
	default:
		return nil, missing(fmt.Sprintf("%s has no endpoint %q", nameAndVersions(versions), x.endpoint), x.endpoint, endpoints, "")
	}
	return x, nil
}

// nodeAt returns the node of that address, nil when nobody has registered it.
func nodeAt(versions []*registry.Service, address string) *registry.Node {
	for _, s := range versions {
		for _, n := range s.Nodes {
			if n.Address == address {
				return n
			}
		}
	}
	return nil
}

// nameAndVersions names a service with its versions.
func nameAndVersions(versions []*registry.Service) string {
	name := versions[0].Name
	for i, s := range versions {
		if i > 0 {
			name += ","
		}
		name += " " + s.Version
	}
	return strings.TrimSpace(name)
}

// isStream reports whether the endpoint is registered as a stream.
func (x *target) isStream() bool { return x.record != nil && x.record.Metadata["stream"] == "true" }

// request is the registered type of the request.
func (x *target) request() *registry.Value {
	if x.record == nil {
		return nil
	}
	return x.record.Request
}

// withMetadata adds what --metadata says to a context.
func withMetadata(ctx context.Context, c *cli.Command) (context.Context, error) {
	for _, kv := range c.StringSlice("metadata") {
		k, v, ok := strings.Cut(kv, "=")
		if !ok || k == "" {
			return nil, usage("such as --metadata X-Tenant=blue", "--metadata is %q, not KEY=VALUE", kv)
		}
		ctx = metadata.Set(ctx, k, v)
	}
	return ctx, nil
}

// dialTime bounds connecting so that two attempts at nodes that do not answer
// end before the time of the whole call: then it is known that no service had
// the request.
func dialTime(c *cli.Command) client.CallOption {
	return client.WithDialTimeout(max(1, min(client.DefaultDialTimeout, c.Duration("timeout")/3)))
}

func (t *tool) call(ctx context.Context, c *cli.Command) error {
	if err := wantsBody(c); err != nil {
		return err
	}
	ctx, err := withMetadata(ctx, c)
	if err != nil {
		return err
	}
	return t.with(c, func(p *parts) error {
		ctx, cancel := within(ctx, c)
		defer cancel()
		x, err := p.target(ctx, c)
		if err != nil {
			return err
		}
		if x.isStream() {
			return usage("use: micro stream "+x.service+" "+x.endpoint, "%s is a stream", x.endpoint)
		}
		body, err := t.body(c.Args().Slice()[2:], x.request())
		if err != nil {
			return err
		}
		var node registry.Node
		seen := client.WithCallWrapper(func(next client.CallFunc) client.CallFunc {
			return func(ctx context.Context, n *registry.Node, req client.Request, rsp any, opts client.CallOptions) error {
				node = *n
				return next(ctx, n, req, rsp, opts)
			}
		})
		msg, err := x.form.request(body)
		if err != nil {
			return err
		}
		rsp := x.form.response()
		began := time.Now()
		req := p.client.NewRequest(x.service, x.endpoint, msg, client.WithContentType(x.form.contentType()))
		if err := p.client.Call(ctx, req, rsp, append(x.opts, seen, dialTime(c))...); err != nil {
			return callFailure(x.service, x.endpoint, err)
		}
		took := time.Since(began)
		text, err := x.form.text(rsp)
		if err != nil {
			return err
		}
		if err := t.printMessage(text); err != nil {
			return err
		}
		if terminal(t.stderr) {
			fmt.Fprintf(t.stderr, "%s %s  %s\n", t.green("ok"), short(took), place(node))
		}
		return nil
	})
}

// place is a node as people see it.
func place(n registry.Node) string {
	if n.Id == n.Address {
		return n.Address
	}
	return n.Id + "@" + n.Address
}

func (t *tool) green(s string) string {
	if colours(t.stderr) {
		return "\x1b[32m" + s + "\x1b[0m"
	}
	return s
}

// short prints a duration with two or three digits.
func short(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return d.Round(time.Microsecond).String()
	case d < time.Second:
		return fmt.Sprintf("%.1fms", d.Seconds()*1000)
	case d < time.Minute:
		return fmt.Sprintf("%.1fs", d.Seconds())
	}
	return d.Round(time.Second).String()
}

// foldAt is how long a message may be to stay on one line of a terminal.
const foldAt = 100

// printMessage prints a message as it came; a long one is indented on a
// terminal.
func (t *tool) printMessage(m json.RawMessage) error {
	if len(m) > foldAt && terminal(t.stdout) {
		var b bytes.Buffer
		if json.Indent(&b, m, "", "  ") == nil {
			m = b.Bytes()
		}
	}
	return writeLine(t.stdout, m)
}

func writeLine(w io.Writer, line []byte) error {
	_, err := w.Write(append(line[:len(line):len(line)], '\n'))
	return err
}
