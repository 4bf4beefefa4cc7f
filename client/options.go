package client

import (
	"context"
	"crypto/tls"
	"log/slog"
	"time"

	"github.com/seed-9a4e2794/micro/broker"
	"github.com/seed-9a4e2794/micro/client/selector"
	"github.com/seed-9a4e2794/micro/codec"
	"github.com/seed-9a4e2794/micro/metadata"
	"github.com/seed-9a4e2794/micro/registry"
	"github.com/seed-9a4e2794/micro/transport"
)

// Options are the settings of a client.
type Options struct {
	// ContentType is the encoding of requests that do not choose one. Empty
	// follows the body: protobuf for protobuf messages, else JSON.
	ContentType string
	Broker      broker.Broker
	// Codecs are added to the built-in ones, by content type.
	Codecs   map[string]codec.NewCodec
	Registry registry.Registry
	Selector selector.Selector
	// Transport is what calls are made with. Nil is every protocol that
	// transport/port has, with TLS where TLS is set or a node asks for it.
	Transport transport.Transport
	// TLS makes the client encrypt, and verify whom it has reached. It is
	// called for each connection; nil is plain text, but for nodes that take
	// TLS only: these are verified by the system's certificates. It is used
	// where Transport is nil.
	TLS func() *tls.Config
	// Router makes all unary calls when it is not nil.
	Router Router
	// PoolSize and PoolTTL are kept for programs that set them: a connection
	// carries any number of calls and is kept while its node lives.
	PoolSize int
	PoolTTL  time.Duration
	// Wrappers wrap the client that a service hands out.
	Wrappers    []Wrapper
	CallOptions CallOptions
	// Logger gets what no caller can be told. Nil is slog.Default.
	Logger  *slog.Logger
	Context context.Context

	from    string
	prepare func(*Options) error
}

// CallOptions are the options of a call.
type CallOptions struct {
	SelectOptions []selector.SelectOption
	// Address lists nodes to call instead of those that are found.
	Address []string
	// Backoff says how long to wait before attempt number n, from 0. Nil is a
	// short random pause before each but the first.
	Backoff BackoffFunc
	// Retry says whether to try again. Nil tries again what surely was not
	// executed.
	Retry RetryFunc
	// DialTimeout bounds connecting.
	DialTimeout time.Duration
	// Retries is the largest number of further attempts.
	Retries int
	// RequestTimeout spans all attempts of a call whose context has no
	// deadline; 0 is no limit.
	RequestTimeout time.Duration
	// Idempotent says that the call may be executed more than once, so that it
	// is tried again also when it may have been.
	Idempotent bool
	// Protocol is what to speak to the node, such as "grpc": see WithProtocol.
	// Empty follows the node's metadata, and is the native wire where that says
	// nothing.
	Protocol     string
	CallWrappers []CallWrapper
	Context      context.Context

	header, trailer *metadata.Header
}

// PublishOptions are the options of Publish.
type PublishOptions struct {
	// Exchange replaces the topic.
	Exchange string
	// RequireSubscriber makes Publish fail when the event reached nobody.
	RequireSubscriber bool
	Context           context.Context
}

// MessageOptions are the options of NewMessage.
type MessageOptions struct {
	ContentType string
}

// RequestOptions are the options of NewRequest.
type RequestOptions struct {
	ContentType string
	Stream      bool
	Context     context.Context
}

type (
	// Option sets an Options.
	Option func(*Options)
	// CallOption sets a CallOptions.
	CallOption func(*CallOptions)
	// PublishOption sets a PublishOptions.
	PublishOption func(*PublishOptions)
	// MessageOption sets a MessageOptions.
	MessageOption func(*MessageOptions)
	// RequestOption sets a RequestOptions.
	RequestOption func(*RequestOptions)
)

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

// ContentType sets the encoding of requests that do not choose one.
func ContentType(ct string) Option { return func(o *Options) { o.ContentType = ct } }

// PoolSize is kept for programs that set it.
func PoolSize(n int) Option { return func(o *Options) { o.PoolSize = n } }

// PoolTTL is kept for programs that set it.
func PoolTTL(d time.Duration) Option { return func(o *Options) { o.PoolTTL = d } }

// Registry sets the registry that a default selector watches.
func Registry(r registry.Registry) Option { return func(o *Options) { o.Registry = r } }

// Transport sets the transport.
func Transport(t transport.Transport) Option { return func(o *Options) { o.Transport = t } }

// TLS sets the configuration of new connections: see transport/credentials.
func TLS(cfg func() *tls.Config) Option { return func(o *Options) { o.TLS = cfg } }

// Protocol sets what to speak to all nodes, such as "grpc": see WithProtocol.
func Protocol(name string) Option { return func(o *Options) { o.CallOptions.Protocol = name } }

// Selector sets what picks the nodes.
func Selector(s selector.Selector) Option { return func(o *Options) { o.Selector = s } }

// Wrap adds a wrapper around the client that a service hands out.
func Wrap(w Wrapper) Option {
	return func(o *Options) { o.Wrappers = append(o.Wrappers[:len(o.Wrappers):len(o.Wrappers)], w) }
}

