package server

import (
	"context"
	"crypto/tls"
	"log/slog"
	"sync"
	"time"

	"github.com/seed-9a4e2794/micro/broker"
	"github.com/seed-9a4e2794/micro/codec"
	"github.com/seed-9a4e2794/micro/registry"
	"github.com/seed-9a4e2794/micro/transport"
)

// Options are the settings of a server.
type Options struct {
	// Codecs are added to the built-in ones, by content type.
	Codecs   map[string]codec.NewCodec
	Broker   broker.Broker
	Registry registry.Registry
	// Transport is what the server listens with. Nil is all protocols on one
	// port, with TLS when TLS is set.
	Transport transport.Transport
	// TLS makes the port take TLS and nothing else. It is used where Transport
	// is nil.
	TLS *tls.Config
	// Metadata is registered with the node.
	Metadata map[string]string
	// Name and Version are the service's. Id tells its nodes apart; empty is a
	// random one.
	Name, Version, Id string
	// Address is where to listen, host:port. Empty follows the registry: the
	// loopback address when its nodes are all on this machine, else all
	// addresses.
	Address string
	// Advertise is the address to register when it is not the one listened on.
	Advertise string

	HdlrWrappers []HandlerWrapper
	SubWrappers  []SubscriberWrapper

	// RegisterCheck is asked before each registration; an error takes the node
	// out of the registry until it passes again. Nil always passes.
	RegisterCheck func(context.Context) error
	// RegisterTTL is how long a registration holds, RegisterInterval how often
	// it is renewed. An interval of 0 registers once.
	RegisterTTL      time.Duration
	RegisterInterval time.Duration

	// Router serves all calls instead of the handlers. Nil is the handlers.
	Router Router

	// DrainDelay is how long Stop serves on after leaving the registry.
	// Negative is the default: nothing when the registry's nodes are all on
	// this machine, else DefaultDrainDelay.
	DrainDelay time.Duration
	// StopTimeout bounds Stop.
	StopTimeout time.Duration

	// Logger gets what no caller can be told. Nil is slog.Default.
	Logger *slog.Logger

	// Context holds what programs hang on a server. RegisterCheck, the
	// registry and the broker get contexts that carry its values; that it ends
	// stops nothing. Nil is context.Background.
	Context context.Context

	wait    *sync.WaitGroup
	prepare func(*Options) error
	guard   *guard // nil when nobody is asked
}

// Option sets an Options.
type Option func(*Options)

// Name sets the service's name.
func Name(n string) Option { return func(o *Options) { o.Name = n } }

// Id sets what tells the service's nodes apart.
func Id(id string) Option { return func(o *Options) { o.Id = id } }

// Version sets the service's version.
func Version(v string) Option { return func(o *Options) { o.Version = v } }

// Address sets where to listen.
func Address(a string) Option { return func(o *Options) { o.Address = a } }

// Advertise sets the address to register.
func Advertise(a string) Option { return func(o *Options) { o.Advertise = a } }

// Broker sets the broker.
func Broker(b broker.Broker) Option { return func(o *Options) { o.Broker = b } }

// Codec adds a codec for a content type.
func Codec(contentType string, c codec.NewCodec) Option {
	return func(o *Options) {
		codecs := make(map[string]codec.NewCodec, len(o.Codecs)+1)
		for k, v := range o.Codecs {
			codecs[k] = v
		}
		codecs[contentType] = c
		o.Codecs = codecs
	}
}

// Registry sets the registry.
func Registry(r registry.Registry) Option { return func(o *Options) { o.Registry = r } }

// Transport sets the transport.
func Transport(t transport.Transport) Option { return func(o *Options) { o.Transport = t } }

// TLS makes the port take TLS and nothing else. Certificates that change are
// given by GetConfigForClient or GetCertificate: see transport/credentials.
func TLS(cfg *tls.Config) Option { return func(o *Options) { o.TLS = cfg } }

// Metadata sets what is registered with the node. The map is copied.
func Metadata(md map[string]string) Option {
	return func(o *Options) {
		o.Metadata = make(map[string]string, len(md))
		for k, v := range md {
			o.Metadata[k] = v
		}
	}
}

// RegisterCheck sets the check asked before each registration.
func RegisterCheck(fn func(context.Context) error) Option {
	return func(o *Options) { o.RegisterCheck = fn }
}

// RegisterTTL sets how long a registration holds.
func RegisterTTL(t time.Duration) Option { return func(o *Options) { o.RegisterTTL = t } }

// RegisterInterval sets how often a registration is renewed.
func RegisterInterval(t time.Duration) Option { return func(o *Options) { o.RegisterInterval = t } }

