package micro

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/urfave/cli/v3"

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
	base     client.Client   // without the wrappers
	applied  []client.Option // what base was given, for another that replaces it
	server   server.Server
	replaced bool // base is another, and has not been given what was applied
	inited   bool
	initErr  error
	helped   bool
	ran      bool
	made     made
	debugs   bool              // the debug handler is registered
	strategy selector.Strategy // what --selector chose

	ended chan struct{} // closed by Done of a function; nil in others
}

func newService(opts ...Option) *service {
	s := new(service)
	s.client.closeUnused = s.closeUnused
	for _, f := range opts {
		f(&s.opts)
	}
	s.base, s.server = s.opts.Client, s.opts.Server
	if s.base == nil {
		s.base = client.NewClient()
		s.made.client, _ = s.base.(io.Closer)
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
	s.applied = append(s.applied, o.client...)
	fresh := o.client
	if s.replaced {
		fresh, s.replaced = s.applied, false
	}
	copts := slices.Concat(fresh, []client.Option{client.Prepare(s.prepareClient)})
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
	s.client.set(s.base, slices.Concat(o.wrapClient, s.base.Options().Wrappers))
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
	return s.opts
}

func (s *service) log() *slog.Logger {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.opts.logger != nil {
		return s.opts.logger
	}
	return slog.Default()
}

func (s *service) Init(opts ...Option) error {
	s.mu.Lock()
	first := !s.inited
	s.inited = true
	err := s.applyOptions(opts)
	s.mu.Unlock()
	if first {
		// The program's Action runs in there and may use the service, so the
		// lock is not held.
		err = errors.Join(err, s.readSettings())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.initErr = errors.Join(s.initErr, err)
	if s.initErr == nil && !s.helped {
		// Programs read the parts from the options of service, server and
		// client, so they are made now.
		s.initErr = errors.Join(s.settle(), s.configure())
	}
	return s.initErr
}

// applyOptions applies options after those of NewService. The lock is held.
func (s *service) applyOptions(opts []Option) error {
	fixed, reg := s.opts.Client, s.opts.Registry
	for _, f := range opts {
		f(&s.opts)
	}
	if c := s.opts.Client; c != nil && !same(c, fixed) {
		s.base, s.replaced = c, true
	}
	s.opts.Client = fixed
	var err error
	if srv := s.opts.Server; srv != nil && !same(srv, s.server) {
		err = errors.New("micro: Init cannot replace the server, which handlers may have been registered with: set it in NewService")
	}
	s.opts.Server = s.server
	if !same(reg, s.opts.Registry) {
		s.unsettle()
	}
	return errors.Join(err, s.configure())
}

// readSettings reads the command line and the environment, applies them, and
// then calls the program's Action. The lock is not held.
func (s *service) readSettings() error {
	s.mu.Lock()
	o := &s.opts
	if o.Cmd == nil {
		o.Cmd = cmd.NewCmd()
	}
	line := o.Cmd
	app := line.App()
	app.Flags = append(app.Flags, o.flags...)
	action := app.Action
	if o.action != nil {
		action = o.action
	}
	copts := []cmd.Option{cmd.Version(s.server.Options().Version)}
	if o.argsSet {
		copts = append(copts, cmd.Args(o.args))
	}
	s.mu.Unlock()
	app.Action = func(ctx context.Context, c *cli.Command) error {
		s.mu.Lock()
		err := s.apply(line.Options().Settings)
		if err == nil {
			err = s.configure()
		}
		s.mu.Unlock()
		if err != nil || action == nil {
			return err
		}
		return action(ctx, c)
	}
	err := line.Init(copts...)
	if errors.Is(err, cmd.ErrHelp) {
		s.mu.Lock()
		s.helped = true
		s.mu.Unlock()
		return nil
	}
	if err != nil {
		return fmt.Errorf("micro: %w", err)
	}
	return nil
}

// Run runs the service; see Service.
func (s *service) Run() error {
	s.mu.Lock()
	if s.ran && s.initErr == nil {
		s.mu.Unlock()
		return errors.New("micro: the service has been run, and its parts are closed: make a new one")
	}
	err, helped := s.initErr, s.helped
	s.ran = true
	o := s.opts
	s.mu.Unlock()
	defer s.close()
	if helped || err != nil {
		return err
	}
	var sig chan os.Signal // nil, when there are no signals to listen for
	if o.signals != noSignals {
		sig = make(chan os.Signal, 2)
		signal.Notify(sig, syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT)
		defer signal.Stop(sig)
	}
	got, err := s.during(sig, nil, "starting", func() error { return s.start(&o) })
	if err != nil {
		return err
	}
	if got == nil {
		got = s.wait(sig, o.Context)
	}
	_, err = s.during(sig, got, "stopping", func() error { return s.stop(&o) })
	return err
}

// wait waits until the service has to stop. It returns the signal, if it was
// one.
func (s *service) wait(sig <-chan os.Signal, ctx context.Context) os.Signal {
	if ctx == nil {
		ctx = context.Background()
	}
	select {
	case got := <-sig:
		s.log().Info("stopping", "service", s.Name(), "signal", got.String())
		return got
	case <-ctx.Done():
	case <-s.ended:
	}
	return nil
}

// during calls fn. One signal is noted, and another one ends the waiting for
// fn. It returns the first signal, which may be one from before.
func (s *service) during(sig <-chan os.Signal, first os.Signal, what string, fn func() error) (os.Signal, error) {
	if sig == nil {
		return nil, fn()
	}
	began := time.Now()
	done := make(chan error, 1)
	go func() { done <- fn() }() // not waited for only when the program is told to end at once
	for {
		select {
		case err := <-done:
			return first, err
		case got := <-sig:
			if got == first && time.Since(began) < oneSignal {
				continue // it came twice: to the process and to its group
			}
			if first != nil {
				return first, fmt.Errorf("micro: %s came after %s while %s was %s: what was under way was not waited for", got, first, s.Name(), what)
			}
			first, began = got, time.Now()
			s.log().Info("stopping after what is under way", "service", s.Name(), "signal", got.String(), "while", what)
		}
	}
}

// oneSignal is how long after a signal the same one is taken for a copy of it:
// supervisors tell a process and its group.
const oneSignal = 100 * time.Millisecond

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
	slices.SortFunc(out, func(a, b debug.Endpoint) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// close closes what the service has made: it is over.
func (s *service) close() {
	s.mu.Lock()
	m := s.made
	s.made = made{}
	s.mu.Unlock()
	for _, err := range m.close() {
		s.log().Warn("closing a part failed", "service", s.Name(), "error", err)
	}
}

// closeUnused closes what the service has made, unless Run does.
func (s *service) closeUnused() {
	s.mu.Lock()
	ran := s.ran
	s.ran = true
	s.mu.Unlock()
	if !ran {
		s.close()
	}
}
