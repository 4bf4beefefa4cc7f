package micro_test

import (
	"context"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"log/slog"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/seed-9a4e2794/micro"
	"github.com/seed-9a4e2794/micro/broker"
	"github.com/seed-9a4e2794/micro/client"
	"github.com/seed-9a4e2794/micro/client/selector"
	"github.com/seed-9a4e2794/micro/config/backend"
	"github.com/seed-9a4e2794/micro/config/cmd"
	"github.com/seed-9a4e2794/micro/internal/leaktest"
	"github.com/seed-9a4e2794/micro/registry"
	"github.com/seed-9a4e2794/micro/server"
)

// noting is a client that notes its calls.
type noting struct {
	client.Client
	trace *trace
	name  string
}

func (n *noting) Call(ctx context.Context, req client.Request, rsp any, opts ...client.CallOption) error {
	n.trace.note(n.name)
	return n.Client.Call(ctx, req, rsp, opts...)
}

func wrapClient(tr *trace, name string) client.Wrapper {
	return func(c client.Client) client.Client { return &noting{c, tr, name} }
}

func wrapCall(tr *trace, name string) client.CallWrapper {
	return func(next client.CallFunc) client.CallFunc {
		return func(ctx context.Context, node *registry.Node, req client.Request, rsp any, opts client.CallOptions) error {
			tr.note(name)
			return next(ctx, node, req, rsp, opts)
		}
	}
}

func wrapHandler(tr *trace, name string) server.HandlerWrapper {
	return func(next server.HandlerFunc) server.HandlerFunc {
		return func(ctx context.Context, req server.Request, rsp any) error {
			tr.note(name)
			return next(ctx, req, rsp)
		}
	}
}

func wrapSubscriber(tr *trace, name string) server.SubscriberWrapper {
	return func(next server.SubscriberFunc) server.SubscriberFunc {
		return func(ctx context.Context, msg server.Message) error {
			tr.note(name)
			return next(ctx, msg)
		}
	}
}

// optionNames returns the exported functions of options.go that return an
// Option.
func optionNames(t *testing.T) []string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "options.go", nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, d := range file.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if !ok || fn.Recv != nil || !fn.Name.IsExported() || fn.Type.Results == nil {
			continue
		}
		if id, ok := fn.Type.Results.List[0].Type.(*ast.Ident); ok && id.Name == "Option" {
			names = append(names, fn.Name.Name)
		}
	}
	return names
}

func TestOptionsInAnyOrderGiveTheSameService(t *testing.T) {
	leaktest.Check(t)
	want := ""
	for seed := range uint64(40) {
		synctest.Test(t, func(t *testing.T) {
			got := lifeOfShuffledService(t, rand.New(rand.NewPCG(seed, 0)), seed == 0)
			if want == "" {
				want = got
				t.Logf("the service: %s", got)
			}
			if got != want {
				t.Errorf("seed %d: got\n%s\nwant\n%s", seed, got, want)
			}
		})
	}
}

