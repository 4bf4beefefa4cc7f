//go:build unix

package micro_test

import (
	"context"
	"strings"
	"syscall"
	"testing"

	"github.com/seed-9a4e2794/micro"
	"github.com/seed-9a4e2794/micro/client"
	"github.com/seed-9a4e2794/micro/internal/leaktest"
)

// callSlow calls a child's endpoint, and says when it has an answer.
func callSlow(t *testing.T, addr string) <-chan error {
	t.Helper()
	c := client.NewClient()
	t.Cleanup(func() { c.(interface{ Close() error }).Close() })
	called := make(chan error, 1)
	go func() {
		_, err := micro.Call[HelloResponse](context.Background(), c, "child", "Slow.Wait", &HelloRequest{}, client.WithAddress(addr), client.WithRetries(0))
		called <- err
	}()
	return called
}

func TestASignalEndsRunAfterTheCallsUnderWay(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT} {
		t.Run(sig.String(), func(t *testing.T) {
			leaktest.Check(t)
			runtimeDir(t)
			p := start(t, "plain", nil)
			called := callSlow(t, p.line("address "))
			p.line("entered")
			if err := p.cmd.Process.Signal(sig); err != nil {
				t.Fatal(err)
			}
			if err := <-called; err != nil {
				t.Errorf("the call under way: %v", err)
			}
			said, code := p.end()
			if code != 0 || !strings.HasSuffix(said, "before stop\nafter stop\nrun: <nil>\n") {
				t.Errorf("it ended with %d and said:\n%s", code, said)
			}
		})
	}
}

func TestASecondSignalEndsTheWaitingWithAnError(t *testing.T) {
	leaktest.Check(t)
	runtimeDir(t)
	p := start(t, "stuck", nil)
	called := callSlow(t, p.line("address "))
	p.line("entered")
	for _, step := range []struct {
		sig   syscall.Signal
		until string
	}{{syscall.SIGTERM, "before stop"}, {syscall.SIGTERM, ""}, {syscall.SIGINT, "run: micro: "}} { // the same at once is one that came twice
		if err := p.cmd.Process.Signal(step.sig); err != nil {
			t.Fatal(err)
		}
		if step.until != "" {
			p.line(step.until)
		}
	}
	said, code := p.end()
	if code != 0 || !strings.Contains(said, "interrupt came after terminated while child was stopping") || strings.Contains(said, "after stop") {
		t.Errorf("it ended with %d and said:\n%s", code, said)
	}
	if err := <-called; err == nil {
		t.Error("the call that was cut off has an answer")
	}
}

func TestASignalDuringTheStartStopsTheServiceOnceItHasStarted(t *testing.T) {
	runtimeDir(t)
	p := start(t, "slow start", nil)
	p.line("before start")
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if _, err := p.stdin.Write([]byte("go on\n")); err != nil {
		t.Fatal(err)
	}
	said, code := p.end()
	if code != 0 || !strings.HasSuffix(said, "before stop\nafter stop\nrun: <nil>\n") {
		t.Errorf("it ended with %d and said:\n%s", code, said)
	}
}

func TestASecondSignalEndsAStartThatHangs(t *testing.T) {
	runtimeDir(t)
	p := start(t, "slow start", nil)
	p.line("before start")
	// The two kinds are two signals however close they come.
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		if err := p.cmd.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
	}
	said, code := p.end()
	if code != 0 || !strings.Contains(said, "while child was starting") || strings.Contains(said, "address") {
		t.Errorf("it ended with %d and said:\n%s", code, said)
	}
}
