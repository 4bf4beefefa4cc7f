// Package cmd reads the settings of a service from the command line and from
// the environment. A flag goes before its variable.
package cmd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v3"
)

// Cmd is the command line of a service.
type Cmd interface {
	// App returns the command, to which a program may add flags before Init.
	App() *cli.Command
	// Init applies options and, at its first call, parses. It returns ErrHelp
	// when help or the version was asked for and has been printed, and never
	// exits the process.
	Init(opts ...Option) error
	Options() Options
}

// ErrHelp says that help has been printed and the program should end well.
var ErrHelp = errors.New("help was asked for")

// Options are the settings of a Cmd.
type Options struct {
	// Name, Description and Version are shown by help.
	Name, Description, Version string
	// Args are the arguments without the program's name. Nil with ArgsSet
	// reads none; not set reads os.Args.
	Args    []string
	ArgsSet bool
	// Settings is what has been read.
	Settings Settings
}

// Option sets an Options.
type Option func(*Options)

// Name sets the name that help shows.
func Name(n string) Option { return func(o *Options) { o.Name = n } }

// Description sets the text that help shows.
func Description(d string) Option { return func(o *Options) { o.Description = d } }

// Version sets the version that help shows.
func Version(v string) Option { return func(o *Options) { o.Version = v } }

// Args sets the arguments; nil reads none, and no environment either.
func Args(args []string) Option {
	return func(o *Options) { o.Args, o.ArgsSet = args, true }
}

// Settings is what flags and environment say. What they do not say is nil.
type Settings struct {
	Client               *string
	ClientRequestTimeout *time.Duration
	ClientRetries        *int
	ClientPoolSize       *int
	ClientPoolTTL        *time.Duration
	RegisterTTL          *time.Duration
	RegisterInterval     *time.Duration
	Server               *string
	ServerName           *string
	ServerVersion        *string
	ServerID             *string
	ServerAddress        *string
	ServerAdvertise      *string
	ServerMetadata       map[string]string
	Broker               *string
	BrokerAddress        []string
	Registry             *string
	RegistryAddress      []string
	Selector             *string
	Transport            *string
	TransportAddress     []string
	TLSCert              *string
	TLSKey               *string
	TLSCA                *string
	TLSClients           *string
}

// NewCmd returns a command line with the flags that every service has.
func NewCmd(opts ...Option) Cmd {
	c := &command{opts: Options{Name: filepath.Base(os.Args[0])}}
	for _, f := range opts {
		f(&c.opts)
	}
	c.app = &cli.Command{
		Name:            c.opts.Name,
		HideHelpCommand: true,
		Flags:           flags(),
		// The library would exit the process, or print a second time.
		ExitErrHandler: func(context.Context, *cli.Command, error) {},
		OnUsageError:   func(_ context.Context, _ *cli.Command, err error, _ bool) error { return err },
	}
	return c
}

type command struct {
	app    *cli.Command
	opts   Options
	parsed bool
}

func (c *command) App() *cli.Command { return c.app }
func (c *command) Options() Options  { return c.opts }

func (c *command) Init(opts ...Option) error {
	for _, f := range opts {
		f(&c.opts)
	}
	if c.parsed {
		return nil
	}
	c.parsed = true
	if c.opts.ArgsSet && c.opts.Args == nil {
		return nil
	}
	args := c.opts.Args
	if !c.opts.ArgsSet {
		args = withoutTestFlags(os.Args[1:])
	}
	c.app.Name, c.app.Description, c.app.Version = c.opts.Name, c.opts.Description, c.opts.Version
	c.app.CustomRootCommandHelpTemplate = c.help()
	// The library prints help by itself and returns no error; a program that
	// goes on to serve would be a surprise.
	helped := true
	var acted error
	action := c.app.Action
	c.app.Action = func(ctx context.Context, cc *cli.Command) error {
		helped = false
		var err error
		if c.opts.Settings, err = read(cc); err != nil {
			return err
		}
		if action != nil {
			acted = action(ctx, cc)
		}
		return acted
	}
	err := c.app.Run(context.Background(), append([]string{c.opts.Name}, args...))
	if acted != nil {
		return acted // the program's own error, not one of the command line
	}
	if err != nil {
		return fmt.Errorf("command line: %w (--help lists the flags)", err)
	}
	if helped {
		return ErrHelp
	}
	return nil
}

