package runner

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// keeper keeps one program running, in its newest version that builds.
type keeper struct {
	*runner
	program *program
	watcher *watcher      // nil when changes do not matter
	binary  string        // of current, or of what ran last
	current *process      // nil when none runs
	pause   time.Duration // before the next start after an end
	first   func()        // says that the program has been started or cannot be

	mu    sync.Mutex
	names []string // what the program has registered
}

// keep builds and runs the program until ctx ends. The process that runs then
// is left to stopAll.
func (k *keeper) keep(ctx context.Context) {
	defer k.first()
	var changes <-chan struct{}
	if k.cfg.Watch {
		w, err := watch(k.program.dir, k.cfg.Logger)
		if err != nil {
			k.console.fail(k.program, "changes are not seen", err.Error())
		} else {
			defer w.close()
			k.watcher, changes = w, w.changes
		}
	}
	var again <-chan time.Time // when to start it again
	start := func(fn func(context.Context)) {
		fn(ctx)
		k.first()
		again = nil
		if k.current == nil && k.pause > 0 {
			again = time.After(k.pause)
		}
	}
	start(k.build)
	for {
		var exited <-chan struct{}
		if k.current != nil {
			exited = k.current.exited
		}
		select {
		case <-ctx.Done():
			return
		case <-changes:
			k.pause = 0
			start(k.build)
		case <-exited:
			k.ended(k.current)
			if k.pause > 0 {
				again = time.After(k.pause)
			}
		case <-again:
			start(k.restart)
		}
	}
}

// build builds the program and puts it in the place of the one that runs.
func (k *keeper) build(ctx context.Context) {
	began := time.Now()
	if k.current == nil {
		k.cfg.Progress.set(k.program, building)
	}
	binary := filepath.Join(k.temp, fmt.Sprintf("%s-%d", filepath.Base(k.program.label), k.count()))
	err := compile(ctx, k.program, binary)
	if k.watcher != nil && ctx.Err() == nil {
		k.watcher.refresh(ctx, k.program)
	}
	if err != nil && k.current == nil {
		k.cfg.Progress.set(k.program, broken)
	}
	switch {
	case ctx.Err() != nil:
		return
	case err != nil && k.current != nil:
		k.console.fail(k.program, "build failed (old version still serving)", err.Error())
		return
	case err != nil && k.watcher != nil:
		k.console.fail(k.program, "build failed (waiting for a change)", err.Error())
		return
	case err != nil:
		k.console.fail(k.program, "build failed", err.Error())
		return
	}
	verb := "built"
	if k.binary != "" {
		verb = "rebuilt"
	}
	k.launch(ctx, binary, verb+" "+took(time.Since(began)))
}

func (r *runner) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.serial++
	return r.serial
}

// restart starts the program again as it was built.
func (k *keeper) restart(ctx context.Context) {
	k.cfg.Progress.set(k.program, restarting)
	k.launch(ctx, k.binary, "restarted")
}

// launch starts a binary, waits until it has registered, and stops the process
// that it replaces.
func (k *keeper) launch(ctx context.Context, binary, what string) {
	old := k.current
	if old != nil && len(old.nodes) == 0 {
		k.stop(old) // it registers nothing, so nobody could tell when the new one is ready
		k.current, old = nil, nil
	}
	x, ready := k.try(ctx, binary, old)
	if ready == failed && old != nil && x != nil && x.out.tell("address already in use") {
		k.console.say(k.program, "the address is fixed: stopping the old version first, which leaves a gap")
		k.stop(old)
		k.current, old = nil, nil
		x, ready = k.try(ctx, binary, nil)
	}
	switch ready {
	case failed:
		switch {
		case x == nil: // try has said why
			if old == nil {
				k.cfg.Progress.set(k.program, over)
			}
		case old != nil:
			k.console.fail(k.program, "the new version "+x.how()+" before it was ready (old version still serving)", "")
			_ = os.Remove(binary)
		default:
			k.replaced(binary)
			k.ended(x)
		}
		return
	case interrupted:
		return
	}
	k.current = x
	k.replaced(binary)
	k.mu.Lock()
	k.names = x.names()
	k.mu.Unlock()
	k.cfg.Progress.set(k.program, running, k.names...)
	line := fmt.Sprintf("%s   pid %d", what, x.cmd.Process.Pid)
	if ready == silent {
		k.console.say(k.program, "%s   running, but it has registered nothing in %v", line, readyTime)
	} else {
		line += fmt.Sprintf("   %s   ready %s", x.address(), took(time.Since(x.started)))
	}
	switch {
	case old != nil:
		k.swap(old, x, line)
	case ready != silent:
		k.console.say(k.program, "%s", line)
	}
}

