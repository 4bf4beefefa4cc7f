package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/seed-9a4e2794/micro/broker"
	"github.com/seed-9a4e2794/micro/client"
	"github.com/seed-9a4e2794/micro/cmd/micro/internal/gateway"
	"github.com/seed-9a4e2794/micro/config/backend"
	"github.com/seed-9a4e2794/micro/registry"
	"github.com/seed-9a4e2794/micro/transport"
	"github.com/seed-9a4e2794/micro/transport/credentials"
	"github.com/seed-9a4e2794/micro/transport/port"
)

// from is how services see the tool.
const from = "micro"

// parts is what commands work with, chosen by flags and environment.
type parts struct {
	registryName string
	registry     registry.Registry
	broker       broker.Broker // nil is the default
	transport    transport.Transport
	tls          *credentials.Credentials // nil is plain text
	client       client.Client
	closers      []func() error // in the order of making
}

// open makes the parts that a command line chooses.
func (t *tool) open(c *cli.Command, opts ...client.Option) (*parts, error) {
	p := &parts{registryName: "local"}
	if name := c.String("registry"); name != "" {
		p.registryName = name
	}
	log, list := t.logger(c), backends()
	config := func(flag string) backend.Config {
		return backend.Config{Addresses: addresses(c.String(flag)), Logger: log}
	}
	var err error
	if p.registry, err = list.Registry(p.registryName, config("registry_address")); err != nil {
		return nil, partFailure(err)
	}
	p.own(p.registry)
	opts = append([]client.Option{client.Registry(p.registry), client.Logger(log), client.From(from)}, opts...)
	if err := p.carry(c, list, config("transport_address")); err != nil {
		return nil, errors.Join(err, p.close())
	}
	opts = append(opts, client.Transport(p.transport))
	if name := c.String("broker"); name != "" && name != "direct" {
		if p.broker, err = list.Broker(name, config("broker_address")); err != nil {
			return nil, errors.Join(partFailure(err), p.close())
		}
		p.own(p.broker)
		opts = append(opts, client.Broker(p.broker))
	}
	p.client = client.NewClient(opts...)
	p.own(p.client)
	return p, nil
}

// carry makes what carries calls: the port for every protocol, as services do,
// unless another is chosen. The others have no TLS.
func (p *parts) carry(c *cli.Command, list backend.List, config backend.Config) error {
	files := credentials.Config{Cert: c.String("tls_cert"), Key: c.String("tls_key"), CA: c.String("tls_ca"), Logger: config.Logger}
	encrypted := files.Cert != "" || files.Key != "" || files.CA != ""
	name := c.String("transport")
	switch name {
	case "", "port", "http", "grpc": // the names that services take for it
	default:
		if encrypted {
			return usage("leave --transport out: the default one has TLS", "the transport %q has no TLS, and --tls_cert, --tls_key or --tls_ca is given", name)
		}
		var err error
		if p.transport, err = list.Transport(name, config); err != nil {
			return partFailure(err)
		}
		p.own(p.transport)
		return nil
	}
	cfg := port.Config{Logger: config.Logger}
	if encrypted {
		var err error
		if p.tls, err = credentials.Load(files); err != nil {
			return usage("micro cert makes an authority and certificates; micro cert show FILE says what is in one", "%v", err)
		}
		cfg.ClientTLS = p.tls.Client
		if p.tls.Serves() { // micro subscribe listens, and others call it with TLS
			cfg.ServerTLS = p.tls.Server
		}
	}
	p.transport = port.New(cfg)
	return nil
}

// partFailure says why a part could not be made: a name that nobody knows is
// the command line's fault.
func partFailure(err error) error {
	if errors.Is(err, registry.ErrUnavailable) || errors.Is(err, broker.ErrUnavailable) {
		return err
	}
	return usage("", "%v", err)
}

func addresses(list string) []string {
	var out []string
	for a := range strings.SplitSeq(list, ",") {
		if a = strings.TrimSpace(a); a != "" {
			out = append(out, a)
		}
	}
	return out
}

func (p *parts) own(part any) {
	if c, ok := part.(io.Closer); ok {
		p.closers = append(p.closers, c.Close)
	}
}

// close closes the parts, those made last first.
func (p *parts) close() error {
	var errs []error
	for i := len(p.closers) - 1; i >= 0; i-- {
		errs = append(errs, p.closers[i]())
	}
	p.closers = nil
	return errors.Join(errs...)
}

// with runs fn with the parts and closes them.
func (t *tool) with(c *cli.Command, fn func(*parts) error, opts ...client.Option) (err error) {
	p, err := t.open(c, opts...)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := p.close(); err == nil {
			err = cerr
		}
	}()
	return fn(p)
}

// service returns the versions of a service, or a failure that names those
// there are.
func (p *parts) service(ctx context.Context, name string) ([]*registry.Service, error) {
	versions, err := p.registry.GetService(ctx, name)
	if err == nil || !errors.Is(err, registry.ErrNotFound) {
		return versions, err
	}
	began := time.Now()
	all, err := p.registry.ListServices(ctx)
	if err != nil {
		return nil, err
	}
	names := gateway.Names(all)
	return nil, missing(fmt.Sprintf("no service %q", name), name, names,
		fmt.Sprintf("(registry: %s, %s, %.1fs)", p.registryName, plural(len(names), "service"), time.Since(began).Seconds()))
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
