// Package memory is a broker within one process, for tests and for programs
// whose services all live together. It uses no clock and no network and works
// inside testing/synctest bubbles.
//
// # Promise
//
// At most once: a handler that fails has had its message. There is no order:
// handlers run concurrently, up to 64 at a time for each subscription.
//
// A subscription holds at most 1024 messages that wait. When it is full,
// Publish waits until there is room or its context ends, and then says so. A
// broker for tests that drops would make them fail now and then for no reason
// to be seen; one that waits stands still where the fault is. A handler that
// publishes to a subscription which is full because of it should therefore use
// a context that ends.
//
// Unsubscribe and Disconnect wait for handlers. Called in a handler of the
// subscription concerned they wait for themselves until their context ends.
package memory

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"

	"github.com/seed-9a4e2794/micro/broker"
)

// Broker is one member of a group of brokers that share their topics. Use New.
type Broker struct {
	bus  *bus
	life chan struct{} // held by Connect and Disconnect

	// Guarded by bus.mu.
	connected bool
	closing   bool                       // no new subscriptions
	subs      map[*subscription]struct{} // until they have ended
}

var _ broker.Broker = (*Broker)(nil)

// bus is what the brokers of a group share. One mutex guards it and all
// inboxes.
type bus struct {
	mu      sync.Mutex
	topics  map[string]*topicSubs
	waiting int           // publishers that wait for room
	room    chan struct{} // closed and replaced when there may be room
}

// topicSubs is the subscriptions of a topic whose brokers are connected.
type topicSubs struct {
	broadcast []*subscription
	queues    map[string]*group
}

type group struct {
	members []*subscription
	next    int
}

// New returns a broker that is not connected, alone in its group.
func New() *Broker {
	return newBroker(&bus{topics: make(map[string]*topicSubs), room: make(chan struct{})})
}

// Peer returns another broker of b's group, not connected: what one publishes
// reaches the subscriptions of both, as if they were two processes with a
// broker between them. Each is connected and disconnected by itself.
func (b *Broker) Peer() *Broker {
	return newBroker(b.bus)
}

func newBroker(u *bus) *Broker {
	return &Broker{bus: u, life: make(chan struct{}, 1), subs: make(map[*subscription]struct{})}
}

// Connect makes the subscriptions made so far take effect. It fails only when
// ctx ends while another Connect or Disconnect runs.
func (b *Broker) Connect(ctx context.Context) error {
	if err := b.enter(ctx); err != nil {
		return fmt.Errorf("memory: connect: %w", err)
	}
	defer b.leave()
	b.bus.mu.Lock()
	defer b.bus.mu.Unlock()
	if b.connected {
		return nil
	}
	b.connected = true
	for s := range b.subs {
		if !s.closed {
			b.bus.addLocked(s)
		}
	}
	return nil
}

// Disconnect ends the subscriptions of b and waits until what they took has
// been handled; handlers may publish until then. When ctx ends first, what
// still waits is dropped and the context of handlers that run ends.
func (b *Broker) Disconnect(ctx context.Context) error {
	if err := b.enter(ctx); err != nil {
		return fmt.Errorf("memory: disconnect: %w", err)
	}
	defer b.leave()
	b.bus.mu.Lock()
	b.closing = b.connected
	subs := slices.Collect(maps.Keys(b.subs))
	for _, s := range subs {
		b.bus.endLocked(s)
	}
	b.bus.mu.Unlock()
	var errs []error
	for _, s := range subs {
		errs = append(errs, s.wait(ctx))
	}
	b.bus.mu.Lock()
	b.connected, b.closing = false, false
	b.bus.mu.Unlock()
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("memory: disconnect: %w", err)
	}
	return nil
}

