package v1gen_test

import (
	"context"
	stderrors "errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-9a4e2794/micro"
	brokermemory "github.com/seed-9a4e2794/micro/broker/memory"
	"github.com/seed-9a4e2794/micro/client"
	"github.com/seed-9a4e2794/micro/errors"
	"github.com/seed-9a4e2794/micro/internal/leaktest"
	"github.com/seed-9a4e2794/micro/internal/v1gen"
	"github.com/seed-9a4e2794/micro/registry"
	"github.com/seed-9a4e2794/micro/registry/local"
	"github.com/seed-9a4e2794/micro/registry/memory"
	"github.com/seed-9a4e2794/micro/server"
	"github.com/seed-9a4e2794/micro/transport"
	transportmemory "github.com/seed-9a4e2794/micro/transport/memory"
	"github.com/seed-9a4e2794/micro/transport/tcp"
)

// greeting is a program's handler. Its name is not part of the endpoints'.
type greeting struct {
	ended chan error // how a Chat has ended
}

func (*greeting) Hello(_ context.Context, req *v1gen.Request, rsp *v1gen.Response) error {
	if req.Name == "" {
		return errors.BadRequest("greeter", "no name")
	}
	rsp.Message = "Hello " + req.Name
	return nil
}

func (*greeting) Countdown(_ context.Context, req *v1gen.Request, stream v1gen.Greeter_CountdownStream) error {
	if req.Count < 0 {
		return errors.BadRequest("greeter", "cannot count down from %d", req.Count)
	}
	for n := req.Count; n > 0; n-- {
		if err := stream.Send(&v1gen.Response{Message: fmt.Sprint(n)}); err != nil {
			return err
		}
	}
	return nil
}

// Collect answers after the last request, as v1 knows no end of sending.
func (*greeting) Collect(_ context.Context, stream v1gen.Greeter_CollectStream) error {
	rsp := new(v1gen.Response)
	for {
		req, err := stream.Recv()
		if err != nil {
			return err
		}
		rsp.Names = append(rsp.Names, req.Name)
		if req.Last {
			return stream.SendMsg(rsp)
		}
	}
}

func (g *greeting) Chat(_ context.Context, stream v1gen.Greeter_ChatStream) error {
	for {
		req, err := stream.Recv()
		if err != nil {
			g.ended <- err
			if err == io.EOF {
				return nil
			}
			return err
		}
		if err := stream.Send(&v1gen.Response{Message: "Hello " + req.Name}); err != nil {
			return err
		}
	}
}

// serve runs the service until the test ends.
func serve(t *testing.T, r registry.Registry, tr transport.Transport) (micro.Service, *greeting) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	started, done := make(chan struct{}), make(chan error, 1)
	s := micro.NewService(micro.Name("go.micro.srv.greeter"), micro.Registry(r), micro.Transport(tr), micro.Broker(brokermemory.New()),
		micro.Args(nil), micro.HandleSignal(false), micro.Context(ctx), micro.Logger(slog.New(slog.DiscardHandler)),
		micro.AfterStart(func() error { close(started); return nil }))
	if err := s.Init(); err != nil {
		t.Fatal(err)
	}
	g := &greeting{ended: make(chan error, 10)}
	if err := v1gen.RegisterGreeterHandler(s.Server(), g, server.EndpointMetadata("Greeter.Hello", map[string]string{"safe": "true"})); err != nil {
		t.Fatal(err)
	}
	go func() { done <- s.Run() }()
	select {
	case <-started:
	case err := <-done:
		t.Fatalf("Run returned %v", err)
	}
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return s, g
}

// over runs a test on each network.
func over(t *testing.T, test func(t *testing.T, s micro.Service, g *greeting)) {
	t.Run("memory", func(t *testing.T) {
		leaktest.Check(t)
		synctest.Test(t, func(t *testing.T) {
			s, g := serve(t, memory.New(), transportmemory.New(transportmemory.Config{}))
			test(t, s, g)
		})
	})
	t.Run("tcp", func(t *testing.T) {
		leaktest.Check(t)
		s, g := serve(t, memory.New(), tcp.New(tcp.Config{}))
		test(t, s, g)
	})
}

