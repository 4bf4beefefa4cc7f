package transport

import (
	"context"
	"reflect"
)

// Service describes what is behind a listener to protocols whose callers may
// ask: for the endpoints and their types, for health. Its methods may run
// concurrently.
type Service interface {
	// Name is the name of the service.
	Name() string
	// Endpoint returns the endpoint of that name. A service whose Router takes
	// every name knows none.
	Endpoint(name string) (Endpoint, bool)
	// Endpoints returns the endpoints that are not internal, sorted by name.
	Endpoints() []Endpoint
	// ContentTypes returns the encodings that the service reads and writes,
	// such as "application/json".
	ContentTypes() []string
	// Health returns how the service is, and a channel that is closed when
	// that may have changed.
	Health() (Health, <-chan struct{})
}

// Authorizer is a power of a Service that lets not everyone call: it is asked
// before a protocol answers by itself what the service is made of.
type Authorizer interface {
	// Authorize returns nil when the caller whose call ctx belongs to may know.
	Authorize(ctx context.Context, endpoint string) error
}

// Kind is how many messages go each way in a call.
type Kind uint8

// The kinds of calls. A stream whose handler does not say what it sends and
// receives is KindBidi.
const (
	KindUnary Kind = iota
	KindClientStream
	KindServerStream
	KindBidi
)

// Endpoint describes an endpoint.
type Endpoint struct {
	// Name is such as "Greeter.Hello".
	Name string
	Kind Kind
	// Safe says that a call changes nothing, so that it may be made by GET.
	Safe bool
	// Request and Response are the types of the messages, without a pointer;
	// nil when the handler does not say.
	Request, Response reflect.Type
}

// Health is how a service is.
type Health struct {
	// Serving is false before it takes calls and once it is about to stop.
	Serving bool
	// Checks are the parts that it depends on.
	Checks []Check
}

// Check is the health of one part.
type Check struct {
	Name string
	// Err is nil when the part is well.
	Err error
	// Vital parts make a service unfit for calls; the others are told.
	Vital bool
}

// Ready reports whether the service takes calls and all vital parts are well.
func (h Health) Ready() bool {
	for _, c := range h.Checks {
		if c.Vital && c.Err != nil {
			return false
		}
	}
	return h.Serving
}

// WithService tells the listener what it is that it serves.
func WithService(s Service) AcceptOption {
	return func(o *AcceptOptions) { o.Service = s }
}

// Protocols is a power of a Transport that can dial nodes in more than one
// protocol.
type Protocols interface {
	Transport
	// Protocol returns the transport that dials in a protocol, such as "grpc".
	// secure is for nodes that take TLS only: where the Transport has no TLS of
	// its own to call with, they are verified by the system's certificates. The
	// error lists the names that there are.
	Protocol(name string, secure bool) (Transport, error)
}

// Secured is a power of a Transport that can take TLS.
type Secured interface {
	// Secure reports whether its listeners take TLS and nothing else, so that
	// callers have to be told.
	Secure() bool
}
