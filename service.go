package micro

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"sync"
	"syscall"

	"github.com/seed-9a4e2794/micro/client"
	"github.com/seed-9a4e2794/micro/client/selector"
	"github.com/seed-9a4e2794/micro/config/cmd"
	"github.com/seed-9a4e2794/micro/debug"
	"github.com/seed-9a4e2794/micro/server"
)

// service implements Service.
type service struct {
	client clientHandle

	mu       sync.Mutex
	opts     Options
	base     client.Client // without the wrappers
	server   server.Server
	inited   bool
	initErr  error
	helped   bool
	settled  bool
	partErr  error             // why the parts could not be made
	made     []func() error    // closes the parts that the service made, in order
	debugs   bool              // the debug handler is registered
	strategy selector.Strategy // what --selector chose
}

func newService(opts ...Option) *service {
	s := new(service)
	for _, f := range opts {
		f(&s.opts)
	}
	s.base, s.server = s.opts.Client, s.opts.Server
	if s.base == nil {
		s.base = client.NewClient()
		s.own(s.base)
	}
	if s.server == nil {
		s.server = server.NewServer()
	}
	s.opts.Client, s.opts.Server = &s.client, s.server
	s.initErr = s.configure()
	return s
}

// configure passes the options on to server and client. The lock is held, or
// nobody else has the service yet.
func (s *service) configure() error {
	o := &s.opts
	sopts := append(o.server, server.Prepare(s.prepareServer))
	copts := append(o.client, client.Prepare(s.prepareClient))
	if o.logger != nil {
		sopts = append(sopts, server.Logger(o.logger))
		copts = append(copts, client.Logger(o.logger))
	}
	if o.Broker != nil {
		sopts = append(sopts, server.Broker(o.Broker))
		copts = append(copts, client.Broker(o.Broker))
	}
	if o.Registry != nil {
		sopts = append(sopts, server.Registry(o.Registry))
		copts = append(copts, client.Registry(o.Registry))
	}
	if o.Transport != nil {
		sopts = append(sopts, server.Transport(o.Transport))
		copts = append(copts, client.Transport(o.Transport))
	}
	if o.selector != nil {
		copts = append(copts, client.Selector(o.selector))
	}
	o.server, o.client = nil, nil
	err := s.server.Init(sopts...)
	copts = append(copts, client.From(s.server.Options().Name))
	err = errors.Join(err, s.base.Init(copts...))
	c := s.base
	for i := len(o.wrapClient) - 1; i >= 0; i-- {
		c = o.wrapClient[i](c)
	}
	s.client.set(c)
	return err
}

func (s *service) Name() string { return s.server.Options().Name }

// String returns "micro".
func (s *service) String() string { return "micro" }

func (s *service) Client() client.Client { return &s.client }
func (s *service) Server() server.Server { return s.server }

func (s *service) Options() Options {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.inited {
		s.settle()
	}
	return s.opts
}

func (s *service) log() *slog.Logger {
	if s.opts.logger != nil {
		return s.opts.logger
	}
	return slog.Default()
}

func (s *service) Init(opts ...Option) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	fixed := s.opts.Client
	for _, f := range opts {
		f(&s.opts)
	}
	if c := s.opts.Client; c != fixed && c != nil {
		s.base = c
	}
	if srv := s.opts.Server; srv != s.server && srv != nil {
		s.initErr = errors.Join(s.initErr, errors.New("micro: Init cannot replace the server, which handlers have been registered with: set it in NewService"))
		s.opts.Server = s.server
	}
	s.opts.Client = fixed
	err := s.configure()
	if !s.inited {
		s.inited = true
		err = errors.Join(err, s.readSettings())
	}
	if err != nil {
		s.initErr = errors.Join(s.initErr, err)
	}
	return s.initErr
}

// readSettings reads the command line and the environment.
func (s *service) readSettings() error {
	o := &s.opts
	if o.Cmd == nil {
		o.Cmd = cmd.NewCmd()
	}
	app := o.Cmd.App()
	app.Flags = append(app.Flags, o.flags...)
	if o.action != nil {
		app.Action = o.action
	}
	so := s.server.Options()
	copts := []cmd.Option{cmd.Version(so.Version)}
	if o.argsSet {
		copts = append(copts, cmd.Args(o.args))
	}
	err := o.Cmd.Init(copts...)
	switch {
	case errors.Is(err, cmd.ErrHelp):
		s.helped = true
		return nil
	case err != nil:
		return fmt.Errorf("micro: %w", err)
	}
	if err := s.apply(o.Cmd.Options().Settings); err != nil {
		return fmt.Errorf("micro: %w", err)
	}
	return s.configure()
}

