// Package registrytest checks that a registry keeps the contract of package
// registry. Every backend runs it from its tests:
//
//	func TestConformance(t *testing.T) {
//		registrytest.Run(t, func(t *testing.T) registry.Registry { return memory.New() })
//	}
//
// A failure names the rule that was broken.
package registrytest

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-9a4e2794/micro/internal/leaktest"
	"github.com/seed-9a4e2794/micro/registry"
)

// Option says what a backend does besides, or does not do.
type Option func(*options)

type options struct {
	readOnly   bool
	fixture    []*registry.Service
	ttl        time.Duration
	bubble     bool
	maxRecord  int
	strictName bool
	patience   time.Duration
}

// ReadOnly is for backends that nothing can be registered with: Register and
// Deregister must return registry.ErrReadOnly. The registry that open returns
// must hold exactly the given services, at least two names of them.
func ReadOnly(holds ...*registry.Service) Option {
	return func(o *options) { o.readOnly, o.fixture = true, holds }
}

// HonoursTTL is for backends that remove a node which is not renewed in time.
// ttl is the shortest they take. Without it TTL is not looked at, which is
// right for backends that see a process die by other means.
func HonoursTTL(ttl time.Duration) Option { return func(o *options) { o.ttl = ttl } }

// Bubble runs the cases of time in testing/synctest bubbles, for backends
// whose goroutines and timers belong to the program. TTL then takes no time
// and is checked to the instant.
func Bubble() Option { return func(o *options) { o.bubble = true } }

// MaxRecord is for backends that cannot hold a record of 256 KB: the suite
// then asks for n bytes of metadata.
func MaxRecord(n int) Option { return func(o *options) { o.maxRecord = n } }

// MayRefuseNames is for backends that cannot hold every name: Register may
// return an error for odd names, but what it takes must come back whole.
func MayRefuseNames() Option { return func(o *options) { o.strictName = true } }

// Patience sets how long a change may take to be seen; 10 seconds without it.
func Patience(d time.Duration) Option { return func(o *options) { o.patience = d } }

// Run runs the suite. open returns an empty registry of its own for each call,
// or with ReadOnly one that holds the fixture; it closes it in t.Cleanup. The
// cases also check that no goroutine is left behind.
func Run(t *testing.T, open func(t *testing.T) registry.Registry, opts ...Option) {
	o := options{maxRecord: 256 << 10, patience: 10 * time.Second}
	for _, f := range opts {
		f(&o)
	}
	for _, c := range cases() {
		if !c.applies(o) {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			if o.bubble && c.timed {
				synctest.Test(t, func(t *testing.T) { c.run(newKit(t, open(t), o, c)) })
				return
			}
			leaktest.Check(t)
			c.run(newKit(t, open(t), o, c))
		})
	}
}

// testCase is one rule of the contract.
type testCase struct {
	name string
	// rule is printed when the case fails.
	rule string
	run  func(k *kit)
	// reads marks cases that need no Register.
	reads bool
	// refusal marks the case of backends that are read-only.
	refusal bool
	// timed marks cases of TTL.
	timed bool
}

func (c testCase) applies(o options) bool {
	switch {
	case c.refusal:
		return o.readOnly
	case o.readOnly:
		return c.reads
	case c.timed:
		return o.ttl > 0
	}
	return true
}

func cases() []testCase {
	var all []testCase
	all = append(all, lookupCases()...)
	all = append(all, valueCases()...)
	all = append(all, watchCases()...)
	all = append(all, loadCases()...)
	return append(all, ttlCases()...)
}