// help returns the help text: a line for each flag, in columns.
func (c *command) help() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s is a service", c.opts.Name)
	if c.opts.Version != "" {
		fmt.Fprintf(&b, ", version %s", c.opts.Version)
	}
	b.WriteString(".\n")
	if c.opts.Description != "" {
		fmt.Fprintf(&b, "\n%s\n", c.opts.Description)
	}
	fmt.Fprintf(&b, "\nUsage: %s [flags]\n\n", c.opts.Name)
	b.WriteString("Each flag can be set in the environment too: --server_address is MICRO_SERVER_ADDRESS.\n\n")
	type line struct{ name, usage string }
	lines := []line{}
	width := 0
	for _, f := range c.app.Flags {
		d, ok := f.(cli.DocGenerationFlag)
		if !ok {
			continue
		}
		l := line{"--" + strings.Join(f.Names(), ", --"), d.GetUsage()}
		if v := d.GetValue(); v != "" && v != "[]" && d.TakesValue() {
			l.usage += " (" + v + ")"
		}
		lines = append(lines, l)
		width = max(width, len(l.name))
	}
	lines = append(lines, line{"--help", "show this"}, line{"--version", "show the version"})
	for _, l := range lines {
		fmt.Fprintf(&b, "  %-*s  %s\n", width, l.name, l.usage)
	}
	// The library takes it for a template.
	return strings.ReplaceAll(b.String(), "{{", `{{"{{"}}`)
}

// withoutTestFlags drops what go test gives to a test binary.
func withoutTestFlags(args []string) []string {
	var out []string
	for _, a := range args {
		if strings.HasPrefix(a, "-test.") || strings.HasPrefix(a, "--test.") {
			continue
		}
		out = append(out, a)
	}
	return out
}

// flags returns the flags of every service, with the names of go-micro v1.
func flags() []cli.Flag {
	str := func(name, usage string) cli.Flag {
		return &cli.StringFlag{Name: name, Usage: usage, Sources: cli.EnvVars(envName(name))}
	}
	return []cli.Flag{
		str("server_name", "name of the service, such as greeter"),
		str("server_version", "version of the service, such as 1.1.0"),
		str("server_id", "what tells the nodes of the service apart"),
		str("server_address", "address to listen on, such as 127.0.0.1:8080 or :8000-8100"),
		str("server_advertise", "address that others are told, if it is not that one"),
		&cli.StringSliceFlag{Name: "server_metadata", Usage: "KEY=VALUE to register with the node; may be given again", Sources: cli.EnvVars(envName("server_metadata"))},
		str("registry", "where services are found: local (default), static, memory, or one that the program adds"),
		str("registry_address", "addresses of the registry, with commas between"),
		str("register_ttl", "how long a registration holds, in seconds or as 90s (default 90s)"),
		str("register_interval", "how often it is renewed, in seconds or as 30s (default 30s)"),
		str("broker", "what carries events: direct (default), memory, or one that the program adds"),
		str("broker_address", "addresses of the broker, with commas between"),
		str("transport", "what carries calls: port (default, every protocol on one port), tcp (the native wire alone), memory, or one that the program adds"),
		str("transport_address", "addresses of the transport, with commas between"),
		str("tls_cert", "file of the service's certificate (PEM), for calls to it and by it; turns TLS on"),
		str("tls_key", "file of its private key (PEM)"),
		str("tls_ca", "file of the authorities to trust instead of the system's (PEM); turns TLS on for calls by it"),
		str("tls_clients", "who may connect: any (default), optional (certificates are verified), required"),
		str("selector", "what picks nodes: default (the less loaded of two), random, roundrobin"),
		str("client", "protocol of calls: micro (default: what the node's metadata says), mucp, grpc, grpc-web, connect"),
		str("server", "kept for programs that set it: the server answers every protocol"),
		str("client_request_timeout", "time for a call with all its attempts, such as 500ms (default 5s)"),
		str("client_retries", "largest number of further attempts (default 1)"),
		str("client_pool_size", "no effect; go-micro has it"),
		str("client_pool_ttl", "no effect; go-micro has it"),
	}
}

