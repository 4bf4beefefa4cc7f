package micro

import (
	"context"
	"log/slog"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/seed-9a4e2794/micro/broker"
	"github.com/seed-9a4e2794/micro/client"
	"github.com/seed-9a4e2794/micro/client/selector"
	"github.com/seed-9a4e2794/micro/config/backend"
	"github.com/seed-9a4e2794/micro/config/cmd"
	"github.com/seed-9a4e2794/micro/registry"
	"github.com/seed-9a4e2794/micro/server"
	"github.com/seed-9a4e2794/micro/transport"
	"github.com/seed-9a4e2794/micro/transport/credentials"
)

// Options are the settings of a service. What is nil is made when it is
// needed.
type Options struct {
	Broker    broker.Broker
	Cmd       cmd.Cmd
	Client    client.Client
	Server    server.Server
	Registry  registry.Registry
	Transport transport.Transport

	// BeforeStart and AfterStart run around the start of the server, in order;
	// the first error ends Run. BeforeStop and AfterStop run around its stop;
	// all of them run, and their errors are joined.
	BeforeStart []func() error
	BeforeStop  []func() error
	AfterStart  []func() error
	AfterStop   []func() error

	// Context ends Run when it ends. Nil never does.
	Context context.Context

	tls        *credentials.Credentials
	selector   selector.Selector
	logger     *slog.Logger
	backends   backend.List
	flags      []cli.Flag
	action     cli.ActionFunc
	args       []string
	argsSet    bool
	signals    signals
	server     []server.Option
	client     []client.Option
	wrapClient []client.Wrapper
}

// signals says whether Run listens for signals; the zero value does.
type signals int

const noSignals signals = 1

// Option sets an Options.
type Option func(*Options)

// Name sets the name of the service.
func Name(n string) Option { return serverOption(server.Name(n)) }

// Version sets the version of the service.
func Version(v string) Option { return serverOption(server.Version(v)) }

// Address sets where the service listens, host:port.
func Address(addr string) Option { return serverOption(server.Address(addr)) }

// TLS encrypts what the service answers and what it calls, and verifies whom it
// has reached: see credentials.Load. Where the credentials have no certificate
// the service calls by TLS and is called without. Together with a Transport of
// the program's own it is an error: that has settings of its own. Nil is no TLS.
func TLS(c *credentials.Credentials) Option { return func(o *Options) { o.tls = c } }

// Metadata sets what is registered with the node.
func Metadata(md map[string]string) Option { return serverOption(server.Metadata(md)) }

// RegisterTTL sets how long a registration holds.
func RegisterTTL(t time.Duration) Option { return serverOption(server.RegisterTTL(t)) }

// RegisterInterval sets how often a registration is renewed.
func RegisterInterval(t time.Duration) Option { return serverOption(server.RegisterInterval(t)) }

// WrapHandler adds wrappers around the serving of calls. The first runs first.
func WrapHandler(w ...server.HandlerWrapper) Option {
	return func(o *Options) {
		for _, f := range w {
			o.server = append(o.server, server.WrapHandler(f))
		}
	}
}

// WrapSubscriber adds wrappers around the handling of events. The first runs
// first.
func WrapSubscriber(w ...server.SubscriberWrapper) Option {
	return func(o *Options) {
		for _, f := range w {
			o.server = append(o.server, server.WrapSubscriber(f))
		}
	}
}

func serverOption(f server.Option) Option {
	return func(o *Options) { o.server = append(o.server, f) }
}

// WrapClient adds wrappers around the client. The first is the outermost.
func WrapClient(w ...client.Wrapper) Option {
	return func(o *Options) { o.wrapClient = append(o.wrapClient, w...) }
}

// WrapCall adds wrappers around the attempts of calls. The first is the
// outermost.
func WrapCall(w ...client.CallWrapper) Option {
	return func(o *Options) { o.client = append(o.client, client.WrapCall(w...)) }
}

// Broker sets the broker.
func Broker(b broker.Broker) Option { return func(o *Options) { o.Broker = b } }

// Cmd sets the command line.
func Cmd(c cmd.Cmd) Option { return func(o *Options) { o.Cmd = c } }

// Client sets the client.
func Client(c client.Client) Option { return func(o *Options) { o.Client = c } }

// Server sets the server.
func Server(s server.Server) Option { return func(o *Options) { o.Server = s } }

// Registry sets the registry, for server, client and broker.
func Registry(r registry.Registry) Option { return func(o *Options) { o.Registry = r } }

// Selector sets what picks the nodes to call.
func Selector(s selector.Selector) Option { return func(o *Options) { o.selector = s } }

// Transport sets the transport, for server and client.
func Transport(t transport.Transport) Option { return func(o *Options) { o.Transport = t } }

// Context sets the context that ends Run.
func Context(ctx context.Context) Option { return func(o *Options) { o.Context = ctx } }

// Backends offers backends to the flags --registry, --broker and --transport.
func Backends(b ...backend.Backend) Option {
	return func(o *Options) { o.backends = append(o.backends, b...) }
}

// Flags adds flags to the command line.
func Flags(f ...cli.Flag) Option { return func(o *Options) { o.flags = append(o.flags, f...) } }

// Action sets what Init calls once the command line has been read and applied;
// what it returns is Init's error. It may use the service's client. It is not
// called when Args(nil) has turned the command line off.
func Action(f func(context.Context, *cli.Command) error) Option {
	return func(o *Options) { o.action = f }
}

// Args sets the arguments that Init reads instead of the program's own. Nil
// turns the reading of arguments and environment off.
func Args(args []string) Option {
	return func(o *Options) { o.args, o.argsSet = args, true }
}

// HandleSignal says whether Run listens for signals. It does by default.
func HandleSignal(b bool) Option {
	return func(o *Options) {
		o.signals = noSignals
		if b {
			o.signals = 0
		}
	}
}

// Logger sets where the service logs. Nil is slog.Default.
func Logger(l *slog.Logger) Option { return func(o *Options) { o.logger = l } }

// BeforeStart adds a function to run before the server starts.
func BeforeStart(fn func() error) Option {
	return func(o *Options) { o.BeforeStart = append(o.BeforeStart, fn) }
}

// AfterStart adds a function to run after the server has started.
func AfterStart(fn func() error) Option {
	return func(o *Options) { o.AfterStart = append(o.AfterStart, fn) }
}

// BeforeStop adds a function to run before the server stops.
func BeforeStop(fn func() error) Option {
	return func(o *Options) { o.BeforeStop = append(o.BeforeStop, fn) }
}

// AfterStop adds a function to run after the server has stopped.
func AfterStop(fn func() error) Option {
	return func(o *Options) { o.AfterStop = append(o.AfterStop, fn) }
}
