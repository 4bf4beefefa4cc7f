package micro

import (
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/seed-9a4e2794/micro/broker"
	"github.com/seed-9a4e2794/micro/broker/direct"
	brokermemory "github.com/seed-9a4e2794/micro/broker/memory"
	"github.com/seed-9a4e2794/micro/client"
	"github.com/seed-9a4e2794/micro/client/selector"
	"github.com/seed-9a4e2794/micro/config/backend"
	"github.com/seed-9a4e2794/micro/config/cmd"
	"github.com/seed-9a4e2794/micro/registry"
	"github.com/seed-9a4e2794/micro/registry/local"
	"github.com/seed-9a4e2794/micro/registry/memory"
	"github.com/seed-9a4e2794/micro/registry/static"
	"github.com/seed-9a4e2794/micro/server"
	"github.com/seed-9a4e2794/micro/transport"
	"github.com/seed-9a4e2794/micro/transport/credentials"
	transportmemory "github.com/seed-9a4e2794/micro/transport/memory"
	"github.com/seed-9a4e2794/micro/transport/port"
	"github.com/seed-9a4e2794/micro/transport/tcp"
)

// BuiltinBackends returns the backends that every program has: the registries
// local, static and memory, the broker memory, and the transports tcp and
// memory. It is for programs that choose backends by name without a service.
func BuiltinBackends() backend.List {
	return backend.List{
		{Name: "local", Registry: func(c backend.Config) (registry.Registry, error) {
			cfg := local.Config{Logger: c.Logger}
			if len(c.Addresses) > 1 {
				return nil, fmt.Errorf("the local registry takes one directory as its address, not %d", len(c.Addresses))
			}
			if len(c.Addresses) == 1 {
				cfg.Dir = c.Addresses[0]
			}
			return local.New(cfg)
		}},
		{Name: "static", Registry: func(c backend.Config) (registry.Registry, error) {
			services, err := static.Parse(strings.Join(c.Addresses, ","))
			if err != nil {
				return nil, err
			}
			return static.New(static.Config{Services: services})
		}},
		{Name: "memory",
			Registry: func(backend.Config) (registry.Registry, error) { return memory.New(), nil },
			Broker:   func(backend.Config) (broker.Broker, error) { return brokermemory.New(), nil },
			Transport: func(backend.Config) (transport.Transport, error) {
				return transportmemory.New(transportmemory.Config{}), nil
			},
		},
		{Name: "tcp", Transport: func(c backend.Config) (transport.Transport, error) {
			return tcp.New(tcp.Config{Logger: c.Logger}), nil
		}},
	}
}

// apply applies what the command line and the environment say. The lock is
// held.
func (s *service) apply(set cmd.Settings) error {
	o := &s.opts
	var errs []error
	srv := func(f server.Option) { o.server = append(o.server, f) }
	cl := func(f client.Option) { o.client = append(o.client, f) }
	for _, t := range []struct {
		value *string
		use   func(string) server.Option
	}{{set.ServerName, server.Name}, {set.ServerVersion, server.Version}, {set.ServerID, server.Id},
		{set.ServerAddress, server.Address}, {set.ServerAdvertise, server.Advertise}} {
		if t.value != nil {
			srv(t.use(*t.value))
		}
	}
	if set.ServerMetadata != nil {
		md := s.server.Options().Metadata
		merged := make(map[string]string, len(md)+len(set.ServerMetadata))
		for k, v := range md {
			merged[k] = v
		}
		for k, v := range set.ServerMetadata {
			merged[k] = v
		}
		srv(server.Metadata(merged))
	}
	if set.RegisterTTL != nil {
		srv(server.RegisterTTL(*set.RegisterTTL))
	}
	if set.RegisterInterval != nil {
		srv(server.RegisterInterval(*set.RegisterInterval))
	}
	if set.ClientRequestTimeout != nil {
		cl(client.RequestTimeout(*set.ClientRequestTimeout))
	}
	if set.ClientRetries != nil {
		cl(client.Retries(*set.ClientRetries))
	}
	if set.ClientPoolSize != nil {
		cl(client.PoolSize(*set.ClientPoolSize))
	}
	if set.ClientPoolTTL != nil {
		cl(client.PoolTTL(*set.ClientPoolTTL))
	}
	if set.Client != nil {
		cl(client.Protocol(*set.Client))
		errs = append(errs, clientProtocol(*set.Client))
	}
	errs = append(errs, serverProtocol(set.Server), s.applyBackends(set), s.applySelector(set.Selector))
	return errors.Join(errs...)
}