func envName(flag string) string { return "MICRO_" + strings.ToUpper(flag) }

// read takes the settings from the parsed command line. An empty value says
// nothing: scripts that start services set variables to it.
func read(c *cli.Command) (Settings, error) {
	var s Settings
	var errs []error
	isSet := func(name string) bool { return c.String(name) != "" }
	text := func(name string, to **string) {
		if isSet(name) {
			v := c.String(name)
			*to = &v
		}
	}
	number := func(name string, to **int) {
		if !isSet(name) {
			return
		}
		n, err := strconv.Atoi(c.String(name))
		if err != nil || n < 0 {
			errs = append(errs, fmt.Errorf("--%s is %q, not a whole number from 0", name, c.String(name)))
			return
		}
		*to = &n
	}
	duration := func(name string, to **time.Duration, unit time.Duration) {
		if !isSet(name) {
			return
		}
		v := c.String(name)
		d, err := time.ParseDuration(v)
		if n, nerr := strconv.Atoi(v); nerr == nil && unit > 0 {
			d, err = time.Duration(n)*unit, nil
		}
		if err != nil || d < 0 {
			errs = append(errs, fmt.Errorf("--%s is %q, not a duration such as 30s", name, v))
			return
		}
		*to = &d
	}
	list := func(name string, to *[]string) {
		if isSet(name) {
			for _, a := range strings.Split(c.String(name), ",") {
				if a = strings.TrimSpace(a); a != "" {
					*to = append(*to, a)
				}
			}
		}
	}
	text("client", &s.Client)
	text("server", &s.Server)
	text("server_name", &s.ServerName)
	text("server_version", &s.ServerVersion)
	text("server_id", &s.ServerID)
	text("server_address", &s.ServerAddress)
	text("server_advertise", &s.ServerAdvertise)
	text("broker", &s.Broker)
	text("registry", &s.Registry)
	text("selector", &s.Selector)
	text("transport", &s.Transport)
	text("tls_cert", &s.TLSCert)
	text("tls_key", &s.TLSKey)
	text("tls_ca", &s.TLSCA)
	text("tls_clients", &s.TLSClients)
	list("broker_address", &s.BrokerAddress)
	list("registry_address", &s.RegistryAddress)
	list("transport_address", &s.TransportAddress)
	number("client_retries", &s.ClientRetries)
	number("client_pool_size", &s.ClientPoolSize)
	duration("client_request_timeout", &s.ClientRequestTimeout, 0)
	duration("client_pool_ttl", &s.ClientPoolTTL, 0)
	duration("register_ttl", &s.RegisterTTL, time.Second)
	duration("register_interval", &s.RegisterInterval, time.Second)
	for _, kv := range c.StringSlice("server_metadata") {
		if kv == "" {
			continue
		}
		k, v, ok := strings.Cut(kv, "=")
		if !ok || k == "" {
			errs = append(errs, fmt.Errorf("--server_metadata is %q, not KEY=VALUE", kv))
			continue
		}
		if s.ServerMetadata == nil {
			s.ServerMetadata = make(map[string]string)
		}
		s.ServerMetadata[k] = v
	}
	return s, errors.Join(errs...)
}