// Run runs the service; see Service.
func (s *service) Run() error {
	s.mu.Lock()
	err, helped := s.initErr, s.helped
	o := s.opts
	s.mu.Unlock()
	if helped {
		return nil
	}
	if err != nil {
		return err
	}
	ctx := o.Context
	if ctx == nil {
		ctx = context.Background()
	}
	sig := make(chan os.Signal, 2)
	if o.signals != noSignals {
		signal.Notify(sig, syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT)
		defer signal.Stop(sig)
	}
	defer s.close()
	if err := s.start(&o); err != nil {
		return err
	}
	select {
	case got := <-sig:
		s.log().Info("stopping", "service", s.Name(), "signal", got.String())
	case <-ctx.Done():
	}
	stopped := make(chan error, 1)
	go func() { stopped <- s.stop(&o) }() // ends by itself, within the server's StopTimeout and the hooks' own time
	select {
	case err := <-stopped:
		return err
	case got := <-sig:
		return fmt.Errorf("micro: %s came while the service was stopping: calls under way were not waited for", got)
	}
}

// start starts the server, with the hooks around it.
func (s *service) start(o *Options) error {
	if err := s.registerDebug(); err != nil {
		return err
	}
	for _, fn := range o.BeforeStart {
		if err := fn(); err != nil {
			return fmt.Errorf("micro: before start: %w", err)
		}
	}
	if err := s.server.Start(); err != nil {
		return fmt.Errorf("micro: %w", err)
	}
	for _, fn := range o.AfterStart {
		if err := fn(); err != nil {
			return errors.Join(fmt.Errorf("micro: after start: %w", err), s.server.Stop())
		}
	}
	return nil
}

// stop stops the server, with the hooks around it.
func (s *service) stop(o *Options) error {
	var errs []error
	for _, fn := range o.BeforeStop {
		errs = append(errs, fn())
	}
	errs = append(errs, s.server.Stop())
	for _, fn := range o.AfterStop {
		errs = append(errs, fn())
	}
	return errors.Join(errs...)
}

// registerDebug registers the debug handler, once.
func (s *service) registerDebug() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	source, ok := s.server.(observed)
	if s.debugs || !ok {
		return nil
	}
	s.debugs = true
	h := s.server.NewHandler(debug.New(&observer{source}), server.InternalHandler(true))
	if err := s.server.Handle(h); err != nil {
		return fmt.Errorf("micro: %w", err)
	}
	return nil
}

// observed is a server that can be asked how it is.
type observed interface {
	Health() server.Health
	Stats() []server.EndpointStats
}

// observer is a server as the debug handler sees it.
type observer struct{ observed }

// Serving implements debug.Source.
func (o *observer) Serving() (bool, map[string]error) {
	h := o.Health()
	problems := make(map[string]error)
	for part, err := range map[string]error{"check": h.Check, "registry": h.Registry, "broker": h.Broker} {
		if err != nil {
			problems[part] = err
		}
	}
	return h.Serving, problems
}

// Endpoints implements debug.Source.
func (o *observer) Endpoints() []debug.Endpoint {
	var out []debug.Endpoint
	for _, e := range o.Stats() {
		out = append(out, debug.Endpoint{Name: e.Name, Requests: e.Requests, Errors: e.Errors, InFlight: e.InFlight,
			Mean: int64(e.Durations.Mean()), P50: int64(e.Durations.Quantile(0.5)),
			P90: int64(e.Durations.Quantile(0.9)), P99: int64(e.Durations.Quantile(0.99))})
	}
	return out
}

// close closes what the service has made: it is over.
func (s *service) close() {
	s.mu.Lock()
	made := s.made
	s.made = nil
	s.mu.Unlock()
	// The client was made first and uses the others.
	if len(made) > 1 {
		slices.Reverse(made[1:])
	}
	for _, closePart := range made {
		if err := closePart(); err != nil {
			s.log().Warn("closing a part failed", "error", err)
		}
	}
}