// clientProtocol checks the name of a client: see client.WithProtocol.
func clientProtocol(name string) error {
	switch name {
	case "micro", "rpc", "mucp", "grpc", "grpc-web", "connect", "http":
		return nil
	}
	return fmt.Errorf("no client is called %q here (available: micro, rpc, mucp, grpc, grpc-web, connect, http)", name)
}

// serverProtocol checks the name of a server. The one there is answers all of
// these protocols.
func serverProtocol(name *string) error {
	if name == nil {
		return nil
	}
	switch *name {
	case "micro", "rpc", "mucp", "grpc", "grpc-web", "connect", "http":
		return nil
	}
	return fmt.Errorf("no server is called %q here (available: micro, rpc, mucp, grpc, grpc-web, connect, http)", *name)
}

func (s *service) applyBackends(set cmd.Settings) error {
	o := &s.opts
	all := append(o.backends[:len(o.backends):len(o.backends)], BuiltinBackends()...) // the program's come first
	var errs []error
	if set.Registry == nil && set.RegistryAddress != nil {
		if o.Registry == nil {
			local := "local"
			set.Registry = &local
		} else {
			errs = append(errs, addressAlone("registry", set.RegistryAddress))
		}
	}
	if set.Registry != nil {
		r, err := all.Registry(*set.Registry, backend.Config{Addresses: set.RegistryAddress, Logger: o.logger})
		if err == nil {
			o.Registry = r
			s.unsettle()
			s.made.own(r)
		}
		errs = append(errs, err)
	}
	switch {
	case set.Broker == nil && set.BrokerAddress != nil:
		errs = append(errs, addressAlone("broker", set.BrokerAddress))
	case set.Broker == nil:
	case *set.Broker == "direct":
		o.Broker = nil // settle makes it
	default:
		b, err := all.Broker(*set.Broker, backend.Config{Addresses: set.BrokerAddress, Logger: o.logger})
		if err == nil {
			o.Broker = b
			s.made.own(b)
			s.made.brokers = append(s.made.brokers, b)
		}
		errs = append(errs, err)
	}
	errs = append(errs, s.applyTLS(set))
	switch {
	case set.Transport == nil && set.TransportAddress != nil:
		errs = append(errs, addressAlone("transport", set.TransportAddress))
	case set.Transport != nil && isPort(*set.Transport):
		o.Transport = nil // settle makes it
	case set.Transport != nil:
		t, err := all.Transport(*set.Transport, backend.Config{Addresses: set.TransportAddress, Logger: o.logger})
		if err == nil {
			o.Transport = t
			s.made.own(t)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// isPort reports whether the name of a transport is one of those that the port
// for every protocol has: its own, and those that go-micro has for parts of it.
func isPort(name string) bool { return name == "port" || name == "http" || name == "grpc" }

// applyTLS loads the certificates.
func (s *service) applyTLS(set cmd.Settings) error {
	if set.TLSCert == nil && set.TLSKey == nil && set.TLSCA == nil && set.TLSClients == nil {
		return nil
	}
	text := func(p *string) string {
		if p == nil {
			return ""
		}
		return *p
	}
	cfg := credentials.Config{Cert: text(set.TLSCert), Key: text(set.TLSKey), CA: text(set.TLSCA), Logger: s.opts.logger}
	if set.TLSClients != nil {
		var err error
		if cfg.Clients, err = credentials.ParseClients(*set.TLSClients); err != nil {
			return err
		}
	}
	c, err := credentials.Load(cfg)
	if err == nil {
		s.opts.tls = c
	}
	return err
}

// portConfig returns the settings of the port that the service makes.
func (s *service) portConfig() port.Config {
	cfg := port.Config{Logger: s.opts.logger}
	if c := s.opts.tls; c != nil {
		cfg.ClientTLS = c.Client
		if c.Serves() {
			cfg.ServerTLS = c.Server
		}
	}
	return cfg
}

// addressAlone says that an address came without the name of the part that it
// is for.
func addressAlone(part string, addrs []string) error {
	return fmt.Errorf("--%[1]s_address is %[2]q and --%[1]s is not given: say which %[1]s is there", part, strings.Join(addrs, ","))
}

func (s *service) applySelector(name *string) error {
	if name == nil {
		return nil
	}
	switch *name {
	case "default", "registry", "cache":
		s.strategy = nil
	case "random":
		s.strategy = selector.Random
	case "roundrobin":
		s.strategy = selector.NewRoundRobin()
	default:
		return fmt.Errorf("no selector is called %q here (available: default, random, roundrobin)", *name)
	}
	s.opts.selector = nil // settle makes it
	return nil
}

// made is the parts that a service has made, and closes.
type made struct {
	client  io.Closer // nil when the program gave the client
	brokers []broker.Broker
	others  []io.Closer // in the order of their making

	// What settle has derived from the registry: another registry replaces it.
	selector selector.Selector
	broker   broker.Broker

	transport transport.Transport // nil when the program gave it
}

// own closes a part at the end of Run, if it can be closed.
func (m *made) own(part any) {
	if c, ok := part.(io.Closer); ok {
		m.others = append(m.others, c)
	}
}

// disconnectTimeout bounds the disconnecting of a broker that the server has
// not disconnected, as it did not start.
const disconnectTimeout = 5 * time.Second

// close closes all: brokers, which may still send through the client, the
// client, and then the rest, the last first.
func (m *made) close() []error {
	var errs []error
	note := func(err error) {
		if err != nil {
			errs = append(errs, err)
		}
	}
	for _, b := range m.brokers {
		ctx, cancel := context.WithTimeout(context.Background(), disconnectTimeout)
		note(b.Disconnect(ctx))
		cancel()
	}
	if m.client != nil {
		note(m.client.Close())
	}
	for _, c := range slices.Backward(m.others) {
		note(c.Close())
	}
	return errs
}

// same reports whether two parts are one. Those that Go cannot compare are
// taken to be.
func same(a, b any) bool {
	if a == nil || b == nil || reflect.TypeOf(a) != reflect.TypeOf(b) {
		return a == nil && b == nil
	}
	return !reflect.ValueOf(a).Comparable() || a == b
}

// unsettle forgets what was derived from the registry, which has changed. The
// lock is held.
func (s *service) unsettle() {
	o := &s.opts
	if s.made.selector != nil && same(o.selector, s.made.selector) {
		o.selector = nil
	}
	if s.made.broker != nil && same(o.Broker, s.made.broker) {
		o.Broker = nil
	}
}

// settle makes the parts that nobody chose. The lock is held.
func (s *service) settle() error {
	o := &s.opts
	if o.Registry == nil {
		r, err := local.New(local.Config{Logger: o.logger})
		if err != nil {
			return fmt.Errorf("micro: %w", err)
		}
		o.Registry = r
		s.made.own(r)
	}
	switch {
	case o.Transport == nil:
		o.Transport = port.New(s.portConfig())
		s.made.transport = o.Transport
	case o.tls != nil && !same(o.Transport, s.made.transport):
		return fmt.Errorf("micro: TLS is set, and the transport is another (%T) than the port that would use it: leave the transport out, or give TLS to it", o.Transport)
	}
	if o.selector == nil {
		w := selector.New(selector.Config{Registry: o.Registry, Strategy: s.strategy, Logger: o.logger})
		o.selector = w
		s.made.selector = w
		s.made.own(w)
	}
	if sender, ok := s.base.(direct.Sender); o.Broker == nil && ok {
		so := s.server.Options()
		cfg := direct.Config{Registry: o.Registry, Sender: sender, RegisterTTL: so.RegisterTTL, RegisterInterval: so.RegisterInterval, Logger: o.logger}
		if cfg.RegisterInterval >= cfg.RegisterTTL { // the broker's own are in proportion
			cfg.RegisterTTL, cfg.RegisterInterval = 0, 0
		}
		b, err := direct.New(cfg)
		if err != nil {
			return fmt.Errorf("micro: %w", err)
		}
		o.Broker = b
		s.made.broker = b
		s.made.brokers = append(s.made.brokers, b)
	}
	return nil
}

// prepareClient completes the options of the client before its first call.
func (s *service) prepareClient(o *client.Options) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.settle(); err != nil {
		return err
	}
	if o.Registry == nil {
		o.Registry = s.opts.Registry
	}
	if o.Selector == nil {
		o.Selector = s.opts.selector
	}
	if o.Transport == nil {
		o.Transport = s.opts.Transport
	}
	if o.Broker == nil {
		o.Broker = s.opts.Broker
	}
	return nil
}

// prepareServer completes the options of the server before its start.
func (s *service) prepareServer(o *server.Options) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.settle(); err != nil {
		return err
	}
	if o.Registry == nil {
		o.Registry = s.opts.Registry
	}
	if o.Transport == nil {
		o.Transport = s.opts.Transport
	}
	if o.Broker == nil {
		o.Broker = s.opts.Broker
	}
	return nil
}
