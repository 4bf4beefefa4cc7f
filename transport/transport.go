// Package transport is the contract of carrying calls between two processes.
//
// A [Conn] is one live session with a peer and carries many calls at once. A
// unary call has a path of its own on both sides: [Conn.Call] at the caller, a
// [Unary] function at the listener, one message each way. Every other call is
// a [Socket]. Client and server know nothing of protocols: each protocol is a
// transport.
package transport

import (
	"context"
	"errors"
	"time"

	"github.com/seed-9a4e2794/micro/codec"
	"github.com/seed-9a4e2794/micro/metadata"
)

var (
	// ErrClosed says that the connection or listener has been closed.
	ErrClosed = errors.New("transport closed")
	// ErrUnreachable says that no connection could be made. Nothing was sent.
	ErrUnreachable = errors.New("peer unreachable")
	// ErrLost says that the connection broke while the call was under way: it
	// may have been executed.
	ErrLost = errors.New("connection lost")
	// ErrTooLarge says that a message is larger than the limit of the side
	// that refused it.
	ErrTooLarge = errors.New("message too large")
)

// Transport makes and accepts connections of one protocol. Its methods may run
// concurrently.
type Transport interface {
	// Dial connects to addr, host:port or a form of the backend's own. It
	// gives up when ctx ends. Its error wraps ErrUnreachable.
	Dial(ctx context.Context, addr string) (Conn, error)
	// Listen binds addr. An empty port or port 0 takes a free one; a port
	// range such as "127.0.0.1:8000-8100" takes the first that is free.
	Listen(ctx context.Context, addr string) (Listener, error)
}

// Conn is the calling side of a connection. Its methods may run concurrently.
type Conn interface {
	// Call makes a unary call: it sends r.Message and waits for the reply, for
	// ctx, or for r.Deadline, whatever is first. The caller releases the
	// reply's body. A status other than OK comes back as *errors.Error with an
	// empty reply but for Header and Trailer.
	//
	// Errors that match errors.ErrRefused or ErrUnreachable are of calls that
	// were surely not executed; ErrLost is of those that may have been.
	Call(ctx context.Context, r Request) (Reply, error)
	// Open starts a call with any number of messages each way.
	Open(ctx context.Context, r Request) (Socket, error)
	// Err returns nil while new calls can be made on this connection, and
	// afterwards why not. Calls under way may still end well.
	Err() error
	// Close ends the connection and the calls on it, and waits for its
	// goroutines.
	Close() error
	Local() string
	Remote() string
}

// Listener accepts connections.
type Listener interface {
	// Addr returns the bound address, host:port or the form of the backend's
	// own that Dial takes.
	Addr() string
	// Accept serves connections until Shutdown or Close, and then returns nil.
	// It calls serve on a goroutine of its own for each call that has no Unary
	// function. It may be called once.
	Accept(serve func(Socket), opts ...AcceptOption) error
	// Shutdown stops taking connections and tells the peers to make no more
	// calls here; calls that come all the same are refused as surely not
	// executed. It waits for those under way until ctx ends, then closes, and
	// returns ctx's error if it had to cut calls off.
	Shutdown(ctx context.Context) error
	// Close stops at once: the contexts of calls under way end. It waits for
	// the listener's own goroutines, not for handlers that ignore their
	// context.
	Close() error
}

// Method says what a call is for.
type Method struct {
	// Service is the name of the service that is meant; empty is whichever
	// answers.
	Service string
	// Endpoint is the name within it, such as "Greeter.Hello".
	Endpoint string
	// Strict asks the other side to refuse the call when it is not Service:
	// set for nodes found through a registry, whose address may have gone to
	// another process since.
	Strict bool
}

// Message is a message to send: a value and the codec that encodes it. The
// transport encodes it straight into its own buffer.
type Message struct {
	Value any
	Codec codec.Codec
}

