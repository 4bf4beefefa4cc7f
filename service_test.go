package micro_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/seed-9a4e2794/micro"
	"github.com/seed-9a4e2794/micro/internal/leaktest"
)

type HelloRequest struct {
	Name string `json:"name"`
}

type HelloResponse struct {
	Message string `json:"message"`
}

type Greeter struct{}

func (*Greeter) Hello(_ context.Context, req *HelloRequest, rsp *HelloResponse) error {
	if req.Name == "" {
		return errors.New("no name")
	}
	rsp.Message = "Hello " + req.Name
	return nil
}

// runtimeDir gives the test a runtime directory of its own.
func runtimeDir(t *testing.T) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "run")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("MICRO_RUNTIME_DIR", dir)
}

// run runs a service until the test ends, and waits for its start.
func run(t *testing.T, opts ...micro.Option) micro.Service {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	started := make(chan struct{})
	opts = append([]micro.Option{micro.Args(nil), micro.Logger(slog.New(slog.DiscardHandler))}, opts...)
	opts = append(opts, micro.Context(ctx), micro.HandleSignal(false), micro.AfterStart(func() error { close(started); return nil }))
	s := micro.NewService(opts...)
	if err := s.Init(); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run of %s: %v", s.Name(), err)
		}
	})
	go func() { done <- s.Run() }()
	select {
	case <-started:
	case err := <-done:
		done <- err
		t.Fatalf("Run of %s returned %v", s.Name(), err)
	case <-time.After(10 * time.Second):
		t.Fatalf("%s does not start", s.Name())
	}
	return s
}

func TestAServiceIsFoundAndCalled(t *testing.T) {
	leaktest.Check(t)
	runtimeDir(t)
	srv := run(t, micro.Name("greeter"))
	if err := micro.RegisterHandler(srv.Server(), new(Greeter)); err != nil {
		t.Fatal(err)
	}
	caller := run(t, micro.Name("caller"))
	req := caller.Client().NewRequest("greeter", "Greeter.Hello", &HelloRequest{Name: "Ada"})
	var rsp HelloResponse
	if err := caller.Client().Call(context.Background(), req, &rsp); err != nil {
		t.Fatal(err)
	}
	if rsp.Message != "Hello Ada" {
		t.Errorf("got %q", rsp.Message)
	}
	typed, err := micro.Call[HelloResponse](context.Background(), caller.Client(), "greeter", "Greeter.Hello", &HelloRequest{Name: "Grace"})
	if err != nil || typed.Message != "Hello Grace" {
		t.Errorf("got %v, %v", typed, err)
	}
}

type event struct {
	N int
}

func TestEventsReachQueuesAndEveryoneElse(t *testing.T) {
	leaktest.Check(t)
	runtimeDir(t)
	var mu sync.Mutex
	got := make(map[string]int)
	seen := make(chan struct{}, 100)
	note := func(who string) {
		mu.Lock()
		got[who]++
		mu.Unlock()
		seen <- struct{}{}
	}
	for i := range 2 {
		s := run(t, micro.Name("go.micro.srv.broker"))
		if err := micro.Subscribe(s, "go.micro.srv.broker", func(_ context.Context, e *event) error {
			note(fmt.Sprintf("node %d", i))
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	pub := run(t, micro.Name("publisher"))
	for range 10 {
		if err := micro.Publish(context.Background(), pub.Client(), "go.micro.srv.broker", &event{1}); err != nil {
			t.Fatal(err)
		}
	}
	for range 20 {
		select {
		case <-seen:
		case <-time.After(5 * time.Second):
			t.Fatalf("got only %v", got)
		}
	}
	if got["node 0"] != 10 || got["node 1"] != 10 {
		t.Errorf("got %v", got)
	}
}