// WrapCall adds wrappers around the attempts of calls. The first is the
// outermost.
func WrapCall(w ...CallWrapper) Option {
	return func(o *Options) { o.CallOptions.CallWrappers = appendWrappers(o.CallOptions.CallWrappers, w) }
}

func appendWrappers(to, w []CallWrapper) []CallWrapper {
	return append(to[:len(to):len(to)], w...)
}

// Backoff sets the pause before attempts.
func Backoff(fn BackoffFunc) Option { return func(o *Options) { o.CallOptions.Backoff = fn } }

// Retries sets the largest number of further attempts.
func Retries(n int) Option { return func(o *Options) { o.CallOptions.Retries = n } }

// Retry sets what decides whether to try again.
func Retry(fn RetryFunc) Option { return func(o *Options) { o.CallOptions.Retry = fn } }

// RequestTimeout sets the time for a call with all its attempts.
func RequestTimeout(d time.Duration) Option {
	return func(o *Options) { o.CallOptions.RequestTimeout = d }
}

// DialTimeout bounds connecting.
func DialTimeout(d time.Duration) Option { return func(o *Options) { o.CallOptions.DialTimeout = d } }

// WithRouter sets the router.
func WithRouter(r Router) Option { return func(o *Options) { o.Router = r } }

// Logger sets where the client logs.
func Logger(l *slog.Logger) Option { return func(o *Options) { o.Logger = l } }

// From names the calling service, which callees see as the metadata field
// Micro-From-Service. A context that has the field already keeps it, as in
// go-micro: in the calls that a handler makes it names the service that called
// first.
func From(service string) Option { return func(o *Options) { o.from = service } }

// Prepare sets a function that completes the options before the first call and
// before the first after an Init: what it is for is parts that are made only
// when they are needed. It may be called more than once, and concurrently.
func Prepare(fn func(*Options) error) Option { return func(o *Options) { o.prepare = fn } }

// WithAddress calls these nodes instead of those that are found.
func WithAddress(a ...string) CallOption { return func(o *CallOptions) { o.Address = a } }

// WithSelectOption adds options of the selection.
func WithSelectOption(so ...selector.SelectOption) CallOption {
	return func(o *CallOptions) {
		o.SelectOptions = append(o.SelectOptions[:len(o.SelectOptions):len(o.SelectOptions)], so...)
	}
}

// WithCallWrapper adds wrappers around the attempts of this call.
func WithCallWrapper(w ...CallWrapper) CallOption {
	return func(o *CallOptions) { o.CallWrappers = appendWrappers(o.CallWrappers, w) }
}

// WithBackoff sets the pause before attempts.
func WithBackoff(fn BackoffFunc) CallOption { return func(o *CallOptions) { o.Backoff = fn } }

// WithRetry sets what decides whether to try again.
func WithRetry(fn RetryFunc) CallOption { return func(o *CallOptions) { o.Retry = fn } }

// WithRetries sets the largest number of further attempts.
func WithRetries(n int) CallOption { return func(o *CallOptions) { o.Retries = n } }

// WithRequestTimeout sets the time for the call with all its attempts.
func WithRequestTimeout(d time.Duration) CallOption {
	return func(o *CallOptions) { o.RequestTimeout = d }
}

// WithDialTimeout bounds connecting.
func WithDialTimeout(d time.Duration) CallOption { return func(o *CallOptions) { o.DialTimeout = d } }

// WithProtocol sets what to speak to the node: "micro", which is the native wire
// whatever the node's metadata says, "grpc", "grpc-web", "connect", "http", which
// is connect, or "mucp", which is go-micro's. Empty and "rpc" follow the node's
// metadata.
func WithProtocol(name string) CallOption { return func(o *CallOptions) { o.Protocol = name } }

// WithIdempotent says that the call may be executed more than once.
func WithIdempotent() CallOption { return func(o *CallOptions) { o.Idempotent = true } }

// WithReplyHeader stores the header of the reply in h.
func WithReplyHeader(h *metadata.Header) CallOption { return func(o *CallOptions) { o.header = h } }

// WithReplyTrailer stores the trailer of the reply in h.
func WithReplyTrailer(h *metadata.Header) CallOption { return func(o *CallOptions) { o.trailer = h } }

// WithExchange replaces the topic.
func WithExchange(e string) PublishOption { return func(o *PublishOptions) { o.Exchange = e } }

// RequireSubscriber makes Publish fail when the event reached nobody.
func RequireSubscriber() PublishOption {
	return func(o *PublishOptions) { o.RequireSubscriber = true }
}

// WithMessageContentType chooses the encoding of an event.
func WithMessageContentType(ct string) MessageOption {
	return func(o *MessageOptions) { o.ContentType = ct }
}

// WithContentType chooses the encoding of a request.
func WithContentType(ct string) RequestOption { return func(o *RequestOptions) { o.ContentType = ct } }

// StreamingRequest marks the request of a stream.
func StreamingRequest() RequestOption { return func(o *RequestOptions) { o.Stream = true } }
