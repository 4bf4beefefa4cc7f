package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/seed-9a4e2794/micro/client"
	"github.com/seed-9a4e2794/micro/cmd/micro/internal/catalog"
	"github.com/seed-9a4e2794/micro/cmd/micro/internal/gateway"
	"github.com/seed-9a4e2794/micro/cmd/micro/internal/runner"
	"github.com/seed-9a4e2794/micro/registry"
)

const defaultAddress = "127.0.0.1:8080"

func (t *tool) runCommand() *command {
	return &command{
		name: "run", group: groupBuild, args: "[DIR...]", max: -1,
		summary: "build services, start them, and reload them on change",
		about: `
Each DIR (the current one when none is given) holds a Go program with one
service or more. A change of its Go files, go.mod or embedded files builds it
again; the old process serves until the new one is registered. An HTTP gateway
takes POST /SERVICE/ENDPOINT with a JSON body, from this machine.`,
		examples: []string{
			"micro run",
			"micro run ./greeter ./orders",
			"micro run --address :9090 ./greeter",
		},
		flags: []cli.Flag{
			&cli.StringFlag{Name: "address", Value: defaultAddress, Usage: "where the gateway listens; a loopback address"},
			&cli.BoolFlag{Name: "no-gateway", Usage: "run no gateway"},
			&cli.BoolFlag{Name: "no-watch", Usage: "do not reload on change"},
		},
		run: t.runServices,
	}
}

// retries is how often the gateway tries again what surely was not executed:
// while processes are replaced more than one node may be leaving.
const retries = 3

func (t *tool) runServices(ctx context.Context, c *cli.Command) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var listener net.Listener
	if !c.Bool("no-gateway") {
		var err error
		if listener, err = listen(c.String("address")); err != nil {
			return err
		}
		defer listener.Close()
	}
	return t.with(c, func(p *parts) error {
		known := catalog.New(p.registry, t.logger(c))
		defer known.Close()
		progress := new(runner.Progress)
		gw := gateway.New(gateway.Config{Client: p.client, Catalog: known, Progress: progress.Of})
		stopServing := func() {}
		serving := make(chan error, 1)
		if listener != nil {
			srv := &http.Server{Handler: gw, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute}
			var done sync.WaitGroup
			done.Go(func() {
				if err := srv.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
					serving <- fmt.Errorf("gateway: %w", err)
					cancel()
				}
			})
			stopServing = sync.OnceFunc(func() {
				ctx, cancel := context.WithTimeout(context.Background(), gatewayTime)
				defer cancel()
				if srv.Shutdown(ctx) != nil {
					srv.Close()
				}
				done.Wait()
			})
			defer stopServing()
		}
		if err := synced(ctx, known); err != nil {
			return err
		}
		kill, release := secondSignal()
		defer release()
		err := runner.Run(ctx, runner.Config{
			Dirs: dirs(c), Catalog: known, Progress: progress, Env: chosen(c), Watch: !c.Bool("no-watch"), Out: t.stdout, Colour: colours(t.stdout),
			Logger: t.logger(c), Kill: kill, Counts: counts(gw), BeforeStop: stopServing,
			Ready: func(names []string) { t.banner(c, names, known, listener) },
		})
		if problem, ok := errors.AsType[*runner.Problem](err); ok {
			return &failure{exit: exitUsage, what: problem.What, hints: problem.Hints}
		}
		select {
		case gone := <-serving:
			return errors.Join(err, gone)
		default:
			return err
		}
	}, client.Retries(retries))
}

// gatewayTime is how long requests at the gateway may take to end when the
// tool stops.
const gatewayTime = 5 * time.Second

// synced waits until the registry has told what there is.
func synced(ctx context.Context, known *catalog.Catalog) error {
	timer := time.NewTimer(defaultTimeout)
	defer timer.Stop()
	select {
	case <-known.Synced():
		return nil
	case <-timer.C:
		return &failure{exit: exitUnreachable, what: fmt.Sprintf("the registry has not told what it knows in %v", defaultTimeout),
			hints: []string{"see more with --debug"}}
	case <-ctx.Done():
		return ctx.Err()
	}
}

