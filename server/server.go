// Package server answers calls and receives events: it routes them to the
// handlers and subscribers of a service, registers the service, keeps it
// registered, and takes it down without dropping anything.
package server

import (
	"context"
	"time"

	"github.com/seed-9a4e2794/micro/codec"
	"github.com/seed-9a4e2794/micro/registry"
)

// Server serves one service. Its methods may run concurrently.
type Server interface {
	// Options returns the settings. Before Start they are what has been set,
	// afterwards Address and Advertise are what was bound and registered.
	Options() Options
	// Init applies options. After Start it has no effect on what is running.
	Init(...Option) error
	// Handle adds a handler, also after Start.
	Handle(Handler) error
	// NewHandler makes a handler of a pointer to a struct: each exported
	// method of the shape
	//
	//	func(ctx context.Context, req *Req, rsp *Rsp) error
	//	func(ctx context.Context, stream server.Stream) error
	//
	// becomes an endpoint Type.Method. Where it says server.Stream any
	// interface with methods of it may stand.
	NewHandler(handler any, opts ...HandlerOption) Handler
	// NewSubscriber makes a subscriber of a function of the shape
	//
	//	func(ctx context.Context, event *T) error
	//
	// (or with T by value), or of a pointer to a struct whose exported methods
	// all have it: each of them gets each event.
	NewSubscriber(topic string, subscriber any, opts ...SubscriberOption) Subscriber
	// Subscribe adds a subscriber, also after Start. It fails when the
	// subscriber does not have the right shape or was added before, and after
	// Start when the broker does not take it.
	Subscribe(Subscriber) error
	// Start listens, connects the broker and registers the service. A registry
	// or broker that is away does not make it fail.
	Start() error
	// Stop takes the service down: it leaves the registry, waits until callers
	// have heard of it, refuses new calls, waits for calls and events under
	// way, and closes. It takes at most Options.StopTimeout, and a moment
	// more for each part that does not heed its context, and returns an error
	// that names what it had to cut off.
	Stop() error
	String() string
}

// Router serves all calls instead of the handlers.
type Router interface {
	ServeRequest(context.Context, Request, Response) error
}

// Request is a call as a wrapper or router sees it.
type Request interface {
	// Service is the name of the service that was called, Method and Endpoint
	// both the name of the endpoint, such as "Greeter.Hello".
	Service() string
	Method() string
	Endpoint() string
	ContentType() string
	// Header returns the metadata of the call, as a new map.
	Header() map[string]string
	// Body is the decoded request, a pointer; nil on a stream and in a Router.
	Body() any
	// Read returns the next message undecoded, io.EOF when there are no more.
	// The slice belongs to the caller of Read.
	Read() ([]byte, error)
	// Codec is the codec of ContentType.
	Codec() codec.Codec
	// Stream reports whether the endpoint is a stream.
	Stream() bool
}

// Response answers a call in a Router.
type Response interface {
	Codec() codec.Codec
	// WriteHeader adds to the header of the reply.
	WriteHeader(map[string]string)
	// Write sends an encoded message. On a unary call it may be called once.
	Write([]byte) error
}

// Stream is the server's side of a stream. One goroutine may send while
// another receives.
type Stream interface {
	Context() context.Context
	Request() Request
	// Send sends a message. It waits while the caller takes no more.
	Send(any) error
	// Recv decodes the next message into its argument, a pointer. It returns
	// io.EOF when the caller has sent all it has to send.
	Recv(any) error
	// Error returns the last error of Send or Recv, io.EOF not counted.
	Error() error
	// Close does nothing here: a stream ends when its handler returns.
	Close() error
}

// Message is an event as a wrapper sees it.
type Message interface {
	Topic() string
	// Payload is the decoded event, as the subscriber gets it.
	Payload() any
	ContentType() string
}

// Handler is something that answers endpoints.
type Handler interface {
	Name() string
	Handler() any
	Endpoints() []*registry.Endpoint
	Options() HandlerOptions
}

// Subscriber is something that receives the events of a topic.
type Subscriber interface {
	Topic() string
	Subscriber() any
	Endpoints() []*registry.Endpoint
	Options() SubscriberOptions
}

// HandlerFunc serves one call. rsp is a pointer to fill; on a stream it is the
// Stream.
type HandlerFunc func(ctx context.Context, req Request, rsp any) error

// SubscriberFunc handles one event.
type SubscriberFunc func(ctx context.Context, msg Message) error

// HandlerWrapper wraps the serving of calls.
type HandlerWrapper func(HandlerFunc) HandlerFunc

// SubscriberWrapper wraps the handling of events.
type SubscriberWrapper func(SubscriberFunc) SubscriberFunc

// StreamWrapper wraps a stream.
type StreamWrapper func(Stream) Stream

// The defaults of a server.
const (
	DefaultName             = "go.micro.server"
	DefaultVersion          = "latest"
	DefaultRegisterInterval = 30 * time.Second
	DefaultRegisterTTL      = 90 * time.Second
	// DefaultStopTimeout is a little less than the 30 seconds that a container
	// usually has to end.
	DefaultStopTimeout = 25 * time.Second
	// DefaultDrainDelay is how long callers on other machines are given to
	// hear that a node has left the registry.
	DefaultDrainDelay = 2 * time.Second
)

// NewServer returns a server. Parts that the options leave out are made at
// first use: the local registry, the native wire, and a broker that needs the
// registry alone.
func NewServer(opts ...Option) Server {
	return newServer(opts...)
}
