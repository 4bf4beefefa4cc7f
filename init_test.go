package micro_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/urfave/cli/v3"

	"github.com/seed-9a4e2794/micro"
	"github.com/seed-9a4e2794/micro/config/backend"
	"github.com/seed-9a4e2794/micro/internal/leaktest"
	"github.com/seed-9a4e2794/micro/registry"
	"github.com/seed-9a4e2794/micro/transport"
)

func TestANameNobodyKnowsIsAnErrorThatListsTheNames(t *testing.T) {
	for _, tt := range []struct {
		arg  string
		want []string
	}{
		{"--registry=foo", []string{`no registry is called "foo"`, "available: local, memory, mine, static", "micro.Backends"}},
		{"--broker=foo", []string{`no broker is called "foo"`, "available: direct, memory, mine"}},
		{"--transport=foo", []string{`no transport is called "foo"`, "available: memory, mine, tcp"}},
		{"--client=foo", []string{`no client is called "foo"`, "available: ", "rpc"}},
		{"--server=foo", []string{`no server is called "foo"`, "available: ", "rpc"}},
		{"--selector=foo", []string{`no selector is called "foo"`, "available: default, random, roundrobin"}},
		{"--no_such_flag", []string{"no_such_flag", "--help"}},
		{"--client_retries=many", []string{"--client_retries", `"many"`}},
		{"--register_ttl=-5", []string{"--register_ttl", `"-5"`}},
		{"--client_request_timeout=5", []string{"--client_request_timeout", `"5"`, "30s"}},
		{"--server_metadata=novalue", []string{"--server_metadata", "KEY=VALUE"}},
		{"--broker_address=127.0.0.1:4222", []string{"--broker_address", "--broker is not given"}},
		{"--registry_address=127.0.0.1:2379", []string{"--registry_address", "--registry is not given"}},
		{"--transport_address=127.0.0.1:1", []string{"--transport_address", "--transport is not given"}},
	} {
		t.Run(tt.arg, func(t *testing.T) {
			leaktest.Check(t)
			var closed int
			var tr trace
			w := newWorld()
			lis := &counting{Transport: w.transport}
			s := micro.NewService(w.options(micro.Name("refused"), micro.Transport(lis), micro.Backends(namedBackend("mine", &closed)),
				micro.Args([]string{tt.arg}), micro.BeforeStart(tr.hook("before-start", nil)))...)
			s.Init() // as programs call it
			err := s.Run()
			if err == nil {
				t.Fatal("Run: no error")
			}
			for _, part := range tt.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("got %q, want %q in it", err, part)
				}
			}
			if again := s.Run(); again == nil || again.Error() != err.Error() {
				t.Errorf("the second Run: %v", again)
			}
			if got := s.Init(); got == nil || got.Error() != err.Error() {
				t.Errorf("the second Init: %v", got)
			}
			if lis.listens != 0 || len(w.registered(t)) != 0 || tr.String() != "" {
				t.Errorf("something started: %d listeners, registered %v, hooks %q", lis.listens, w.registered(t), tr.String())
			}
		})
	}
}

// counting is a transport that counts its listeners.
type counting struct {
	transport.Transport
	listens int
}

func (c *counting) Listen(ctx context.Context, addr string) (transport.Listener, error) {
	c.listens++
	return c.Transport.Listen(ctx, addr)
}

func TestPartsMadeByNameAreClosedAlsoWhenRunFails(t *testing.T) {
	leaktest.Check(t)
	for _, extra := range []string{"", "--broker=foo"} {
		closed := 0
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		args := []string{"--registry=mine", "--transport=mine"}
		if extra != "" {
			args = append(args, extra)
		}
		s := micro.NewService(micro.Backends(namedBackend("mine", &closed)), micro.Args(args), micro.Context(ctx), micro.HandleSignal(false),
			micro.Logger(slog.New(slog.DiscardHandler)))
		s.Init()
		if err := s.Run(); (err != nil) != (extra != "") {
			t.Errorf("with %q Run returned %v", extra, err)
		}
		if closed != 1 {
			t.Errorf("with %q the registry was closed %d times", extra, closed)
		}
	}
}

func TestABackendThatFailsIsTheErrorOfInit(t *testing.T) {
	fault := errors.New("the vendor's servers are not there")
	s := micro.NewService(micro.Args([]string{"--registry=broken"}), micro.Backends(backend.Backend{Name: "broken",
		Registry: func(backend.Config) (registry.Registry, error) { return nil, fault }}))
	if err := s.Init(); !errors.Is(err, fault) {
		t.Errorf("got %v", err)
	}
}

func TestABackendOfTheProgramGoesBeforeABuiltInOne(t *testing.T) {
	var closed int
	s := micro.NewService(micro.Backends(namedBackend("local", &closed)), micro.Args([]string{"--registry=local"}))
	if err := s.Init(); err != nil {
		t.Fatal(err)
	}
	if _, ok := s.Options().Registry.(*namedRegistry); !ok {
		t.Errorf("got a %T", s.Options().Registry)
	}
}

