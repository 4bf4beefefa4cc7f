package server

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/seed-9a4e2794/micro/internal/codecs"
	"github.com/seed-9a4e2794/micro/internal/stats"
	"github.com/seed-9a4e2794/micro/registry"
	"github.com/seed-9a4e2794/micro/registry/local"
	"github.com/seed-9a4e2794/micro/transport"
	"github.com/seed-9a4e2794/micro/transport/port"
)

// server implements Server.
type server struct {
	life sync.Mutex // held by Start and Stop from beginning to end

	mu      sync.Mutex
	opts    Options
	routes  map[string]*route
	handled []Handler
	subs    []*subscription
	also    map[string]bool // service names that calls may be for besides the own

	state   state
	run     *running      // nil before the first Start
	owned   func() error  // closes the registry that this server made
	checkUp error         // the last RegisterCheck, nil when it passed
	regUp   error         // the last registration, nil when it went well
	brokUp  error         // the last Connect or Subscribe of the broker
	changed chan struct{} // closed when one of these may have changed
}

type state int

const (
	stopped state = iota
	serving
	stopping
)

// running is what Start settles; it does not change until the next Start.
type running struct {
	name     string
	service  *registry.Service // without endpoints
	opts     Options
	wrappers []HandlerWrapper
	router   Router
	routed   stats.Calls // the calls of the router
	codecs   codecs.Table
	listener transport.Listener
	ctx      context.Context // ends with Stop
	cancel   context.CancelFunc
	accept   sync.WaitGroup // the accept loop
	loop     sync.WaitGroup // the register loop, and the broker's while it is not ready
	renew    chan struct{}  // a token when the registration has to be made anew
}

func newServer(opts ...Option) *server {
	s := &server{
		opts: Options{
			Name: DefaultName, Version: DefaultVersion, RegisterTTL: DefaultRegisterTTL, RegisterInterval: DefaultRegisterInterval,
			DrainDelay: -1, StopTimeout: DefaultStopTimeout,
		},
		routes:  make(map[string]*route),
		also:    map[string]bool{"": true},
		changed: make(chan struct{}),
	}
	for _, f := range opts {
		f(&s.opts)
	}
	if s.opts.Id == "" {
		s.opts.Id = strings.ToLower(rand.Text()[:12])
	}
	return s
}

// String returns "micro".
func (s *server) String() string { return "micro" }

func (s *server) Options() Options {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state != stopped {
		return s.run.opts
	}
	return s.opts
}

func (s *server) Init(opts ...Option) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range opts {
		f(&s.opts)
	}
	return nil
}

func (s *server) log() *slog.Logger {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.logger()
}

// logger is log with the lock held.
func (s *server) logger() *slog.Logger {
	if s.opts.Logger != nil {
		return s.opts.Logger
	}
	return slog.Default()
}

func (s *server) NewHandler(v any, opts ...HandlerOption) Handler {
	return newStructHandler(v, s.log(), opts...)
}

func (s *server) NewSubscriber(topic string, v any, opts ...SubscriberOption) Subscriber {
	return newSubscriber(topic, v, opts...)
}

func (s *server) Handle(h Handler) error {
	return s.noted("handler", s.addHandler(h))
}

// noted logs an error of a registration: programs in go-micro's manner do not
// look at it, and would otherwise serve without the handler and not say so.
func (s *server) noted(what string, err error) error {
	if err != nil {
		s.log().Error("the "+what+" was not registered", "service", s.Options().Name, "error", err)
	}
	return err
}

