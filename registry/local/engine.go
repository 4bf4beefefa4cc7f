package local

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/seed-9a4e2794/micro/registry"
)

// How often everything is looked at while somebody watches, events or not:
// sweepEvery and a little more for each node.
const (
	sweepEvery   = time.Second
	sweepPerNode = 5 * time.Millisecond
)

// retests are the pauses between the tests of a lock whose file was closed. On
// Linux the event of closing comes before the lock is released (__fput in
// fs/file_table.c tells of the close first), and a release makes no event.
func retests() []time.Duration {
	const ms = time.Millisecond
	return []time.Duration{0, ms, ms, 3 * ms, 5 * ms, 10 * ms, 30 * ms, 50 * ms, 100 * ms}
}

// engine feeds the watchers of one Registry. It runs from the first watcher to
// the last. A goroutine for each node that waits for its lock would be told
// without these tests, but it would cost a thread a node and could not be
// called back.
type engine struct {
	store *store
	feed  *registry.Feed
	log   *slog.Logger
	tell  func(path string) (notifier, error)
	done  chan struct{}

	mu       sync.Mutex
	stopped  bool
	notifier notifier
	opened   int               // of the store, when the notifier was made
	live     map[string]*entry // by record file
	suspects map[string]suspect
	failed   bool // the last scan failed, and it was said
	polls    bool // it was said that it polls
}

// suspect is a node whose lock may be about to go.
type suspect struct {
	due  time.Time
	step int
}

// startEngine reads the present state into the feed and follows it.
func (r *Registry) startEngine(ctx context.Context) (*engine, error) {
	e := &engine{store: r.store, feed: &r.feed, log: r.log, tell: r.tell, done: make(chan struct{}), suspects: make(map[string]suspect)}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.notifier, e.opened = e.listen()
	if err := e.rescan(ctx); err != nil {
		e.notifier.close()
		return nil, err
	}
	go e.run()
	return e, nil
}

// stop ends the engine and waits for its goroutine.
func (e *engine) stop() {
	e.mu.Lock()
	e.stopped = true
	e.notifier.close()
	e.mu.Unlock()
	<-e.done
}

// refresh brings the feed up to date, for a watcher that is about to begin.
func (e *engine) refresh(ctx context.Context) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.rescan(ctx)
}

// listen returns a notifier for the directory as it is opened now. It is made
// before the directory is read, so that nothing falls between.
func (e *engine) listen() (notifier, int) {
	path, opened := e.store.where()
	n, err := e.tell(path)
	if err != nil {
		if !e.polls {
			e.log.Warn("the local registry is not told of changes and looks every 50ms instead", "error", err)
			e.polls = true
		}
		return newPoller(), opened
	}
	return n, opened
}

func (e *engine) run() {
	defer close(e.done)
	sweep := time.Now().Add(sweepEvery)
	for {
		n, until := e.next(sweep)
		events, err := n.wait(until)
		if e.step(events, err, &sweep) {
			return
		}
	}
}

// next returns what to wait on, and until when.
func (e *engine) next(until time.Time) (notifier, time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, s := range e.suspects {
		if s.due.Before(until) {
			until = s.due
		}
	}
	return e.notifier, until
}

// step acts on what has happened and on what is due. It reports whether the
// engine has been stopped.
func (e *engine) step(events []event, waitErr error, sweep *time.Time) (stopped bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.stopped {
		return true
	}
	all := waitErr != nil && !errors.Is(waitErr, errNotifierClosed)
	if all {
		e.log.Warn("the local registry is not told of changes any more and looks every 50ms instead", "error", waitErr)
		e.notifier.close()
		e.notifier = newPoller()
	}
	changed := false
	for _, ev := range events {
		if ev.change == anything {
			all = true
			break
		}
		changed = e.handle(ev) || changed
	}
	now := time.Now()
	if all || !now.Before(*sweep) {
		// An error was logged; the next sweep tries again, and till then the
		// watchers keep what they know.
		_ = e.rescan(context.Background())
		*sweep = time.Now().Add(sweepEvery + time.Duration(len(e.live))*sweepPerNode)
		return false
	}
	if e.retest(now) || changed {
		e.publish()
	}
	return false
}

// handle acts on one event and reports whether a node came, changed or went.
func (e *engine) handle(ev event) bool {
	switch {
	case isRecord(ev.file) && ev.change == arrived:
		got, err := e.store.one(ev.file)
		if err != nil {
			return false // the sweep will see
		}
		if got != nil {
			e.live[ev.file] = got
			return true
		}
		return e.drop(ev.file)
	case isRecord(ev.file) && ev.change == removed:
		return e.drop(ev.file)
	case strings.HasSuffix(ev.file, lockSuffix):
		file := strings.TrimSuffix(ev.file, lockSuffix) + recordSuffix
		if _, known := e.live[file]; known {
			e.suspects[file] = suspect{due: time.Now()}
		}
	}
	return false
}

func (e *engine) drop(file string) bool {
	_, known := e.live[file]
	delete(e.live, file)
	delete(e.suspects, file)
	return known
}

// retest tests the locks that are due and reports whether a node has gone.
func (e *engine) retest(now time.Time) bool {
	var dead []string
	for file, s := range e.suspects {
		if s.due.After(now) {
			continue
		}
		lives, err := e.store.lives(e.live[file])
		if err == nil && !lives {
			dead = append(dead, file)
			continue
		}
		steps := retests()
		if s.step++; s.step == len(steps) {
			delete(e.suspects, file)
			continue
		}
		e.suspects[file] = suspect{now.Add(steps[s.step]), s.step}
	}
	for _, file := range dead {
		e.drop(file)
		e.store.forget(file)
	}
	return len(dead) > 0
}

// rescan reads everything. When that fails what is known stays.
func (e *engine) rescan(ctx context.Context) error {
	entries, err := e.store.scan(ctx, "")
	if _, opened := e.store.where(); err == nil && opened != e.opened && !e.stopped {
		old := e.notifier
		e.notifier, e.opened = e.listen()
		old.close()
		entries, err = e.store.scan(ctx, "") // what came before it listened
	}
	if err != nil {
		if !e.failed && ctx.Err() == nil && !errors.Is(err, errClosed) {
			e.failed = true
			e.log.Warn("the local registry cannot be read; what is known stays", "error", err)
		}
		return err
	}
	if e.failed {
		e.failed = false
		e.log.Info("the local registry can be read again")
	}
	e.live = make(map[string]*entry, len(entries))
	for _, one := range entries {
		e.live[one.file] = one
	}
	maps.DeleteFunc(e.suspects, func(file string, _ suspect) bool { return e.live[file] == nil })
	e.publish()
	return nil
}

func (e *engine) publish() {
	e.feed.Replace(newest(slices.Collect(maps.Values(e.live))))
}
