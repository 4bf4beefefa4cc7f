package registrytest

import (
	"fmt"
	"testing/synctest"
	"time"

	"github.com/seed-9a4e2794/micro/registry"
)

// ttlCases are of backends that honour TTL.
func ttlCases() []testCase {
	return []testCase{
		{name: "node that is not renewed expires", run: expires, timed: true,
			rule: "a node registered with a TTL and not renewed is removed after it, not before, and watchers are told; others stay"},
		{name: "renewed node stays", run: renewed, timed: true,
			rule: "registering a node again renews its TTL; watchers are not told of a renewal"},
		{name: "ttl is taken from the last registration", run: ttlReplaced, timed: true,
			rule: "a node registered again without a TTL stays for ever; one deregistered does not expire a second time"},
	}
}

// pass lets d go by. In a bubble everything that is due has then happened.
func (k *kit) pass(d time.Duration) {
	<-time.After(d)
	if k.bubble {
		synctest.Wait()
	}
}

func expires(k *kit) {
	stays, goes := service("greeter", "1.0.0", "stays"), service("greeter", "1.0.0", "goes")
	k.patience += 3 * k.ttl
	w := k.watch(k.life())
	w.synced()
	k.register(stays)
	w.expect(registry.Create, stays)
	start := time.Now()
	k.register(goes, registry.RegisterTTL(k.ttl))
	w.expect(registry.Create, goes)
	k.holds("greeter", stays, goes)
	if k.bubble {
		k.pass(k.ttl - time.Nanosecond)
		k.holds("greeter", stays, goes)
		k.pass(time.Nanosecond)
		if wrong := k.differs("greeter", []*registry.Service{stays}); wrong != "" {
			k.broken("after the TTL of %s: %s", k.ttl, wrong)
		}
	}
	w.expect(registry.Delete, goes)
	if gone := time.Since(start); gone < k.ttl {
		k.broken("the node was gone after %s, before its TTL of %s", gone, k.ttl)
	}
	k.holds("greeter", stays)
}

func renewed(k *kit) {
	s := service("greeter", "1.0.0", "a")
	k.patience += 3 * k.ttl
	w := k.watch(k.life())
	w.synced()
	k.register(s, registry.RegisterTTL(k.ttl))
	w.expect(registry.Create, s)
	for i := range 6 {
		k.pass(k.ttl / 3)
		k.register(s, registry.RegisterTTL(k.ttl))
		mark := service("mark", "1.0.0", fmt.Sprint(i))
		k.register(mark)
		w.expect(registry.Create, mark) // and nothing of s before it
	}
	k.holds("greeter", s)
	w.expect(registry.Delete, s)
}

func ttlReplaced(k *kit) {
	stays, gone := service("greeter", "1.0.0", "stays"), service("orders", "1.0.0", "gone")
	k.patience += 3 * k.ttl
	w := k.watch(k.life())
	w.synced()
	k.register(stays, registry.RegisterTTL(k.ttl))
	w.expect(registry.Create, stays)
	k.register(stays)
	k.register(gone, registry.RegisterTTL(k.ttl))
	w.expect(registry.Create, gone)
	k.deregister(gone)
	w.expect(registry.Delete, gone)
	k.pass(2 * k.ttl)
	mark := service("mark", "1.0.0", "mark")
	k.register(mark)
	w.expect(registry.Create, mark) // and no delete before it
	k.holds("greeter", stays)
	k.holds("orders")
}
