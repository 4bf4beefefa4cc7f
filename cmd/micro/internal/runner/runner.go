// Package runner builds services, runs them, and puts a new build in the place
// of a running one without a gap: the old process serves until the new one is
// registered.
package runner

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/seed-9a4e2794/micro/cmd/micro/internal/catalog"
)

const (
	// stopTime is how long a process may take to end before it is killed; a
	// service takes 25 s at most by itself.
	stopTime = 30 * time.Second
	// readyTime is how long a process may take to register before it is taken
	// for one that never does.
	readyTime = 10 * time.Second
	// strangerTime is how long a node of the process's own id is waited for
	// before another new one is taken for it.
	strangerTime = time.Second
	// The pauses before a program that has ended is started again, doubling; a
	// program that ran for steadyTime begins anew.
	minPause   = 500 * time.Millisecond
	maxPause   = 30 * time.Second
	steadyTime = 10 * time.Second
)

// Config is what a runner works with.
type Config struct {
	// Dirs are the folders of the programs.
	Dirs []string
	// Catalog tells what the programs register.
	Catalog *catalog.Catalog
	// Env is added to the environment of the programs.
	Env []string
	// Progress is told what the programs do; nil is for nobody.
	Progress *Progress
	// Watch says whether to build again on change.
	Watch bool
	// Out gets everything the programs print and what happens to them.
	Out    io.Writer
	Colour bool
	Logger *slog.Logger
	// Kill ends the waiting for processes when it is closed.
	Kill <-chan struct{}
	// Counts returns how many requests have come to services, and how many of
	// them got no answer.
	Counts func(names []string) (requests, dropped uint64)
	// Ready is called once, when each program has been started or has failed
	// to, with the names of what they have registered.
	Ready func(names []string)
	// BeforeStop is called before the programs are stopped.
	BeforeStop func()
}

// runner runs programs.
type runner struct {
	cfg       Config
	console   *console
	temp      string         // holds the binaries
	processes sync.WaitGroup // the goroutines of running processes
	stops     sync.WaitGroup // those that stop replaced ones

	mu      sync.Mutex
	running map[*process]bool
	issued  map[string]bool // the ids of nextID
	serial  int             // of the last binary
}

// Run runs the programs until ctx ends, and stops them. Its error is a
// *Problem where the user can do something about it.
func Run(ctx context.Context, cfg Config) error {
	programs, err := find(cfg.Dirs)
	if err != nil {
		return err
	}
	temp, err := os.MkdirTemp("", "micro-run-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	r := &runner{cfg: cfg, temp: temp, running: make(map[*process]bool), issued: make(map[string]bool)}
	r.console = &console{out: cfg.Out, colour: cfg.Colour}
	for _, p := range programs {
		r.console.width = max(r.console.width, len(p.label))
	}
	for _, p := range programs {
		cfg.Progress.set(p, building)
		r.console.say(p, "building ...")
	}
	var keepers, first sync.WaitGroup
	list := make([]*keeper, len(programs))
	for i, p := range programs {
		first.Add(1)
		list[i] = &keeper{runner: r, program: p, first: sync.OnceFunc(first.Done)}
		keepers.Go(func() { list[i].keep(ctx) })
	}
	keepers.Go(func() {
		first.Wait()
		if ctx.Err() == nil && cfg.Ready != nil {
			cfg.Ready(registeredBy(list))
		}
	})
	keepers.Wait() // they end with ctx
	r.stopAll()
	return nil
}

// registeredBy gathers the names of what the keepers' programs have registered.
func registeredBy(list []*keeper) []string {
	var names []string
	for _, k := range list {
		k.mu.Lock()
		names = append(names, k.names...)
		k.mu.Unlock()
	}
	return names
}

// note keeps the list of running processes.
func (r *runner) note(x *process, runs bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if runs {
		r.running[x] = true
	} else {
		delete(r.running, x)
	}
}

// idLength is enough to tell the processes of a machine apart.
const idLength = 6

// nextID returns an id for the nodes of the next process.
func (r *runner) nextID() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		id := strings.ToLower(rand.Text()[:idLength])
		if !r.issued[id] {
			r.issued[id] = true
			return id
		}
	}
}

// ours reports whether a node's id ends in one of nextID.
func (r *runner) ours(node string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.issued[node[strings.LastIndexByte(node, '-')+1:]]
}

// stopAll stops every process that runs.
func (r *runner) stopAll() {
	r.mu.Lock()
	var all []*process
	for x := range r.running {
		all = append(all, x)
	}
	r.mu.Unlock()
	if r.cfg.BeforeStop != nil {
		r.cfg.BeforeStop()
	}
	if len(all) > 0 {
		r.console.print(fmt.Sprintf("stopping %s, ctrl-c kills at once\n", countOf(len(all))))
	}
	var group sync.WaitGroup
	for _, x := range all {
		group.Go(func() { r.stop(x) })
	}
	group.Wait()
	r.stops.Wait()
	r.processes.Wait()
}

func countOf(n int) string {
	if n == 1 {
		return "1 process"
	}
	return fmt.Sprintf("%d processes", n)
}

// stop asks a process to end, and kills it when it does not.
func (r *runner) stop(x *process) {
	defer r.note(x, false)
	if x.ended() {
		return
	}
	_ = endGroup(x.cmd.Process) // it fails when the process has just ended
	timer := time.NewTimer(stopTime)
	defer timer.Stop()
	select {
	case <-x.exited:
		return
	case <-timer.C:
		r.console.fail(x.out.program, fmt.Sprintf("pid %d does not end: killed after %v", x.cmd.Process.Pid, stopTime), "")
	case <-r.cfg.Kill:
	}
	_ = killGroup(x.cmd.Process)
	<-x.exited
}

// within reports whether all of want are among have.
func within(want, have []string) bool {
	all := "\x00" + strings.Join(have, "\x00") + "\x00"
	for _, w := range want {
		if !strings.Contains(all, "\x00"+w+"\x00") {
			return false
		}
	}
	return true
}
