package direct

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/seed-9a4e2794/micro/broker"
	"github.com/seed-9a4e2794/micro/registry"
)

// routes follows the registry and says which nodes subscribe to a topic.
type routes struct {
	reg  registry.Registry
	self string // address of this node, whose own subscriptions the fanout knows better
	log  *slog.Logger

	current atomic.Pointer[map[string]*route] // by topic; never changed once stored
	synced  chan struct{}                     // closed when the first state is complete
	ended   chan struct{}                     // closed when run has returned

	// Used by run only.
	known map[string]subscriberNode // by node id
	named map[string]bool           // ids heard of since the state began to be told
}

// route is where messages of one topic go. It is never changed.
type route struct {
	broadcast []*registry.Node
	queues    map[string][]*registry.Node
}

// subscriberNode is one record of another node.
type subscriberNode struct {
	topic, queue string // queue is BroadcastVersion for none
	node         *registry.Node
}

func newRoutes(reg registry.Registry, self string, log *slog.Logger) *routes {
	r := &routes{reg: reg, self: self, log: log, synced: make(chan struct{}), ended: make(chan struct{}), known: make(map[string]subscriberNode)}
	r.current.Store(&map[string]*route{})
	return r
}

// topic returns where messages of a topic go; nil is nowhere.
func (r *routes) topic(topic string) *route { return (*r.current.Load())[topic] }

// wait waits until the first state is known.
func (r *routes) wait(ctx context.Context) error {
	select {
	case <-r.synced:
		return nil
	default:
	}
	timer := time.NewTimer(ioTimeout)
	defer timer.Stop()
	select {
	case <-r.synced:
		return nil
	case <-r.ended:
		return broker.ErrNotConnected
	case <-ctx.Done():
		return fmt.Errorf("%w: the registry has not told who subscribes: %w", broker.ErrUnavailable, ctx.Err())
	case <-timer.C:
		return fmt.Errorf("%w: the registry has not told who subscribes for %v", broker.ErrUnavailable, ioTimeout)
	}
}

// run watches until ctx ends. Through an outage of the registry the last state
// stays.
func (r *routes) run(ctx context.Context) {
	defer close(r.ended)
	const firstRetry, lastRetry = time.Second, 30 * time.Second
	retry := firstRetry
	for ctx.Err() == nil {
		began := time.Now()
		err := r.follow(ctx)
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > lastRetry {
			retry = firstRetry // it had worked for a while
		}
		r.log.WarnContext(ctx, "direct: the watch of subscribers ended; those known stay, and it will be begun again", "after", retry, "error", err)
		timer := time.NewTimer(jitter(retry))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
		retry = min(2*retry, lastRetry)
	}
}

// follow applies what one watcher tells until it ends.
func (r *routes) follow(ctx context.Context) error {
	w, err := r.reg.Watch(ctx, registry.WatchService(ServiceName))
	if err != nil {
		return err
	}
	defer w.Stop()
	r.named = make(map[string]bool)
	begun := false // the first state has been told: results are published one by one
	for {
		res, err := w.Next()
		if err != nil {
			return err
		}
		if res == nil {
			return errors.New("the watcher returned no result and no error")
		}
		changed := r.apply(res)
		switch {
		case res.Action == registry.Sync:
			r.publish()
			if !begun {
				begun = true
				select {
				case <-r.synced:
				default:
					close(r.synced)
				}
			}
		case changed && begun:
			r.publish()
		}
	}
}

// apply changes what is known by one result and reports whether it differs.
func (r *routes) apply(res *registry.Result) bool {
	switch res.Action {
	case registry.Lost:
		clear(r.named)
		return false
	case registry.Sync:
		for id := range r.known {
			if !r.named[id] {
				delete(r.known, id)
			}
		}
		clear(r.named)
		return true
	}
	changed := false
	if res.Service == nil || res.Service.Name != ServiceName {
		return false
	}
	for _, n := range res.Service.Nodes {
		old, had := r.known[n.Id]
		if res.Action == registry.Delete || !usable(n, r.self) {
			delete(r.known, n.Id)
			delete(r.named, n.Id)
			changed = changed || had
			continue
		}
		now := subscriberNode{topic: n.Metadata["topic"], queue: res.Service.Version, node: n}
		r.known[n.Id] = now
		r.named[n.Id] = true
		changed = changed || !had || old.topic != now.topic || old.queue != now.queue || old.node.Address != n.Address
	}
	return changed
}

// usable reports whether messages can be sent to n. Records of go-micro
// programs have the kind "http" and another form of delivery, which is decided
// here and sent by Config.Sender, should it come to speak it.
func usable(n *registry.Node, self string) bool {
	return n.Metadata["broker"] == Kind && n.Metadata["topic"] != "" && n.Address != "" && n.Address != self
}

// publish makes what is known the current state. It builds every topic anew:
// subscribers change rarely, messages come all the time.
func (r *routes) publish() {
	topics := make(map[string]*route)
	type place struct{ topic, queue, addr string }
	seen := make(map[place]bool, len(r.known))
	for _, s := range r.known {
		p := place{s.topic, s.queue, s.node.Address}
		if seen[p] {
			continue // an older record of a node that came back at the same address
		}
		seen[p] = true
		t := topics[s.topic]
		if t == nil {
			t = &route{queues: make(map[string][]*registry.Node)}
			topics[s.topic] = t
		}
		if s.queue == BroadcastVersion {
			t.broadcast = append(t.broadcast, s.node)
		} else {
			t.queues[s.queue] = append(t.queues[s.queue], s.node)
		}
	}
	r.current.Store(&topics)
}
