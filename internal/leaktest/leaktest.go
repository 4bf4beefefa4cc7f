// Package leaktest fails a test that leaves goroutines behind.
package leaktest

import (
	"bytes"
	"runtime"
	"strings"
	"testing"
	"time"
)

// grace is how long goroutines that are ending may take to be gone.
const grace = 5 * time.Second

// Check records the goroutines that run now and, when the test and its other
// cleanups are over, fails the test if others still run. Call it first. Tests
// that use it must not run in parallel.
func Check(t testing.TB) {
	t.Helper()
	before := stacks()
	t.Cleanup(func() {
		if t.Failed() {
			return // what failed left them behind; its own message matters more
		}
		var left []string
		for deadline := time.Now().Add(grace); time.Now().Before(deadline); {
			left = left[:0]
			for id, stack := range stacks() {
				if _, old := before[id]; !old {
					left = append(left, stack)
				}
			}
			if len(left) == 0 {
				return
			}
			runtime.Gosched()
			time.Sleep(time.Millisecond) // polls the scheduler, which tells nobody when a goroutine is gone
		}
		t.Errorf("%d goroutines left behind:\n\n%s", len(left), strings.Join(left, "\n\n"))
	})
}

// stacks returns the stacks of all goroutines but the runtime's and the test
// framework's, by goroutine id.
func stacks() map[string]string {
	buf := make([]byte, 1<<20)
	for {
		n := runtime.Stack(buf, true)
		if n < len(buf) {
			buf = buf[:n]
			break
		}
		buf = make([]byte, 2*len(buf))
	}
	out := make(map[string]string)
	for _, g := range bytes.Split(buf, []byte("\n\n")) {
		s := string(g)
		id, _, ok := strings.Cut(strings.TrimPrefix(s, "goroutine "), " ")
		if !ok || ours(s) {
			continue
		}
		out[id] = s
	}
	return out
}

func ours(stack string) bool {
	for _, f := range []string{"testing.(*T).Run(", "testing.tRunner(", "testing.(*M).", "testing.runFuzzing(",
		"leaktest.stacks(", "os/signal.signal_recv(", "os/signal.loop("} {
		if strings.Contains(stack, f) {
			return true
		}
	}
	return false
}