func TestGeneratedUnaryCalls(t *testing.T) {
	over(t, func(t *testing.T, s micro.Service, _ *greeting) {
		greeter := v1gen.NewGreeterService("go.micro.srv.greeter", s.Client())
		rsp, err := greeter.Hello(context.Background(), &v1gen.Request{Name: "Ada"})
		if err != nil || rsp.GetMessage() != "Hello Ada" {
			t.Errorf("got %v, %v", rsp, err)
		}
		_, err = greeter.Hello(context.Background(), &v1gen.Request{}, client.WithRequestTimeout(time.Minute))
		if e := errors.From("", err); err == nil || e.Code != 400 || e.Id != "greeter" || e.Detail != "no name" {
			t.Errorf("got %v, want the handler's error", err)
		}
	})
}

func TestGeneratedServerStreams(t *testing.T) {
	over(t, func(t *testing.T, s micro.Service, _ *greeting) {
		greeter := v1gen.NewGreeterService("go.micro.srv.greeter", s.Client())
		stream, err := greeter.Countdown(context.Background(), &v1gen.Request{Count: 3})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for {
			rsp, err := stream.Recv()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, rsp.Message)
		}
		if want := []string{"3", "2", "1"}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
		if err := stream.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		stream, err = greeter.Countdown(context.Background(), &v1gen.Request{Count: -1})
		if err != nil {
			t.Fatal(err)
		}
		defer stream.Close()
		if _, err := stream.Recv(); err == nil || errors.From("", err).Code != 400 {
			t.Errorf("got %v, want the handler's error", err)
		}
	})
}

