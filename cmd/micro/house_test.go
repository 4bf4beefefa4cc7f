package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-9a4e2794/micro"
	microerrors "github.com/seed-9a4e2794/micro/errors"
	"github.com/seed-9a4e2794/micro/server"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares text with a file of testdata.
func golden(t *testing.T, name, text string) {
	t.Helper()
	file := filepath.Join("testdata", name+".txt")
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if text != string(want) {
		t.Errorf("%s is not what was printed:\n%s\nwant:\n%s", file, text, want)
	}
}

// runtimeDir gives the test a registry of its own.
func runtimeDir(t *testing.T) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "run")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("MICRO_RUNTIME_DIR", dir)
}

// tryTool runs the tool and returns what came of it.
func tryTool(t *testing.T, stdin string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(t.Context(), args, strings.NewReader(stdin), &out, &errs)
	return code, out.String(), errs.String()
}

type Address struct {
	City string `json:"city"`
}

type HelloRequest struct {
	Name    string            `json:"name"`
	Age     int               `json:"age"`
	Loud    bool              `json:"loud"`
	Tags    []string          `json:"tags"`
	Address Address           `json:"address"`
	Labels  map[string]string `json:"labels"`
}

type HelloResponse struct {
	Message string       `json:"message"`
	Echo    HelloRequest `json:"echo"`
}

type Greeter struct{}

func (*Greeter) Hello(ctx context.Context, req *HelloRequest, rsp *HelloResponse) error {
	switch req.Name {
	case "nobody":
		return microerrors.NotFound("greeter", "no such person")
	case "slow":
		<-ctx.Done()
		return ctx.Err()
	case "plain":
		return errors.New("it did not work")
	}
	rsp.Message, rsp.Echo = "Hello "+req.Name, *req
	return nil
}

func (*Greeter) Chat(_ context.Context, s server.Stream) error {
	for {
		var m HelloRequest
		err := s.Recv(&m)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if m.Name == "nobody" {
			return microerrors.NotFound("greeter", "no such person")
		}
		if err := s.Send(&HelloResponse{Message: "Hello " + m.Name}); err != nil {
			return err
		}
	}
}

// serve runs a service until the test ends.
func serve(t *testing.T, prepare func(micro.Service), opts ...micro.Option) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	started := make(chan struct{})
	opts = append(opts, micro.Args(nil), micro.HandleSignal(false), micro.Context(ctx), micro.Logger(slog.New(slog.DiscardHandler)),
		micro.AfterStart(func() error { close(started); return nil }))
	s := micro.NewService(opts...)
	if err := s.Init(); err != nil {
		t.Fatal(err)
	}
	if err := s.Server().Init(server.Id("node")); err != nil { // for the golden files
		t.Fatal(err)
	}
	prepare(s)
	done := make(chan error, 1)
	go func() { done <- s.Run() }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run of %s: %v", s.Name(), err)
		}
	})
	select {
	case <-started:
	case err := <-done:
		done <- err
		t.Fatalf("Run of %s: %v", s.Name(), err)
	case <-time.After(10 * time.Second):
		t.Fatalf("%s does not start", s.Name())
	}
}

// greeter runs the service that most tests talk to, on a registry of its own.
func greeter(t *testing.T, opts ...micro.Option) {
	t.Helper()
	runtimeDir(t)
	serve(t, func(s micro.Service) {
		if err := micro.RegisterHandler(s.Server(), new(Greeter)); err != nil {
			t.Fatal(err)
		}
	}, append([]micro.Option{micro.Name("greeter"), micro.Version("1.4.0")}, opts...)...)
}

// screen is a writer that others wait on.
type screen struct {
	mu      sync.Mutex
	text    strings.Builder
	written chan struct{}
}

func newScreen() *screen { return &screen{written: make(chan struct{})} }

func (s *screen) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.written)
	s.written = make(chan struct{})
	return s.text.Write(b)
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// await waits until text has been written n times.
func (s *screen) await(t *testing.T, text string, n int, timeout time.Duration) {
	t.Helper()
	deadline := time.After(timeout)
	for {
		s.mu.Lock()
		have, written := strings.Count(s.text.String(), text), s.written
		s.mu.Unlock()
		if have >= n {
			return
		}
		select {
		case <-written:
		case <-deadline:
			t.Fatalf("%q was not printed %d times in %v; this was:\n%s", text, n, timeout, s)
		}
	}
}
