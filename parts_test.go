package micro_test

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-9a4e2794/micro"
	"github.com/seed-9a4e2794/micro/broker"
	brokermemory "github.com/seed-9a4e2794/micro/broker/memory"
	"github.com/seed-9a4e2794/micro/client"
	"github.com/seed-9a4e2794/micro/internal/leaktest"
	"github.com/seed-9a4e2794/micro/registry"
	"github.com/seed-9a4e2794/micro/server"
)

func TestClientAndServerTakenBeforeOptionsAreRightAfterwards(t *testing.T) {
	leaktest.Check(t)
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		var tr trace
		s := micro.NewService()
		cl, srv := s.Client(), s.Server()
		pub := micro.NewPublisher("topic", cl)
		if err := micro.RegisterHandler(srv, new(Greeter)); err != nil {
			t.Fatal(err)
		}
		if err := micro.RegisterSubscriber("topic", srv, func(context.Context, *event) error { tr.note("event"); return nil }); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		started := make(chan struct{})
		err := s.Init(w.options(micro.Name("late"), micro.Context(ctx), micro.WrapClient(wrapClient(&tr, "wrapped")),
			micro.AfterStart(func() error { close(started); return nil }))...)
		if err != nil {
			t.Fatal(err)
		}
		if s.Client() != cl || s.Server() != srv || s.Options().Client != cl || s.Options().Server != srv {
			t.Error("Init has replaced the handles")
		}
		done := make(chan error, 1)
		go func() { done <- s.Run() }()
		<-started
		var rsp HelloResponse
		if err := cl.Call(ctx, cl.NewRequest("late", "Greeter.Hello", &HelloRequest{"Ada"}), &rsp); err != nil || rsp.Message != "Hello Ada" {
			t.Errorf("got %q, %v", rsp.Message, err)
		}
		if err := pub.Publish(ctx, &event{1}); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if got := tr.String(); got != "wrapped event" {
			t.Errorf("got %q", got)
		}
		if srv.Options().Name != "late" || cl.Options().Registry != registry.Registry(w.registry) {
			t.Error("the handles do not show the settings")
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestTwoServicesOfAProcessShareNothing(t *testing.T) {
	leaktest.Check(t)
	runtimeDir(t)
	var tr trace
	a := run(t, micro.Name("a"), micro.WrapHandler(wrapHandler(&tr, "handler")), micro.WrapClient(wrapClient(&tr, "client")),
		micro.Metadata(map[string]string{"of": "a"}), micro.RegisterTTL(time.Hour))
	b := run(t, micro.Name("b"))
	if err := micro.RegisterHandler(a.Server(), new(Greeter)); err != nil {
		t.Fatal(err)
	}
	ao, bo := a.Options(), b.Options()
	for what, same := range map[string]bool{
		"registry": ao.Registry == bo.Registry, "broker": ao.Broker == bo.Broker, "transport": ao.Transport == bo.Transport,
		"client": ao.Client == bo.Client, "server": ao.Server == bo.Server, "command line": ao.Cmd == bo.Cmd,
		"selector": a.Client().Options().Selector == b.Client().Options().Selector,
	} {
		if same {
			t.Errorf("both have one %s", what)
		}
	}
	bso := b.Server().Options()
	if bso.Name != "b" || bso.RegisterTTL == time.Hour || len(bso.Metadata) != 0 || len(bso.HdlrWrappers) != 0 || bso.Id == a.Server().Options().Id {
		t.Errorf("settings of a show in b: %+v", bso)
	}
	at := func(s micro.Service) client.CallOption { return client.WithAddress(s.Server().Options().Address) }
	ctx := context.Background()
	if _, err := micro.Call[HelloResponse](ctx, b.Client(), "b", "Greeter.Hello", &HelloRequest{"Ada"}, at(b)); err == nil {
		t.Error("b answers with a handler of a")
	}
	if got := tr.String(); got != "" {
		t.Errorf("wrappers of a ran for b: %s", got)
	}
	if _, err := micro.Call[HelloResponse](ctx, b.Client(), "a", "Greeter.Hello", &HelloRequest{"Ada"}); err != nil {
		t.Error(err)
	}
	if got := tr.String(); got != "handler" {
		t.Errorf("got %q, want the handler wrapper of a alone", got)
	}
}

func TestAfterInitProgramsFindAllPartsInTheOptions(t *testing.T) {
	leaktest.Check(t)
	runtimeDir(t)
	s := run(t, micro.Name("whole"))
	o, so, co := s.Options(), s.Server().Options(), s.Client().Options()
	if o.Registry == nil || o.Broker == nil || o.Transport == nil || o.Client == nil || o.Server == nil || o.Cmd == nil {
		t.Errorf("service: %+v", o)
	}
	if so.Registry != o.Registry || so.Broker != o.Broker || so.Transport != o.Transport {
		t.Errorf("server: %+v", so)
	}
	if co.Registry != o.Registry || co.Broker != o.Broker || co.Transport != o.Transport || co.Selector == nil {
		t.Errorf("client: %+v", co)
	}
	if so.Name != "whole" || s.Name() != "whole" || s.String() != "micro" || s.Client().String() != "micro" || s.Server().String() != "micro" {
		t.Errorf("names: %s %s %s %s %s", so.Name, s.Name(), s.String(), s.Client(), s.Server())
	}
}

func TestARegistryFromALaterInitServesAllPartsDerivedFromIt(t *testing.T) {
	leaktest.Check(t)
	runtimeDir(t)
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		s := micro.NewService(micro.Name("moved"), micro.Transport(w.transport), micro.HandleSignal(false), micro.Args(nil),
			micro.Logger(slog.New(slog.DiscardHandler)))
		if err := s.Init(); err != nil {
			t.Fatal(err)
		}
		broker := s.Options().Broker
		ctx, cancel := context.WithCancel(context.Background())
		started := make(chan struct{})
		if err := s.Init(micro.Registry(w.registry), micro.Context(ctx), micro.AfterStart(func() error { close(started); return nil })); err != nil {
			t.Fatal(err)
		}
		if s.Options().Broker == broker || s.Server().Options().Broker != s.Options().Broker {
			t.Error("the broker still uses the registry from before")
		}
		if err := micro.RegisterHandler(s.Server(), new(Greeter)); err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- s.Run() }()
		<-started
		if _, err := micro.Call[HelloResponse](ctx, s.Client(), "moved", "Greeter.Hello", &HelloRequest{"Ada"}); err != nil {
			t.Error(err)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestABrokerOfTheProgramStaysWithAnotherRegistry(t *testing.T) {
	b := brokermemory.New()
	w := newWorld()
	s := micro.NewService(micro.Broker(b), micro.Registry(w.registry), micro.Args(nil))
	if err := s.Init(); err != nil {
		t.Fatal(err)
	}
	if err := s.Init(micro.Registry(newWorld().registry)); err != nil {
		t.Fatal(err)
	}
	if s.Options().Broker != broker.Broker(b) {
		t.Error("Init has replaced the broker")
	}
}

func TestInitDoesNotReplaceAServerWithHandlers(t *testing.T) {
	s := micro.NewService(micro.Args(nil))
	if err := s.Init(micro.Server(server.NewServer())); err == nil {
		t.Error("no error")
	}
	if err := s.Run(); err == nil {
		t.Error("Run: no error")
	}
}

func TestTheClientOfTheCommandLineIsWhatCallsAreMadeIn(t *testing.T) {
	for name, want := range map[string]string{"micro": "micro", "rpc": "", "http": "connect", "grpc": "grpc"} {
		w := newWorld()
		s := micro.NewService(w.options(micro.Name("asked"), micro.Args([]string{"--client=" + name}))...)
		s.Init()
		if got := client.ProtocolOf(s.Client().Options().CallOptions.Protocol); got != want {
			t.Errorf("--client=%s makes calls in %q, want %q", name, got, want)
		}
	}
}