func (s *server) addHandler(h Handler) error {
	hd, ok := h.(*handler)
	if !ok {
		return fmt.Errorf("server: a %T is not a handler of this package: make it with NewHandler or Typed", h)
	}
	if hd.err != nil {
		return hd.err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range hd.endpoints {
		if s.routes[e.name] != nil {
			return fmt.Errorf("server: endpoint %s is handled already", e.name)
		}
	}
	for _, e := range hd.endpoints {
		s.routes[e.name] = &route{endpoint: e}
	}
	s.handled = append(s.handled, h)
	s.again()
	return nil
}

// again asks for a new registration. The lock is held.
func (s *server) again() {
	if s.state != serving {
		return
	}
	select {
	case s.run.renew <- struct{}{}:
	default:
	}
}

func (s *server) Start() error {
	s.life.Lock()
	defer s.life.Unlock()
	s.mu.Lock()
	if s.state != stopped {
		s.mu.Unlock()
		return errors.New("server: it has been started and not stopped")
	}
	opts := s.opts
	s.mu.Unlock()
	if opts.prepare != nil {
		if err := opts.prepare(&opts); err != nil {
			return err
		}
	}
	if err := s.parts(&opts); err != nil {
		return err
	}
	ctx := context.Background()
	remote := isRemote(opts.Registry)
	ln, err := opts.Transport.Listen(ctx, listenAddress(opts.Address, remote))
	if err != nil {
		s.disown()
		return fmt.Errorf("server: %w", err)
	}
	opts.Address = ln.Addr()
	why := "it was asked for"
	if opts.Advertise == "" {
		opts.Advertise, why = advertise(opts.Address)
	} else {
		opts.Advertise = withPort(opts.Advertise, opts.Address)
	}

	base := opts.Context
	if base == nil {
		base = ctx
	}
	run := &running{name: opts.Name, opts: opts, wrappers: opts.HdlrWrappers, router: opts.Router, codecs: codecs.New(opts.Codecs),
		listener: ln, renew: make(chan struct{}, 1)}
	run.ctx, run.cancel = context.WithCancel(context.WithoutCancel(base))
	run.service = s.describeService(&opts)
	s.mu.Lock()
	s.run, s.state = run, serving
	s.checkUp, s.regUp, s.brokUp = nil, nil, nil
	s.healthChanged()
	log := s.logger()
	s.mu.Unlock()

	if r, ok := opts.Broker.(receiver); ok {
		r.Advertise(opts.Advertise)
		s.receive(r)
	}
	run.accept.Go(func() {
		serve := func(sock transport.Socket) { s.socket(run, sock) }
		lookup := func(m transport.Method) (transport.Unary, error) { return s.lookup(run, m) }
		if err := ln.Accept(serve, transport.WithUnary(lookup), transport.WithService(&described{s, run})); err != nil {
			log.Error("the listener has ended", "service", opts.Name, "address", opts.Address, "error", err)
		}
	})
	if secure := secured(opts.Transport); exposed(opts.Address) && !secure {
		log.Warn("other machines can reach the service, without TLS", "service", opts.Name, "address", opts.Address, "advertise", opts.Advertise, "because", why)
	} else {
		log.Info("listening", "service", opts.Name, "address", opts.Address, "tls", secure)
	}
	if again := s.connectBroker(run, startTimeout); again {
		run.loop.Go(func() { s.keepConnecting(run) })
	}
	s.register(run, startTimeout)
	run.loop.Go(func() { s.keepRegistered(run) })
	return nil
}

// parts makes the parts that the options leave out.
func (s *server) parts(opts *Options) error {
	if opts.Registry == nil {
		r, err := local.New(local.Config{Logger: opts.Logger})
		if err != nil {
			return fmt.Errorf("server: %w", err)
		}
		opts.Registry = r
		s.mu.Lock()
		s.owned = r.Close
		s.mu.Unlock()
	}
	if opts.Transport != nil && opts.TLS != nil {
		s.disown()
		return fmt.Errorf("server: TLS is set, and the transport is another (%T) than the port that would use it: give TLS to that, or leave it out", opts.Transport)
	}
	if opts.Transport == nil {
		cfg := port.Config{Logger: opts.Logger}
		if own := opts.TLS; own != nil {
			cfg.ServerTLS = func() *tls.Config { return own }
		}
		opts.Transport = port.New(cfg)
	}
	if opts.StopTimeout <= 0 {
		opts.StopTimeout = DefaultStopTimeout
	}
	if opts.DrainDelay < 0 {
		opts.DrainDelay = 0
		if isRemote(opts.Registry) {
			opts.DrainDelay = DefaultDrainDelay
		}
	}
	if opts.Broker == nil {
		s.mu.Lock()
		subs := len(s.subs)
		s.mu.Unlock()
		if subs > 0 {
			s.disown()
			return errors.New("server: it has subscribers and no broker: set one with server.Broker, or use micro.NewService, which makes one")
		}
		opts.Broker = noBroker{}
	}
	return nil
}

// disown closes the registry that this server made.
func (s *server) disown() {
	s.mu.Lock()
	owned := s.owned
	s.owned = nil
	log := s.logger()
	s.mu.Unlock()
	if owned != nil {
		if err := owned(); err != nil {
			log.Warn("closing the registry failed", "error", err)
		}
	}
}

func isRemote(r registry.Registry) bool {
	m, ok := r.(registry.Remote)
	return ok && m.Remote()
}

// describeService returns what is registered, but for the endpoints.
func (s *server) describeService(opts *Options) *registry.Service {
	md := nodeMetadata(opts.Transport)
	for k, v := range opts.Metadata {
		md[k] = v
	}
	return &registry.Service{Name: opts.Name, Version: opts.Version,
		Nodes: []*registry.Node{{Id: opts.Name + "-" + opts.Id, Address: opts.Advertise, Metadata: md}}}
}

// nodeMetadata returns what clients need to know to call a node. Those of
// go-micro read protocol, transport and server; this project's read wire first,
// which they do not know. Where go-micro's wire is not served in plain text,
// go-micro's clients must not come.
func nodeMetadata(t transport.Transport) map[string]string {
	md := map[string]string{registry.WireKey: registry.Wire, registry.ProtocolKey: "micro", "transport": "tcp", "server": "micro"}
	secure := secured(t)
	if secure {
		md[registry.SecureKey] = "true"
	}
	if _, many := t.(transport.Protocols); many && !secure {
		md[registry.ProtocolKey], md["transport"], md["server"] = "mucp", "http", "mucp"
	}
	return md
}

// secured reports whether a transport takes TLS and nothing else.
func secured(t transport.Transport) bool {
	s, ok := t.(transport.Secured)
	return ok && s.Secure()
}

const (
	// partTimeout bounds one request to a registry or broker.
	partTimeout = 10 * time.Second
	// startTimeout bounds the first: a part that does not answer must not hold
	// up the start for long.
	startTimeout = 3 * time.Second
)
