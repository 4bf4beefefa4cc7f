package micro_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/seed-9a4e2794/micro"
)

// childEnv chooses what this binary does when a test has started it as a
// process of its own: nothing about tests, as their flags would be in the way.
const childEnv = "MICRO_TEST_CHILD"

func TestMain(m *testing.M) {
	if mode := os.Getenv(childEnv); mode != "" {
		child(mode)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// Slow answers after a while.
type Slow struct{ takes time.Duration }

// Wait says that it has begun, and waits.
func (s *Slow) Wait(_ context.Context, _ *HelloRequest, rsp *HelloResponse) error {
	fmt.Println("entered")
	<-time.After(s.takes)
	rsp.Message = "done"
	return nil
}

// child is a program with a service, written as programs are: Init without a
// look at its error. What it prints is what tests wait for.
func child(mode string) {
	if mode == "publish" {
		err := micro.NewPublisher("topic", nil).Publish(context.Background(), &event{42})
		fmt.Printf("published %v\n", err)
		return
	}
	say := func(what string) func() error {
		return func() error { fmt.Println(what); return nil }
	}
	service := micro.NewService(
		micro.Name("child"),
		micro.Version("9.8.7"),
		micro.Logger(slog.New(slog.DiscardHandler)),
		micro.Flags(&cli.StringFlag{Name: "own", Usage: "flag of the program"}),
		micro.BeforeStop(say("before stop")),
		micro.AfterStop(say("after stop")),
	)
	switch mode {
	case "slow start":
		_ = service.Init(micro.BeforeStart(func() error {
			fmt.Println("before start")
			_, err := bufio.NewReader(os.Stdin).ReadString('\n')
			return err
		}))
	case "action exits":
		_ = service.Init(micro.Action(func(context.Context, *cli.Command) error { return cli.Exit("enough", 3) }))
	default:
		service.Init()
	}
	fmt.Println("after init")
	takes := time.Second
	if mode == "stuck" {
		takes = time.Hour
	}
	if err := micro.RegisterHandler(service.Server(), &Slow{takes}); err != nil {
		fmt.Println(err)
	}
	_ = service.Init(micro.AfterStart(func() error {
		fmt.Println("address", service.Server().Options().Address)
		return nil
	}))
	err := service.Run()
	var exit cli.ExitCoder
	if errors.As(err, &exit) {
		fmt.Println("exit code", exit.ExitCode())
	}
	fmt.Printf("run: %v\n", err)
}

// process is a child.
type process struct {
	t     *testing.T
	cmd   *exec.Cmd
	stdin io.WriteCloser
	lines chan string
	said  bytes.Buffer
}

// start starts this binary as a program of its own.
func start(t *testing.T, mode string, env []string, args ...string) *process {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, cmd: exec.Command(exe, args...), lines: make(chan string, 1000)}
	p.cmd.Env = append(append(os.Environ(), childEnv+"="+mode), env...)
	p.cmd.Stderr = os.Stderr
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		defer close(p.lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			p.lines <- s.Text()
		}
	}()
	t.Cleanup(func() {
		p.cmd.Process.Kill() // it has ended, if the test has passed
		<-read
		p.cmd.Wait()
	})
	return p
}

// line waits for a line that starts with prefix, and returns the rest of it.
func (p *process) line(prefix string) string {
	p.t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		select {
		case l, ok := <-p.lines:
			if !ok {
				p.t.Fatalf("the process has ended without saying %q; it said:\n%s", prefix, p.said.String())
			}
			fmt.Fprintln(&p.said, l)
			if rest, is := strings.CutPrefix(l, prefix); is {
				return rest
			}
		case <-deadline:
			p.t.Fatalf("the process does not say %q; it said:\n%s", prefix, p.said.String())
		}
	}
}

// end waits for the end of the process and returns all that it has said.
func (p *process) end() (said string, code int) {
	p.t.Helper()
	deadline := time.After(40 * time.Second)
	for {
		select {
		case l, ok := <-p.lines:
			if !ok {
				err := p.cmd.Wait()
				var exit *exec.ExitError
				if err != nil && !errors.As(err, &exit) {
					p.t.Fatal(err)
				}
				return p.said.String(), p.cmd.ProcessState.ExitCode()
			}
			fmt.Fprintln(&p.said, l)
		case <-deadline:
			p.t.Fatalf("the process does not end; it said:\n%s", p.said.String())
		}
	}
}