// secondSignal returns a channel that is closed by the second signal. The
// first ends the tool's context.
func secondSignal() (<-chan struct{}, func()) {
	kill := make(chan struct{})
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	end := make(chan struct{})
	var done sync.WaitGroup
	done.Go(func() {
		for range 2 {
			select {
			case <-signals:
			case <-end:
				return
			}
		}
		close(kill)
	})
	return kill, func() {
		signal.Stop(signals)
		close(end)
		done.Wait()
	}
}

func dirs(c *cli.Command) []string {
	if c.NArg() == 0 {
		return []string{"."}
	}
	return c.Args().Slice()
}

// chosen returns the environment that makes services choose the same parts as
// the tool.
func chosen(c *cli.Command) []string {
	var env []string
	for _, f := range commonFlags() {
		name := f.Names()[0]
		if _, ok := f.(*cli.StringFlag); !ok || !c.IsSet(name) {
			continue
		}
		value := c.String(name)
		if strings.HasPrefix(name, "tls_") { // services run in folders of their own
			if abs, err := filepath.Abs(value); err == nil {
				value = abs
			}
		}
		env = append(env, "MICRO_"+strings.ToUpper(name)+"="+value)
	}
	return env
}

func counts(gw *gateway.Gateway) func([]string) (uint64, uint64) {
	return func(names []string) (requests, dropped uint64) {
		for _, n := range names {
			c := gw.Counts(n)
			requests += c.Requests
			dropped += c.Dropped
		}
		return requests, dropped
	}
}

// listen binds the gateway's address. Without a host it is the loopback one;
// one that others could reach is refused.
func listen(address string) (net.Listener, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, usage("such as --address :9090", "--address is %q, not HOST:PORT", address)
	}
	if host == "" {
		host = "127.0.0.1"
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return nil, usage("use 127.0.0.1, or :PORT", "the gateway of micro run asks nobody who they are, so it answers this machine only, not %s", host)
	}
	address = net.JoinHostPort(host, port)
	l, err := net.Listen("tcp", address)
	if errors.Is(err, syscall.EADDRINUSE) {
		f := &failure{exit: exitFailure, what: address + " is in use"}
		if free := freePort(host, port); free != "" {
			f.hints = []string{"use: micro run --address :" + free}
		}
		return nil, f
	}
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", address, err)
	}
	return l, nil
}

// freePort returns the next port that can be bound now.
func freePort(host, port string) string {
	n, err := strconv.Atoi(port)
	if err != nil {
		return ""
	}
	for n++; n < 65536; n++ {
		l, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(n)))
		if err == nil {
			l.Close()
			return strconv.Itoa(n)
		}
	}
	return ""
}

// banner says what runs and what to try.
func (t *tool) banner(c *cli.Command, names []string, known *catalog.Catalog, listener net.Listener) {
	all, _ := known.Services()
	mine := slices.DeleteFunc(slices.Clone(all), func(x *registry.Service) bool { return !slices.Contains(names, x.Name) })
	var b strings.Builder
	row := func(name, format string, a ...any) {
		fmt.Fprintf(&b, "  %-10s "+format+"\n", append([]any{name}, a...)...)
	}
	b.WriteString("\n")
	try := gateway.Try(mine)
	url := ""
	if listener != nil {
		url = "http://" + listener.Addr().String()
		row("gateway", "%s/", url)
		for _, x := range try {
			row("api", "%s%s   (POST JSON)", url, x.Path)
		}
	}
	if !c.Bool("no-watch") {
		row("watching", "%s and what they import", strings.Join(dirs(c), " "))
	}
	name := "try"
	if len(try) > 0 {
		x := try[0]
		if url != "" {
			row(name, "curl -d '%s' %s%s", x.Body, url, x.Path)
			name = ""
		}
		method := x.Path[strings.LastIndexByte(x.Path, '/')+1:]
		row(name, "%s", strings.TrimSpace(toolName()+" call "+x.Service+" "+method+" "+x.Fields))
	}
	row("stop", "ctrl-c")
	b.WriteString("\n")
	_, _ = io.WriteString(t.stdout, b.String()) // who does not read it does not want it
}

// toolName is how this tool is called: by go run it is not on the path.
func toolName() string {
	self, err := os.Executable()
	if err == nil && strings.Contains(filepath.ToSlash(self), "/go-build") {
		if _, err := os.Stat(filepath.Join("cmd", "micro", "main.go")); err == nil {
			return "go run ./cmd/micro"
		}
	}
	return "micro"
}