// replaced notes the binary that runs, and removes the one before. A process
// that still runs it keeps it.
func (k *keeper) replaced(binary string) {
	if k.binary != "" && k.binary != binary {
		_ = os.Remove(k.binary)
	}
	k.binary = binary
}

// patience is how long the old process may take to end before the line about
// the swap is printed without its counts.
const patience = 2 * time.Second

// swap stops the old process while its callers go over to the new one, and
// prints how that went.
func (k *keeper) swap(old, x *process, line string) {
	requests, dropped := k.cfg.Counts(x.names())
	p := k.program
	k.stops.Go(func() { k.stop(old) })
	k.stops.Go(func() {
		select {
		case <-old.exited:
			r, d := k.cfg.Counts(x.names())
			k.console.say(p, "%s   %d requests meanwhile, %d dropped", line, r-requests, d-dropped)
		case <-time.After(patience):
			k.console.say(p, "%s   the old version is finishing its calls", line)
		}
	})
}

// readiness is how the start of a process has ended.
type readiness int

const (
	registered  readiness = iota
	silent                // it runs, and has registered nothing
	failed                // it has ended, or could not be started
	interrupted           // ctx has ended
)

// try starts a binary and waits until it has registered what the old process
// had.
func (k *keeper) try(ctx context.Context, binary string, old *process) (*process, readiness) {
	x, err := k.start(k.program, binary, k.nextID())
	if err != nil {
		k.console.fail(k.program, "cannot be started", err.Error())
		return nil, failed
	}
	k.note(x, true)
	var want []string
	if old != nil {
		want = old.names()
	}
	late := time.NewTimer(readyTime)
	defer late.Stop()
	strange := time.NewTimer(strangerTime)
	defer strange.Stop()
	any := false // a node with another id will do
	for {
		services, changed := k.cfg.Catalog.Services()
		x.nodes = x.registered(services)
		if len(x.nodes) == 0 && any {
			x.nodes = k.strangers(x, services)
		}
		if len(x.nodes) > 0 && within(want, x.names()) {
			return x, registered
		}
		select {
		case <-changed:
		case <-strange.C:
			any = true
		case <-x.exited:
			k.note(x, false)
			return x, failed
		case <-late.C:
			if len(x.nodes) > 0 {
				return x, registered
			}
			return x, silent
		case <-ctx.Done():
			return x, interrupted // and stopAll stops it
		}
	}
}

// ended reports that a process has ended by itself, and says when the program
// is to be started again.
func (k *keeper) ended(x *process) {
	k.note(x, false)
	k.current = nil
	lived := time.Since(x.started)
	if x.err == nil {
		k.pause = 0
		k.cfg.Progress.set(k.program, over)
		k.console.say(k.program, "%s after %s%s", x.how(), took(lived), k.orChange())
		return
	}
	k.cfg.Progress.set(k.program, restarting)
	if lived > steadyTime || k.pause == 0 {
		k.pause = minPause
	} else {
		k.pause = min(2*k.pause, maxPause)
	}
	what := fmt.Sprintf("%s after %s, starting it again in %s", x.how(), took(lived), took(k.pause))
	k.console.fail(k.program, what, "")
}

func (k *keeper) orChange() string {
	if k.watcher == nil {
		return ""
	}
	return "; a change starts it again"
}

// took prints a duration in one or two digits.
func took(d time.Duration) string {
	if d < time.Second {
		return fmt.Sprintf("%dms", d.Milliseconds())
	}
	return fmt.Sprintf("%.1fs", d.Seconds())
}