// lifeOfShuffledService makes a service with every option there is, in an
// order of chance, uses it, and returns what it was like.
func lifeOfShuffledService(t *testing.T, chance *rand.Rand, check bool) string {
	w := newWorld()
	var tr trace
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	cl := client.NewClient()
	defer cl.(interface{ Close() error }).Close()
	srv := server.NewServer()
	sel := selector.New(selector.Config{Registry: w.registry})
	defer sel.Close()
	line := cmd.NewCmd()
	logger := slog.New(slog.DiscardHandler)
	started, mine := make(chan struct{}), w.broker.Peer()
	options := map[string]micro.Option{
		"Name": micro.Name("shuffled"), "Version": micro.Version("1.2.3"), "Address": micro.Address("here:1"),
		"Metadata":         micro.Metadata(map[string]string{"zone": "a"}),
		"RegisterTTL":      micro.RegisterTTL(7 * time.Minute),
		"RegisterInterval": micro.RegisterInterval(3 * time.Minute),
		"WrapHandler":      micro.WrapHandler(wrapHandler(&tr, "handler1"), wrapHandler(&tr, "handler2")),
		"WrapSubscriber":   micro.WrapSubscriber(wrapSubscriber(&tr, "sub1"), wrapSubscriber(&tr, "sub2")),
		"WrapClient":       micro.WrapClient(wrapClient(&tr, "client1"), wrapClient(&tr, "client2")),
		"WrapCall":         micro.WrapCall(wrapCall(&tr, "call1"), wrapCall(&tr, "call2")),
		"Broker":           micro.Broker(w.broker.Peer()), "Cmd": micro.Cmd(line), "Client": micro.Client(cl), "Server": micro.Server(srv),
		"Registry": micro.Registry(w.registry), "Selector": micro.Selector(sel), "Transport": micro.Transport(w.transport),
		"TLS":     micro.TLS(nil),
		"Context": micro.Context(ctx), "HandleSignal": micro.HandleSignal(false), "Logger": micro.Logger(logger),
		"Backends": micro.Backends(backend.Backend{Name: "mine", Broker: func(backend.Config) (broker.Broker, error) { return mine, nil }}),
		"Flags":    micro.Flags(&cli.StringFlag{Name: "own"}),
		"Action": micro.Action(func(_ context.Context, c *cli.Command) error {
			tr.note("action:" + c.String("own"))
			return nil
		}),
		"Args":        micro.Args([]string{"--own=x", "--broker=mine"}),
		"BeforeStart": micro.BeforeStart(tr.hook("before-start", nil)),
		"AfterStart":  micro.AfterStart(func() error { tr.note("after-start"); close(started); return nil }),
		"BeforeStop":  micro.BeforeStop(tr.hook("before-stop", nil)),
		"AfterStop":   micro.AfterStop(tr.hook("after-stop", nil)),
	}
	var names []string
	for name := range options {
		names = append(names, name)
	}
	slices.Sort(names)
	if check {
		have := optionNames(t)
		slices.Sort(have)
		if !slices.Equal(have, names) {
			t.Fatalf("options.go has %v, this test %v", have, names)
		}
	}
	chance.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	var opts []micro.Option
	for _, name := range names {
		opts = append(opts, options[name])
	}
	s := micro.NewService(opts...)
	if err := s.Init(); err != nil {
		t.Fatal(err)
	}
	if err := micro.RegisterHandler(s.Server(), new(Greeter)); err != nil {
		t.Fatal(err)
	}
	if err := micro.Subscribe(s, "topic", func(context.Context, *event) error { tr.note("event"); return nil }); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Run() }()
	<-started
	var rsp HelloResponse
	if err := s.Client().Call(ctx, s.Client().NewRequest("shuffled", "Greeter.Hello", &HelloRequest{"Ada"}), &rsp); err != nil {
		t.Fatal(err)
	}
	if err := micro.NewPublisher("topic", s.Client()).Publish(ctx, &event{1}); err != nil {
		t.Fatal(err)
	}
	synctest.Wait()
	o, so, co := s.Options(), s.Server().Options(), s.Client().Options()
	out := fmt.Sprint(s.Name(), " ", so.Version, " ", so.Address, " ", so.Metadata, " ", so.RegisterTTL, " ", so.RegisterInterval, " ", rsp.Message, " ",
		so.Broker == mine, co.Broker == mine, o.Broker == mine, so.Registry == w.registry, co.Registry == w.registry, o.Registry == w.registry,
		so.Transport == w.transport, co.Transport == w.transport, o.Transport == w.transport, co.Selector == sel, s.Server() == srv,
		o.Cmd == line, so.Logger == logger, co.Logger == logger, o.Context == ctx, " ",
		len(o.BeforeStart), len(o.AfterStart), len(o.BeforeStop), len(o.AfterStop))
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	return out + " " + tr.String()
}

func TestTheFirstWrapperOfEachKindIsTheOutermost(t *testing.T) {
	leaktest.Check(t)
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		var tr trace
		s := w.run(t, micro.Name("wrapped"),
			micro.WrapClient(wrapClient(&tr, "client1"), wrapClient(&tr, "client2")), micro.WrapClient(wrapClient(&tr, "client3")),
			micro.WrapCall(wrapCall(&tr, "call1"), wrapCall(&tr, "call2")), micro.WrapCall(wrapCall(&tr, "call3")),
			micro.WrapHandler(wrapHandler(&tr, "handler1"), wrapHandler(&tr, "handler2")), micro.WrapHandler(wrapHandler(&tr, "handler3")),
			micro.WrapSubscriber(wrapSubscriber(&tr, "sub1"), wrapSubscriber(&tr, "sub2")), micro.WrapSubscriber(wrapSubscriber(&tr, "sub3")))
		if err := micro.RegisterHandler(s.Server(), new(Greeter)); err != nil {
			t.Fatal(err)
		}
		if err := micro.Subscribe(s, "topic", func(context.Context, *event) error { tr.note("event"); return nil }); err != nil {
			t.Fatal(err)
		}
		// Without a Request of its own a call passes the same wrappers.
		if _, err := micro.Call[HelloResponse](context.Background(), s.Client(), "wrapped", "Greeter.Hello", &HelloRequest{"Ada"}); err != nil {
			t.Fatal(err)
		}
		if got, want := tr.String(), "client1 client2 client3 call1 call2 call3 handler1 handler2 handler3"; got != want {
			t.Errorf("call: got %q, want %q", got, want)
		}
		tr.clear()
		if err := micro.Publish(context.Background(), s.Client(), "topic", &event{1}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if got, want := tr.String(), "sub1 sub2 sub3 event"; got != want {
			t.Errorf("event: got %q, want %q", got, want)
		}
	})
}

func TestAWrapperIsAskedOnceHoweverOftenSettingsChange(t *testing.T) {
	leaktest.Check(t)
	synctest.Test(t, func(t *testing.T) {
		asked := make(map[string]int)
		count := func(name string) client.Wrapper {
			return func(c client.Client) client.Client { asked[name]++; return c }
		}
		own := client.NewClient(client.Wrap(count("client.Wrap")))
		defer own.(interface{ Close() error }).Close()
		s := newWorld().run(t, micro.Name("asked"), micro.Client(own), micro.WrapClient(count("WrapClient")))
		s.Client().NewRequest("a", "b", nil)
		if err := s.Init(micro.Metadata(map[string]string{"a": "b"})); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			s.Client().NewRequest("a", "b", nil)
		}
		if asked["WrapClient"] != 1 || asked["client.Wrap"] != 1 {
			t.Errorf("asked %v, want each once", asked)
		}
	})
}