// Request is a call to make.
type Request struct {
	Method  Method
	Message Message
	// Header is the metadata to send. It is only read.
	Header metadata.Header
	// Deadline is when the caller stops waiting; the zero Time is never. The
	// deadline of the context holds besides.
	Deadline time.Time
}

// Reply is the answer to a unary call.
type Reply struct {
	Body    Body
	Header  metadata.Header
	Trailer metadata.Header
}

// Body is a received message. Data is valid until Release.
type Body struct {
	Data        []byte
	ContentType string
	owner       Releaser
}

// Releaser takes back the buffer of a Body.
type Releaser interface{ Release() }

// NewBody returns a Body whose Release calls owner's; owner may be nil.
func NewBody(data []byte, contentType string, owner Releaser) Body {
	return Body{Data: data, ContentType: contentType, owner: owner}
}

// Release gives the buffer back. The Data of this Body and of its copies must
// not be used afterwards. Release may be called once.
func (b Body) Release() {
	if b.owner != nil {
		b.owner.Release()
	}
}

// Unary answers one unary call. body is valid until it returns. The context
// ends when the caller goes away, cancels, or runs out of time, and carries
// the request's metadata, the metadata.Reply and the Peer. The transport
// encodes the message after Unary has returned; an error is sent as
// errors.From makes it. Unary must not panic.
type Unary func(ctx context.Context, body Body) (Message, error)

// Socket is one call with any number of messages each way. One goroutine may
// send while another receives; the context is the same for both.
type Socket interface {
	// Context ends when the call ends: cancelled, out of time, reset, or the
	// peer lost. At the listener it carries what the context of Unary does.
	Context() context.Context
	// Method returns what the call is for.
	Method() Method
	// Unary reports whether the caller sends one message and expects one. It is
	// false also where the protocol does not say and nobody knows the endpoint:
	// calls of gRPC to a Router.
	Unary() bool
	// Send sends a message. It waits while the peer takes no more, until the
	// call's context ends.
	Send(m Message) error
	// Recv returns the next message, which the caller releases. It returns
	// io.EOF when the peer has ended its side well, and at the caller's side
	// the *errors.Error that the listener's side finished with.
	Recv() (Body, error)
	// CloseSend says that the caller sends no more. The listener's side
	// finishes instead.
	CloseSend() error
	// Header returns the metadata that came first from the peer: at the
	// listener the request's, at the caller the reply's, for which it waits.
	Header() (metadata.Header, error)
	// Trailer returns the metadata that came last, after Recv has returned an
	// error. It is nil at the listener.
	Trailer() metadata.Header
	// Finish ends the call at the listener's side: the last message, if one is
	// given, the trailer gathered in the context, and err travel together.
	// Later calls of it do nothing.
	Finish(last *Message, err error) error
	// Reset ends the call at once on both sides. After Finish, and after the
	// peer's end has been received, it does nothing.
	Reset()
	Local() string
	Remote() string
}

// AcceptOptions are the options of Accept.
type AcceptOptions struct {
	// Lookup finds the function that answers a unary method. Without it, or
	// when it returns nil twice, the call comes as a Socket; an error answers
	// the call with that error. It is asked once a connection for each method
	// it has found, so it must not answer a method in one way now and in
	// another later.
	Lookup func(Method) (Unary, error)
	// Service describes what is served; nil when the listener is to know
	// nothing.
	Service Service
}

// AcceptOption sets an AcceptOptions.
type AcceptOption func(*AcceptOptions)

// WithUnary sets the function that finds Unary functions.
func WithUnary(lookup func(Method) (Unary, error)) AcceptOption {
	return func(o *AcceptOptions) { o.Lookup = lookup }
}

// NewAcceptOptions applies opts to the zero AcceptOptions.
func NewAcceptOptions(opts ...AcceptOption) AcceptOptions {
	var o AcceptOptions
	for _, f := range opts {
		f(&o)
	}
	return o
}
