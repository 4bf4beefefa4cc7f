// Package client calls services and publishes events: it finds a node, keeps a
// connection to it, sends the call with its deadline, and tries another node
// when the call surely was not executed.
package client

import (
	"context"
	"time"

	"github.com/seed-9a4e2794/micro/codec"
	"github.com/seed-9a4e2794/micro/registry"
)

// Client makes calls. Its methods may run concurrently.
type Client interface {
	// Init applies options. After the first call it has an effect on later
	// calls' settings, not on the parts that are in use.
	Init(...Option) error
	Options() Options
	// NewMessage makes an event to publish.
	NewMessage(topic string, msg any, opts ...MessageOption) Message
	// NewRequest makes a request for an endpoint, such as "Greeter.Hello", of
	// a service.
	NewRequest(service, endpoint string, req any, reqOpts ...RequestOption) Request
	// Call sends req and decodes the answer into rsp, a pointer. Its error is
	// an *errors.Error: what the handler returned, or what went wrong on the
	// way; errors.Is tells them apart with context.DeadlineExceeded,
	// context.Canceled, errors.ErrRefused, registry.ErrNotFound,
	// registry.ErrUnavailable, selector.ErrNoneAvailable and
	// transport.ErrLost, errors.As with *Tried what was tried.
	Call(ctx context.Context, req Request, rsp any, opts ...CallOption) error
	// Stream opens a stream. The request's body is not sent.
	Stream(ctx context.Context, req Request, opts ...CallOption) (Stream, error)
	// Publish sends an event with the promise of the broker.
	Publish(ctx context.Context, msg Message, opts ...PublishOption) error
	String() string
}

// Message is an event to publish.
type Message interface {
	Topic() string
	Payload() any
	ContentType() string
}

// Request is a request to make.
type Request interface {
	Service() string
	// Method and Endpoint are both the name of the endpoint.
	Method() string
	Endpoint() string
	// ContentType is the encoding, empty for the default of the body's type.
	ContentType() string
	Body() any
	// Codec returns the codec of ContentType.
	Codec() codec.Codec
	Stream() bool
}

// Stream is the caller's side of a stream. One goroutine may send while
// another receives.
type Stream interface {
	Context() context.Context
	Request() Request
	// Response is what comes back. Its Header waits until the server has
	// begun to answer.
	Response() Response
	// Send sends a message. It waits while the server takes no more. It
	// returns io.EOF when the server has ended the stream: Recv says how.
	Send(any) error
	// Recv decodes the next message into its argument, a pointer. It returns
	// io.EOF when the server has ended the stream well.
	Recv(any) error
	// Error returns the last error of Send or Recv, io.EOF not counted.
	Error() error
	// Close says that nothing more is sent or received. A server that goes on
	// for a second is cut off.
	Close() error
}

// CloseSender is a power of streams: to say that nothing more is sent, and go
// on receiving.
type CloseSender interface {
	CloseSend() error
}

// Response is what has come back on a stream.
type Response interface {
	Codec() codec.Codec
	// Header returns the metadata of the reply's header, as a new map.
	Header() map[string]string
	// Read returns the next message undecoded. The slice belongs to the caller
	// of Read.
	Read() ([]byte, error)
}

// Router makes all calls instead of the client's own path.
type Router interface {
	SendRequest(context.Context, Request) (Response, error)
}

// CallFunc makes one attempt of a call at a node.
type CallFunc func(ctx context.Context, node *registry.Node, req Request, rsp any, opts CallOptions) error

// CallWrapper wraps the attempts of calls.
type CallWrapper func(CallFunc) CallFunc

// Wrapper wraps a client.
type Wrapper func(Client) Client

// StreamWrapper wraps a stream.
type StreamWrapper func(Stream) Stream

// The defaults of a client.
const (
	DefaultRetries        = 1
	DefaultRequestTimeout = 5 * time.Second
	DefaultDialTimeout    = 5 * time.Second
	DefaultPoolSize       = 100
	DefaultPoolTTL        = time.Minute
)

// NewClient returns a client. Parts that the options leave out are made at
// first use: the local registry, a selector over the registry, the native
// wire, and a broker that needs the registry alone. What a client has made it
// closes when it is given to Close.
func NewClient(opts ...Option) Client {
	return newClient(opts...)
}
