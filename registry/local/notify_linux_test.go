package local

import (
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/seed-9a4e2794/micro/internal/leaktest"
	"github.com/seed-9a4e2794/micro/registry"
)

// The close of a file that was open for reading must not be told: each test of
// a lock would cause the next.
func TestTestingALockIsNoEvent(t *testing.T) {
	dir := t.TempDir()
	lock := filepath.Join(dir, "node-a.lock")
	if err := os.WriteFile(lock, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	n, err := newNotifier(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer n.close()
	d, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if lives, err := (&directory{path: dir, root: d}).lives("node-a.lock"); lives || err != nil {
		t.Fatalf("a lock that nobody holds lives: %v, %v", lives, err)
	}
	// What is written afterwards comes first, so nothing came before it.
	if err := os.WriteFile(filepath.Join(dir, "mark"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	events, err := n.wait(time.Now().Add(patience))
	if err != nil || len(events) == 0 || events[0] != (event{closed, "mark"}) {
		t.Errorf("the events are %v (%v), want the mark first", events, err)
	}
}

// The kernel tells of the close before it releases the lock. Here the lock is
// let go without an event some time after one, and the node must be found dead
// long before a sweep would find it.
func TestLockReleasedAfterItsEventIsFoundByRetesting(t *testing.T) {
	leaktest.Check(t)
	r := open(t, freshDir(t))
	results := watch(t, r)
	want(t, results, registry.Sync, "")
	register(t, r, node("greeter", "a", "127.0.0.1:1"))
	want(t, results, registry.Create, "127.0.0.1:1")
	o := r.owners[key{"greeter", "a"}]
	f, err := os.OpenFile(filepath.Join(r.Dir(), o.lockFile()), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil { // the event
		t.Fatal(err)
	}
	for deadline := time.Now().Add(patience); ; {
		r.engine.mu.Lock()
		tested := r.engine.suspects[o.recordFile()].step > 0
		r.engine.mu.Unlock()
		if tested {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the lock is not being tested again after its file was closed")
		}
		runtime.Gosched()
	}
	released := time.Now()
	if err := syscall.Flock(int(o.lock), syscall.LOCK_UN); err != nil {
		t.Fatal(err)
	}
	want(t, results, registry.Delete, "127.0.0.1:1")
	if took := time.Since(released); took > sweepEvery/2 {
		t.Errorf("the released lock was found after %v, want milliseconds", took)
	}
}

func FuzzParseEvents(f *testing.F) {
	f.Add([]byte("\x01\x00\x00\x00\x80\x00\x00\x00\x00\x00\x00\x00\x10\x00\x00\x00node-a.json\x00\x00\x00\x00\x00"))
	f.Add([]byte("\xff\xff\xff\xff\x00\x40\x00\x00\x00\x00\x00\x00\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if events := parseEvents(b); len(events) > len(b)/16 {
			t.Fatalf("%d events in %d bytes", len(events), len(b))
		}
	})
}