func TestGeneratedClientStreams(t *testing.T) {
	over(t, func(t *testing.T, s micro.Service, _ *greeting) {
		greeter := v1gen.NewGreeterService("go.micro.srv.greeter", s.Client())
		stream, err := greeter.Collect(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		names := []string{"Ada", "Grace", "Edsger"}
		for i, name := range names {
			if err := stream.Send(&v1gen.Request{Name: name, Last: i == len(names)-1}); err != nil {
				t.Fatal(err)
			}
		}
		rsp := new(v1gen.Response)
		if err := stream.RecvMsg(rsp); err != nil || !slices.Equal(rsp.GetNames(), names) {
			t.Errorf("got %v, %v", rsp, err)
		}
		if err := stream.RecvMsg(rsp); err != io.EOF {
			t.Errorf("after the answer: %v, want io.EOF", err)
		}
		if err := stream.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
}

func TestGeneratedBidirectionalStreams(t *testing.T) {
	over(t, func(t *testing.T, s micro.Service, g *greeting) {
		greeter := v1gen.NewGreeterService("go.micro.srv.greeter", s.Client())
		stream, err := greeter.Chat(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		const n = 100
		sent := make(chan error, 1)
		go func() {
			for i := range n {
				if err := stream.Send(&v1gen.Request{Name: fmt.Sprint(i)}); err != nil {
					sent <- err
					return
				}
			}
			sent <- nil
		}()
		for i := range n {
			rsp, err := stream.Recv()
			if want := fmt.Sprint("Hello ", i); err != nil || rsp.Message != want {
				t.Fatalf("got %v, %v, want %q", rsp, err, want)
			}
		}
		if err := <-sent; err != nil {
			t.Error(err)
		}
		if err := stream.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		select {
		case err := <-g.ended:
			if err != io.EOF {
				t.Errorf("the handler's Recv returned %v after Close, want io.EOF", err)
			}
		case <-time.After(10 * time.Second):
			t.Error("the handler does not hear of Close")
		}
	})
}

func TestACallersEndReachesAGeneratedHandler(t *testing.T) {
	over(t, func(t *testing.T, s micro.Service, g *greeting) {
		ctx, cancel := context.WithCancel(context.Background())
		stream, err := v1gen.NewGreeterService("go.micro.srv.greeter", s.Client()).Chat(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if err := stream.Send(&v1gen.Request{Name: "Ada"}); err != nil {
			t.Fatal(err)
		}
		if _, err := stream.Recv(); err != nil {
			t.Fatal(err)
		}
		cancel()
		select {
		case err := <-g.ended:
			if err == nil || err == io.EOF {
				t.Errorf("the handler's Recv returned %v after the caller's cancel", err)
			}
		case <-time.After(10 * time.Second):
			t.Error("the handler does not hear of the caller's cancel")
		}
		if _, err := stream.Recv(); !stderrors.Is(err, context.Canceled) {
			t.Errorf("Recv returned %v, want context.Canceled", err)
		}
	})
}

func TestGeneratedEndpointsAreRegisteredUnderTheServicesName(t *testing.T) {
	over(t, func(t *testing.T, s micro.Service, _ *greeting) {
		found, err := s.Options().Registry.GetService(context.Background(), "go.micro.srv.greeter")
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, e := range found[0].Endpoints {
			var fields []string
			for _, f := range e.Request.Values {
				fields = append(fields, f.Name)
			}
			got = append(got, fmt.Sprint(e.Name, fields, e.Metadata))
		}
		slices.Sort(got)
		want := []string{"Greeter.Chat[] map[stream:true]", "Greeter.Collect[] map[stream:true]", "Greeter.Countdown[] map[stream:true]",
			"Greeter.Hello[name count last] map[safe:true]"}
		if !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

func TestGeneratedMessagesTravelAsProtobufUnlessAskedOtherwise(t *testing.T) {
	over(t, func(t *testing.T, s micro.Service, _ *greeting) {
		c := s.Client()
		for _, tt := range []struct {
			opts []client.RequestOption
			want string
		}{
			{nil, "application/protobuf"},
			{[]client.RequestOption{client.WithContentType("application/json")}, "application/json"},
		} {
			var seen string
			note := client.WithCallWrapper(func(next client.CallFunc) client.CallFunc {
				return func(ctx context.Context, node *registry.Node, req client.Request, rsp any, opts client.CallOptions) error {
					seen = req.Codec().Name()
					return next(ctx, node, req, rsp, opts)
				}
			})
			req := c.NewRequest("go.micro.srv.greeter", "Greeter.Hello", &v1gen.Request{Name: "Ada"}, tt.opts...)
			var rsp v1gen.Response
			if err := c.Call(context.Background(), req, &rsp, note); err != nil || rsp.Message != "Hello Ada" || seen != tt.want {
				t.Errorf("got %q, %v as %s, want %s", rsp.Message, err, seen, tt.want)
			}
		}
	})
}

// TestAGeneratedClientNeedsNoClientAndNoName runs it in the way of the
// simplest v1 program: local registry, a client of its own.
func TestAGeneratedClientNeedsNoClientAndNoName(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("MICRO_RUNTIME_DIR", dir)
	r, err := local.New(local.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	serve(t, r, tcp.New(tcp.Config{}))
	greeter := v1gen.NewGreeterService("go.micro.srv.greeter", nil)
	if rsp, err := greeter.Hello(context.Background(), &v1gen.Request{Name: "Ada"}); err != nil || rsp.Message != "Hello Ada" {
		t.Errorf("got %v, %v", rsp, err)
	}
	_, err = v1gen.NewGreeterService("", nil).Hello(context.Background(), &v1gen.Request{Name: "Ada"}, client.WithRequestTimeout(2*time.Second))
	if !stderrors.Is(err, registry.ErrNotFound) || !strings.Contains(err.Error(), "greeter") {
		t.Errorf("a client without a name: %v, want that there is no service greeter", err)
	}
}