// WithRouter sets the router.
func WithRouter(r Router) Option { return func(o *Options) { o.Router = r } }

// Wait makes Stop wait for wg too. Stop always waits for calls and events
// under way, so nil adds nothing.
func Wait(wg *sync.WaitGroup) Option { return func(o *Options) { o.wait = wg } }

// WrapHandler adds a wrapper around the serving of calls. The first one added
// is the outermost.
func WrapHandler(w HandlerWrapper) Option {
	return func(o *Options) { o.HdlrWrappers = append(o.HdlrWrappers[:len(o.HdlrWrappers):len(o.HdlrWrappers)], w) }
}

// WrapSubscriber adds a wrapper around the handling of events. The first one
// added is the outermost.
func WrapSubscriber(w SubscriberWrapper) Option {
	return func(o *Options) { o.SubWrappers = append(o.SubWrappers[:len(o.SubWrappers):len(o.SubWrappers)], w) }
}

// DrainDelay sets how long Stop serves on after leaving the registry.
func DrainDelay(d time.Duration) Option { return func(o *Options) { o.DrainDelay = d } }

// StopTimeout bounds Stop.
func StopTimeout(d time.Duration) Option { return func(o *Options) { o.StopTimeout = d } }

// Logger sets where the server logs.
func Logger(l *slog.Logger) Option { return func(o *Options) { o.Logger = l } }

// Context sets the base context.
func Context(ctx context.Context) Option { return func(o *Options) { o.Context = ctx } }

// Prepare sets a function that completes the options at the beginning of
// Start: what it is for is parts that are made only when they are needed.
func Prepare(fn func(*Options) error) Option { return func(o *Options) { o.prepare = fn } }

// HandlerOptions are the options of a handler.
type HandlerOptions struct {
	// Internal handlers are not registered.
	Internal bool
	// Metadata is registered with an endpoint, by its name.
	Metadata map[string]map[string]string

	safe []string
}

// HandlerOption sets a HandlerOptions.
type HandlerOption func(*HandlerOptions)

// EndpointMetadata sets what is registered with the endpoint of that name,
// such as "Greeter.Hello".
func EndpointMetadata(name string, md map[string]string) HandlerOption {
	return func(o *HandlerOptions) {
		if o.Metadata == nil {
			o.Metadata = make(map[string]map[string]string)
		}
		o.Metadata[name] = md
	}
}

// Safe says of endpoints, such as "Greeter.Hello", that calls of them change
// nothing, so that they may be made by an HTTP GET, be repeated, and be
// answered from a cache (RFC 9110 §9.2.1). It is registered as safe=true.
func Safe(endpoints ...string) HandlerOption {
	return func(o *HandlerOptions) { o.safe = append(o.safe[:len(o.safe):len(o.safe)], endpoints...) }
}

// safeKey is the metadata of safe endpoints.
const safeKey = "safe"

// InternalHandler keeps a handler out of the registry.
func InternalHandler(b bool) HandlerOption { return func(o *HandlerOptions) { o.Internal = b } }

// SubscriberOptions are the options of a subscriber.
type SubscriberOptions struct {
	// AutoAck acknowledges an event when its handler returns nil. It is on by
	// default.
	AutoAck bool
	// Queue names the group that shares the events; empty is no group.
	Queue string
	// Internal subscribers are not registered as endpoints.
	Internal bool
	Context  context.Context
}

// SubscriberOption sets a SubscriberOptions.
type SubscriberOption func(*SubscriberOptions)

// NewSubscriberOptions applies opts to the default SubscriberOptions.
func NewSubscriberOptions(opts ...SubscriberOption) SubscriberOptions {
	o := SubscriberOptions{AutoAck: true}
	for _, f := range opts {
		f(&o)
	}
	return o
}

// DisableAutoAck leaves it to the handler to acknowledge.
func DisableAutoAck() SubscriberOption { return func(o *SubscriberOptions) { o.AutoAck = false } }

// SubscriberQueue joins the subscriber to a queue.
func SubscriberQueue(name string) SubscriberOption {
	return func(o *SubscriberOptions) { o.Queue = name }
}

// InternalSubscriber keeps a subscriber out of the registered endpoints.
func InternalSubscriber(b bool) SubscriberOption {
	return func(o *SubscriberOptions) { o.Internal = b }
}

// SubscriberContext sets what programs hang on a subscriber.
func SubscriberContext(ctx context.Context) SubscriberOption {
	return func(o *SubscriberOptions) { o.Context = ctx }
}
