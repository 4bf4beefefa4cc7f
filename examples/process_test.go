package examples_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/seed-9a4e2794/micro/registry"
	"github.com/seed-9a4e2794/micro/registry/local"
)

// patience bounds every wait for a process.
const patience = 30 * time.Second

// world is a runtime directory of its own, in which processes find each other.
type world struct {
	t        *testing.T
	dir      string
	registry *local.Registry
}

func newWorld(t *testing.T) *world {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "run")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	r, err := local.New(local.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return &world{t: t, dir: dir, registry: r}
}

// awaitNodes waits until a service has n nodes.
func (w *world) awaitNodes(service string, n int) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	watcher, err := w.registry.Watch(ctx, registry.WatchService(service))
	if err != nil {
		w.t.Fatal(err)
	}
	defer watcher.Stop()
	there := make(map[string]bool)
	for len(there) < n {
		result, err := watcher.Next()
		if err != nil {
			w.t.Fatalf("%s has %d of %d nodes after %v: %v", service, len(there), n, patience, err)
		}
		if result.Service == nil {
			continue
		}
		for _, node := range result.Service.Nodes {
			if result.Action == registry.Delete {
				delete(there, node.Id)
			} else {
				there[node.Id] = true
			}
		}
	}
}

// process is a program that runs.
type process struct {
	t      *testing.T
	name   string
	cmd    *exec.Cmd
	stderr strings.Builder // complete when the process has ended
	ended  chan error      // how it ended

	mu    sync.Mutex
	lines []string      // what it has printed
	more  chan struct{} // a token when there is more, and at the end
}

// start starts a program. It is killed at the end of the test if it has not
// ended by then.
func (w *world) start(program string, env ...string) *process {
	w.t.Helper()
	p := &process{t: w.t, name: filepath.Base(program), cmd: exec.Command(program), ended: make(chan error, 1), more: make(chan struct{}, 1)}
	p.cmd.Dir = w.t.TempDir()
	p.cmd.Env = append(os.Environ(), append(env, "MICRO_RUNTIME_DIR="+w.dir)...)
	p.cmd.Stderr = &p.stderr
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	over := make(chan struct{})
	go func() { // ends with the process
		defer close(over)
		p.read(out)
		p.ended <- p.cmd.Wait()
		p.wake()
	}()
	w.t.Cleanup(func() {
		if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
			w.t.Error(err)
		}
		<-over
		if w.t.Failed() {
			w.t.Logf("%s printed %q, and wrote\n%s", p.name, p.lines, p.stderr.String())
		}
	})
	return p
}

func (p *process) read(out io.Reader) {
	for scan := bufio.NewScanner(out); scan.Scan(); {
		p.mu.Lock()
		p.lines = append(p.lines, scan.Text())
		p.mu.Unlock()
		p.wake()
	}
}

func (p *process) wake() {
	select {
	case p.more <- struct{}{}:
	default:
	}
}

// printed returns what the process has printed so far.
func (p *process) printed() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.lines...)
}

// await waits until the process has printed all the lines, in any order.
func (p *process) await(want ...string) {
	p.t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for {
		have := make(map[string]int)
		for _, line := range p.printed() {
			have[line]++
		}
		missing := ""
		for _, line := range want {
			if have[line]--; have[line] < 0 {
				missing = line
			}
		}
		if missing == "" {
			return
		}
		select {
		case <-p.more:
		case <-deadline.C:
			p.t.Fatalf("%s has not printed %q after %v", p.name, missing, patience)
		}
	}
}

// ends waits until the process has ended by itself, well, and returns what it
// has printed.
func (p *process) ends() []string {
	p.t.Helper()
	select {
	case err := <-p.ended:
		if err != nil {
			p.t.Fatalf("%s ended with %v and wrote\n%s", p.name, err, p.stderr.String())
		}
	case <-time.After(patience):
		p.t.Fatalf("%s has not ended after %v", p.name, patience)
	}
	return p.printed()
}

// stops asks the process to end, which it does soon and with exit code 0.
func (p *process) stops() {
	p.t.Helper()
	const soon = 5 * time.Second
	began := time.Now()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.t.Fatalf("%s: %v", p.name, err)
	}
	p.ends()
	if took := time.Since(began); took > soon {
		p.t.Errorf("%s took %v to end after SIGTERM", p.name, took)
	}
}
