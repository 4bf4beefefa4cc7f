// Package micro is a framework for services that find each other, call each
// other, and send each other events.
//
//	service := micro.NewService(micro.Name("greeter"))
//	service.Init()
//	micro.RegisterHandler(service.Server(), new(Greeter))
//	if err := service.Run(); err != nil {
//		log.Fatal(err)
//	}
//
// A service needs nothing but this package: it is found through files on this
// machine, called over the framework's own protocol, and sends events straight
// to those who subscribe. Options and flags replace each of these parts.
package micro

import (
	"context"

	"github.com/seed-9a4e2794/micro/client"
	"github.com/seed-9a4e2794/micro/server"
)

// Service is one service: a server, a client, and their common life. Two
// services in one process share nothing.
type Service interface {
	// Name is the name of the service.
	Name() string
	// Init applies options and, at its first call, reads the command line and
	// the environment: what is set in code goes first, then the environment,
	// then flags. Its error is kept: Run returns it before anything starts, so
	// a program may leave it. After --help Run returns nil at once. Init never
	// exits the process and leaves the flags of go test alone. It makes the
	// parts that nobody chose, and starts nothing.
	Init(...Option) error
	// Options returns the settings. After Init they are whole: the parts that
	// nobody chose have been made.
	Options() Options
	// Client is the client of the service. It stays the same, and takes its
	// settings at its first use.
	Client() client.Client
	// Server is the server of the service. It stays the same, and takes its
	// settings at its start.
	Server() server.Server
	// Run starts the service, serves until a signal (SIGTERM, SIGINT, SIGQUIT)
	// or the end of Options.Context, and stops it without dropping what it has
	// accepted. A signal during the start is followed once the start has ended.
	// A second signal ends the waiting, with an error. A service runs once:
	// when Run returns, the parts that the service has made are closed.
	Run() error
	String() string
}

// Function is a service that serves one request and is done.
type Function interface {
	Service
	// Done ends the function.
	Done() error
	// Handle registers a handler.
	Handle(v any) error
	// Subscribe registers a subscriber.
	Subscribe(topic string, v any) error
}

// Publisher publishes to one topic.
type Publisher interface {
	// Publish sends an event with the promise of the broker.
	Publish(ctx context.Context, msg any, opts ...client.PublishOption) error
}

// Event is a Publisher.
type Event = Publisher

// NewService returns a service. Options only fill in settings; nothing is made
// or started before it is needed.
func NewService(opts ...Option) Service {
	return newService(opts...)
}

// New returns a service of that name.
func New(name string, opts ...Option) Service {
	return newService(append([]Option{Name(name)}, opts...)...)
}

// RegisterHandler adds a handler to a server: a pointer to a struct whose
// methods become endpoints (see server.Server).
func RegisterHandler(s server.Server, h any, opts ...server.HandlerOption) error {
	return s.Handle(s.NewHandler(h, opts...))
}

// RegisterSubscriber adds a subscriber to a server: a function or a pointer to
// a struct whose methods all receive each event (see server.Server).
func RegisterSubscriber(topic string, s server.Server, h any, opts ...server.SubscriberOption) error {
	return s.Subscribe(s.NewSubscriber(topic, h, opts...))
}

// NewPublisher returns a publisher to a topic. A nil client is a new one.
func NewPublisher(topic string, c client.Client) Publisher {
	if c == nil {
		c = client.NewClient()
	}
	return &publisher{c, topic}
}

// NewEvent returns a publisher to a topic. A nil client is a new one.
func NewEvent(topic string, c client.Client) Event { return NewPublisher(topic, c) }

type publisher struct {
	c     client.Client
	topic string
}

func (p *publisher) Publish(ctx context.Context, msg any, opts ...client.PublishOption) error {
	return p.c.Publish(ctx, p.c.NewMessage(p.topic, msg), opts...)
}

type serviceKey struct{}

// NewContext returns a context that carries a service.
func NewContext(ctx context.Context, s Service) context.Context {
	return context.WithValue(ctx, serviceKey{}, s)
}

// FromContext returns the service that a context carries.
func FromContext(ctx context.Context) (Service, bool) {
	s, ok := ctx.Value(serviceKey{}).(Service)
	return s, ok
}
