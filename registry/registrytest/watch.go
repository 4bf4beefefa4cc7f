package registrytest

import (
	"context"
	"errors"

	"github.com/seed-9a4e2794/micro/registry"
)

// watchCases are of Watch.
func watchCases() []testCase {
	const rule = "a watch delivers the present state as creates, then one sync without a service, then changes as they happen"
	return []testCase{
		{name: "watch from empty", run: watchFromEmpty, rule: rule},
		{name: "watch from full", run: watchFromFull, rule: rule},
		{name: "watch of one service", run: watchOne,
			rule: "WatchService delivers the present state and the changes of that service and of no other"},
		{name: "watch of what nobody registered", run: watchNobody, reads: true,
			rule: "a watch of a service that does not exist delivers a sync and waits"},
		{name: "two watchers", run: watchTwo,
			rule: "each watcher is told everything, whatever the others do"},
		{name: "same record again is no change", run: watchRenewal,
			rule: "update tells of a node whose record has changed; renewing the same record is no update"},
		{name: "stop wakes next", run: watchStop, reads: true,
			rule: "Stop ends a Next that waits; from then on Next returns ErrWatcherStopped; Stop may be called again"},
		{name: "ended context wakes next", run: watchContext, reads: true,
			rule: "the watcher ends when the context of Watch does: Next returns ErrWatcherStopped"},
		{name: "read-only registry is watched", run: watchFixture, refusal: true, rule: rule},
	}
}

func watchFromEmpty(k *kit) {
	w := k.watch(k.life())
	w.synced()
	s := service("greeter", "1.0.0", "a")
	k.register(s)
	w.expect(registry.Create, s)
	s.Nodes[0].Address = "127.0.0.1:9002"
	k.register(s)
	w.expect(registry.Update, s)
	s.Version, s.Endpoints = "2.0.0", nil
	k.register(s)
	w.expect(registry.Update, s)
	k.deregister(s)
	w.expect(registry.Delete, s)
	k.register(s)
	w.expect(registry.Create, s)
}

func watchFromFull(k *kit) {
	a, b, c := service("greeter", "1.0.0", "a"), service("greeter", "2.0.0", "b"), service("orders", "1.0.0", "c")
	for _, s := range []*registry.Service{a, b, c} {
		k.register(s)
	}
	k.holds("greeter", a, b)
	k.holds("orders", c)
	w := k.watch(k.life())
	w.synced(a, b, c)
	k.deregister(b)
	w.expect(registry.Delete, b)
	d := service("greeter", "1.0.0", "d")
	k.register(d)
	w.expect(registry.Create, d)
}

func watchOne(k *kit) {
	a, other := service("greeter", "1.0.0", "a"), service("greeter2", "1.0.0", "b")
	k.register(a)
	k.register(other)
	k.holds("greeter", a)
	k.holds("greeter2", other)
	w := k.watch(k.life(), registry.WatchService("greeter"))
	w.synced(a)
	other.Nodes[0].Address = "127.0.0.1:1"
	k.register(other)
	k.deregister(other)
	k.register(service("gree", "1.0.0", "c"))
	b := service("greeter", "2.0.0", "b")
	k.register(b)
	w.expect(registry.Create, b)
	k.deregister(a)
	w.expect(registry.Delete, a)
}

func watchNobody(k *kit) {
	w := k.watch(k.life(), registry.WatchService("no-such-service-anywhere"))
	w.synced()
}

func watchTwo(k *kit) {
	w1 := k.watch(k.life())
	w1.synced()
	a := service("greeter", "1.0.0", "a")
	k.register(a)
	w1.expect(registry.Create, a)
	w2 := k.watch(k.life())
	w2.synced(a)
	b := service("greeter", "1.0.0", "b")
	k.register(b)
	w2.expect(registry.Create, b)
	w1.expect(registry.Create, b)
	w1.w.Stop()
	k.deregister(a)
	w2.expect(registry.Delete, a)
	w3 := k.watch(k.life())
	w3.synced(b)
	w2.w.Stop()
	k.deregister(b)
	w3.expect(registry.Delete, b)
	w3.w.Stop()
	k.watch(k.life()).synced() // after the last watcher has gone
}

func watchRenewal(k *kit) {
	a, b := service("greeter", "1.0.0", "a"), service("greeter", "1.0.0", "b")
	k.register(a)
	k.holds("greeter", a)
	w := k.watch(k.life())
	w.synced(a)
	k.register(a)
	k.register(a)
	k.register(b)
	w.expect(registry.Create, b)
}

func watchStop(k *kit) {
	w := k.watch(k.life())
	w.synced(k.fixture...)
	w.w.Stop()
	k.stopped(w, "after Stop")
	w.w.Stop()

	// A watcher that nobody has read ends as well.
	raw, err := k.Watch(k.life())
	if err != nil {
		k.broken("Watch: %v", err)
	}
	raw.Stop()
	if r, err := raw.Next(); !errors.Is(err, registry.ErrWatcherStopped) {
		k.broken("Next after Stop returned %v and error %v, want ErrWatcherStopped", r, err)
	}
}

func watchContext(k *kit) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	w := k.watch(ctx)
	w.synced(k.fixture...)
	cancel()
	k.stopped(w, "after the context ended")
}

// stopped checks that Next returns ErrWatcherStopped, and does so again.
func (k *kit) stopped(w *stream, when string) {
	k.Helper()
	if o := w.outcome("ErrWatcherStopped " + when); !errors.Is(o.err, registry.ErrWatcherStopped) {
		k.broken("%s Next returned %v and error %v, want ErrWatcherStopped", when, o.result, o.err)
	}
	<-w.done // the reader has ended, so Next may be called from here
	if r, err := w.w.Next(); !errors.Is(err, registry.ErrWatcherStopped) {
		k.broken("%s Next returned %v and error %v the second time, want ErrWatcherStopped", when, r, err)
	}
}

func watchFixture(k *kit) {
	k.watch(k.life()).synced(k.fixture...)
	name := k.fixture[0].Name
	var want []*registry.Service
	for _, s := range k.fixture {
		if s.Name == name {
			want = append(want, s)
		}
	}
	k.watch(k.life(), registry.WatchService(name)).synced(want...)
}