func TestNilArgsTurnArgumentsAndEnvironmentOff(t *testing.T) {
	t.Setenv("MICRO_SERVER_NAME", "environment")
	t.Setenv("MICRO_REGISTRY", "foo")
	s := micro.NewService(append(newWorld().options(), micro.Name("code"))...)
	if err := s.Init(); err != nil {
		t.Fatal(err)
	}
	if s.Name() != "code" {
		t.Errorf("the name is %q", s.Name())
	}
}

func TestInitIgnoresTheArgumentsOfGoTest(t *testing.T) {
	runtimeDir(t)
	if !slices.ContainsFunc(os.Args[1:], func(a string) bool { return strings.HasPrefix(a, "-test.") }) {
		t.Fatalf("the arguments %q have nothing of go test", os.Args)
	}
	s := micro.NewService(micro.Name("tested"))
	if err := s.Init(); err != nil {
		t.Error(err)
	}
}

func TestTheEnvironmentIsReadOnce(t *testing.T) {
	t.Setenv("MICRO_SERVER_VERSION", "1")
	w := newWorld()
	s := micro.NewService(append(w.options(), micro.Args([]string{}))...)
	for _, want := range []string{"1", "code"} {
		if err := s.Init(); err != nil {
			t.Fatal(err)
		}
		if got := s.Server().Options().Version; got != want {
			t.Errorf("got version %q, want %q", got, want)
		}
		t.Setenv("MICRO_SERVER_VERSION", "2")
		if err := s.Init(micro.Version("code")); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAnActionSeesItsFlagsAndAServiceThatIsReady(t *testing.T) {
	leaktest.Check(t)
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		greeter := w.run(t, micro.Name("greeter"))
		if err := micro.RegisterHandler(greeter.Server(), new(Greeter)); err != nil {
			t.Fatal(err)
		}
		var s micro.Service
		var said string
		s = micro.NewService(append(w.options(), micro.Args([]string{"--call", "greeter", "--server_name=caller"}),
			micro.Flags(&cli.StringFlag{Name: "call", Usage: "service to call"}),
			micro.Action(func(ctx context.Context, c *cli.Command) error {
				if s.Name() != "caller" || s.Options().Registry == nil {
					t.Errorf("the flags are not applied: %q", s.Name())
				}
				rsp, err := micro.Call[HelloResponse](ctx, s.Client(), c.String("call"), "Greeter.Hello", &HelloRequest{"Ada"})
				if err == nil {
					said = rsp.Message
				}
				return err
			}))...)
		if err := s.Init(); err != nil {
			t.Fatal(err)
		}
		if said != "Hello Ada" {
			t.Errorf("the action heard %q", said)
		}
		closeOf(t, s)
	})
}

// closeOf runs a service to its end at once, which closes its parts.
func closeOf(t *testing.T, s micro.Service) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := s.Init(micro.Context(ctx)); err != nil {
		t.Error(err)
	}
	if err := s.Run(); err != nil {
		t.Error(err)
	}
}

func TestTheErrorOfAnActionIsTheErrorOfInitAndRun(t *testing.T) {
	fault := errors.New("no such customer")
	s := micro.NewService(append(newWorld().options(), micro.Args([]string{}),
		micro.Action(func(context.Context, *cli.Command) error { return fault }))...)
	if err := s.Init(); !errors.Is(err, fault) {
		t.Errorf("Init: %v", err)
	}
	if err := s.Run(); !errors.Is(err, fault) || err.Error() != "micro: no such customer" {
		t.Errorf("Run: %v", err)
	}
}

func TestInitNeverEndsTheProcess(t *testing.T) {
	for _, tt := range []struct {
		name, mode string
		args       []string
		want       []string
		once       string
	}{
		{"help", "plain", []string{"--help"}, []string{"--registry", "--own", "flag of the program", "after init", "run: <nil>"}, "where services are found"},
		{"help, short", "plain", []string{"-h"}, []string{"--registry", "run: <nil>"}, "where services are found"},
		{"help besides others", "plain", []string{"--server_name=x", "--help"}, []string{"--registry", "run: <nil>"}, "where services are found"},
		{"version", "plain", []string{"--version"}, []string{"9.8.7", "after init", "run: <nil>"}, "9.8.7"},
		{"unknown flag", "plain", []string{"--no_such_flag"}, []string{"after init", "run: micro: command line: ", "no_such_flag"}, "no_such_flag"},
		{"unknown registry", "plain", []string{"--registry", "foo"}, []string{"after init", `run: micro: no registry is called "foo"`}, "foo"},
		{"a value that is missing", "plain", []string{"--registry"}, []string{"after init", "run: micro: command line: "}, "run: "},
		{"action", "action exits", nil, []string{"after init", "exit code 3", "run: micro: enough"}, "enough"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			runtimeDir(t)
			said, code := start(t, tt.mode, nil, tt.args...).end()
			if code != 0 {
				t.Errorf("the process ended with %d", code)
			}
			for _, part := range tt.want {
				if !strings.Contains(said, part) {
					t.Errorf("it did not say %q, but:\n%s", part, said)
				}
			}
			if n := strings.Count(said, tt.once); n != 1 {
				t.Errorf("it said %q %d times:\n%s", tt.once, n, said)
			}
			if strings.Contains(said, "\naddress ") || strings.Contains(said, "before stop") {
				t.Errorf("it started:\n%s", said)
			}
		})
	}
}