// Publish puts a copy of m into the inbox of every subscription of topic
// without a queue, and of one member of each queue, in turn, those with room
// first. It waits while there is no room. When ctx ends before all have it,
// the others keep it and the error is that of ctx.
func (b *Broker) Publish(ctx context.Context, topic string, m *broker.Message, opts ...broker.PublishOption) error {
	o := broker.NewPublishOptions(opts...)
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("memory: publish to %q: %w", topic, err)
	}
	if topic == "" || m == nil {
		return fmt.Errorf("memory: publish to %q: a topic and a message are needed", topic)
	}
	u := b.bus
	u.mu.Lock()
	defer u.mu.Unlock()
	if !b.connected {
		return fmt.Errorf("memory: publish to %q: %w", topic, broker.ErrNotConnected)
	}
	t := u.topics[topic]
	if t == nil {
		if o.RequireSubscriber {
			return fmt.Errorf("memory: publish to %q: %w", topic, broker.ErrNoSubscriber)
		}
		return nil
	}
	e := newEvent(topic, &broker.Message{Header: maps.Clone(m.Header), Body: bytes.Clone(m.Body)})
	targets := make([]target, 0, len(t.broadcast)+len(t.queues))
	for _, s := range t.broadcast {
		targets = append(targets, target{sub: s})
	}
	for _, g := range t.queues {
		targets = append(targets, target{group: g})
	}
	all := len(targets)
	reached := 0
	for {
		targets = slices.DeleteFunc(targets, func(t target) bool {
			took, over := t.offerLocked(e)
			if took {
				reached++
			}
			return took || over
		})
		if len(targets) == 0 {
			break
		}
		if err := u.waitLocked(ctx); err != nil {
			return fmt.Errorf("memory: publish to %q: %d of %d subscribers and queues are full and did not get the message: %w", topic, len(targets), all, err)
		}
	}
	if reached == 0 && o.RequireSubscriber {
		return fmt.Errorf("memory: publish to %q: all subscribers left: %w", topic, broker.ErrNoSubscriber)
	}
	return nil
}

// target is a subscription without a queue, or a queue.
type target struct {
	sub   *subscription
	group *group
}

// offerLocked reports whether t took e, or will never take it.
func (t target) offerLocked(e *event) (took, over bool) {
	if t.sub != nil {
		if t.sub.closed {
			return false, true
		}
		return t.sub.pushLocked(e), false
	}
	members := t.group.members
	for i := range members {
		at := (t.group.next + i) % len(members)
		if members[at].pushLocked(e) {
			t.group.next = at + 1
			return true, false
		}
	}
	return false, len(members) == 0
}

// Subscribe calls h for each message of topic, concurrently. Its context is
// asked only whether it has ended.
func (b *Broker) Subscribe(ctx context.Context, topic string, h broker.Handler, opts ...broker.SubscribeOption) (broker.Subscriber, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("memory: subscribe to %q: %w", topic, err)
	}
	if topic == "" || h == nil {
		return nil, fmt.Errorf("memory: subscribe to %q: a topic and a handler are needed", topic)
	}
	s := &subscription{b: b, topic: topic, handler: h, opts: broker.NewSubscribeOptions(opts...), log: slog.Default(), done: make(chan struct{})}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	b.bus.mu.Lock()
	defer b.bus.mu.Unlock()
	if b.closing {
		s.cancel()
		return nil, fmt.Errorf("memory: subscribe to %q: %w", topic, broker.ErrNotConnected)
	}
	b.subs[s] = struct{}{}
	if b.connected {
		b.bus.addLocked(s)
	}
	return s, nil
}

// enter waits for other calls of Connect and Disconnect. A context that has
// ended is no hindrance when there are none.
func (b *Broker) enter(ctx context.Context) error {
	select {
	case b.life <- struct{}{}:
		return nil
	default:
	}
	select {
	case b.life <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (b *Broker) leave() { <-b.life }

func (u *bus) addLocked(s *subscription) {
	t := u.topics[s.topic]
	if t == nil {
		t = &topicSubs{queues: make(map[string]*group)}
		u.topics[s.topic] = t
	}
	if s.opts.Queue == "" {
		t.broadcast = append(t.broadcast, s)
		return
	}
	g := t.queues[s.opts.Queue]
	if g == nil {
		g = new(group)
		t.queues[s.opts.Queue] = g
	}
	g.members = append(g.members, s)
	u.wakeLocked()
}

// endLocked makes s take no more messages. It may be called again.
func (u *bus) endLocked(s *subscription) {
	if s.closed {
		return
	}
	s.closed = true
	is := func(o *subscription) bool { return o == s }
	if t := u.topics[s.topic]; t != nil {
		t.broadcast = slices.DeleteFunc(t.broadcast, is)
		if g := t.queues[s.opts.Queue]; g != nil {
			g.members = slices.DeleteFunc(g.members, is)
			if len(g.members) == 0 {
				delete(t.queues, s.opts.Queue)
			}
		}
		if len(t.broadcast) == 0 && len(t.queues) == 0 {
			delete(u.topics, s.topic)
		}
	}
	s.settleLocked()
	u.wakeLocked()
}

// wakeLocked lets publishers that wait look again.
func (u *bus) wakeLocked() {
	if u.waiting > 0 {
		close(u.room)
		u.room = make(chan struct{})
	}
}

// waitLocked gives up the mutex until there may be room or ctx ends.
func (u *bus) waitLocked(ctx context.Context) error {
	room := u.room
	u.waiting++
	u.mu.Unlock()
	var err error
	select {
	case <-room:
	case <-ctx.Done():
		err = ctx.Err()
	}
	u.mu.Lock()
	u.waiting--
	return err
}
