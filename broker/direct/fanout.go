package direct

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/seed-9a4e2794/micro/errors"
)

// acceptWait is how long a delivery waits for room. It is well below the time
// a publisher gives a node, so that the refusal still reaches it.
const acceptWait = time.Second

// errorID names this package in errors that travel.
const errorID = "micro.broker.direct"

// fanout hands what arrives to the subscriptions of this broker. One mutex
// guards it and all inboxes: a delivery goes to all queues it names or to none,
// so it must see them at one moment.
type fanout struct {
	log   *slog.Logger
	stats *counters

	mu      sync.Mutex
	closed  bool // takes no deliveries
	topics  map[string]*topicSubs
	subs    map[*subscription]struct{} // until they have ended
	waiting int                        // deliveries that wait for room
	room    chan struct{}              // closed and replaced when there may be room
}

type topicSubs struct {
	broadcast []*subscription
	queues    map[string]*group
}

// group is the members of one queue.
type group struct {
	members []*subscription
	next    int
}

func newFanout(log *slog.Logger, stats *counters) *fanout {
	return &fanout{log: log, stats: stats, closed: true, topics: make(map[string]*topicSubs),
		subs: make(map[*subscription]struct{}), room: make(chan struct{})}
}

func (f *fanout) open() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = false
}

// close takes no more deliveries and ends all subscriptions; they go on with
// what they have accepted.
func (f *fanout) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	for s := range f.subs {
		f.endLocked(s)
	}
}

func (f *fanout) all() []*subscription {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := make([]*subscription, 0, len(f.subs))
	for s := range f.subs {
		out = append(out, s)
	}
	return out
}

// live returns the subscriptions that take messages.
func (f *fanout) live() []*subscription {
	return slices.DeleteFunc(f.all(), func(s *subscription) bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		return s.closed
	})
}

func (f *fanout) add(s *subscription) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.subs[s] = struct{}{}
	t := f.topics[s.topic]
	if t == nil {
		t = &topicSubs{queues: make(map[string]*group)}
		f.topics[s.topic] = t
	}
	if s.opts.Queue == "" {
		t.broadcast = append(t.broadcast, s)
	} else {
		g := t.queues[s.opts.Queue]
		if g == nil {
			g = new(group)
			t.queues[s.opts.Queue] = g
		}
		g.members = append(g.members, s)
	}
	f.wakeLocked()
}

// endLocked makes s take no more deliveries. It may be called again.
func (f *fanout) endLocked(s *subscription) {
	if s.closed {
		return
	}
	s.closed = true
	is := func(o *subscription) bool { return o == s }
	t := f.topics[s.topic]
	if g := t.queues[s.opts.Queue]; g != nil {
		g.members = slices.DeleteFunc(g.members, is)
		if len(g.members) == 0 {
			delete(t.queues, s.opts.Queue)
		}
	}
	t.broadcast = slices.DeleteFunc(t.broadcast, is)
	if len(t.broadcast) == 0 && len(t.queues) == 0 {
		delete(f.topics, s.topic)
	}
	s.settleLocked()
	f.wakeLocked()
}

// wakeLocked lets deliveries that wait look again.
func (f *fanout) wakeLocked() {
	if f.waiting > 0 {
		close(f.room)
		f.room = make(chan struct{})
	}
}

// here returns what subscribes to a topic in this broker.
func (f *fanout) here(topic string) (queues []string, broadcast bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	t := f.topics[topic]
	if t == nil || f.closed {
		return nil, false
	}
	for q := range t.queues {
		queues = append(queues, q)
	}
	return queues, len(t.broadcast) > 0
}

// deliver hands e to one member of each queue, all of them or none, and then
// to every subscriber without a queue when broadcast is true.
func (f *fanout) deliver(ctx context.Context, topic string, queues []string, broadcast bool, e *event) error {
	limit := time.Time{} // set when it first has to wait
	f.mu.Lock()
	defer f.mu.Unlock()
	accepted := 0
	for len(queues) > 0 {
		if f.closed {
			break
		}
		picks, missing := f.pickLocked(topic, queues, len(e.msg.Body))
		if missing != "" {
			return errors.Refuse(errorID, errors.CodeNotFound, "topic %q has no subscriber in queue %q here", topic, missing)
		}
		if len(picks) == len(queues) {
			for _, s := range picks {
				s.pushLocked(e)
			}
			accepted = len(picks)
			break
		}
		if err := f.waitLocked(ctx, &limit); err != nil {
			return errors.Refuse(errorID, errors.CodeResourceExhausted, "topic %q: no room in queues %q: %v", topic, queues, err)
		}
	}
	if f.closed && accepted == 0 {
		return errors.Refuse(errorID, errors.CodeUnavailable, "topic %q: the broker is not connected or is draining", topic)
	}
	if broadcast {
		accepted += f.broadcastLocked(ctx, topic, e, &limit)
	}
	if accepted == 0 {
		return errors.Refuse(errorID, errors.CodeNotFound, "topic %q: no subscriber here took the message", topic)
	}
	return nil
}

// pickLocked returns a member with room of each queue in turn, fewer when a
// queue has none, and the name of a queue that has no members at all.
func (f *fanout) pickLocked(topic string, queues []string, size int) (picks []*subscription, missing string) {
	t := f.topics[topic]
	for _, q := range queues {
		if t == nil || t.queues[q] == nil {
			return nil, q
		}
		g := t.queues[q]
		for i := range g.members {
			at := (g.next + i) % len(g.members)
			if s := g.members[at]; s.roomLocked(size) {
				g.next = at + 1
				picks = append(picks, s)
				break
			}
		}
	}
	return picks, ""
}

// broadcastLocked hands e to all subscribers without a queue and returns how
// many took it. Those that are full hold up only themselves and the caller.
func (f *fanout) broadcastLocked(ctx context.Context, topic string, e *event, limit *time.Time) int {
	t := f.topics[topic]
	if t == nil {
		return 0
	}
	accepted := 0
	left := slices.Clone(t.broadcast)
	for {
		left = slices.DeleteFunc(left, func(s *subscription) bool {
			if s.closed {
				return true
			}
			if !s.roomLocked(len(e.msg.Body)) {
				return false
			}
			s.pushLocked(e)
			accepted++
			return true
		})
		if len(left) == 0 {
			return accepted
		}
		if err := f.waitLocked(ctx, limit); err != nil {
			f.stats.dropped.Add(uint64(len(left)))
			left[0].full.log(ctx, f.log, "direct: a subscriber is full and missed a message", "topic", topic, "subscribers", len(left), "error", err)
			return accepted
		}
	}
}

// waitLocked gives up the mutex until there may be room, or the context or the
// limit ends.
func (f *fanout) waitLocked(ctx context.Context, limit *time.Time) error {
	if limit.IsZero() {
		*limit = time.Now().Add(acceptWait)
	}
	room := f.room
	f.waiting++
	f.mu.Unlock()
	timer := time.NewTimer(time.Until(*limit))
	var err error
	select {
	case <-room:
	case <-ctx.Done():
		err = ctx.Err()
	case <-timer.C:
		err = errStillFull
	}
	timer.Stop()
	f.mu.Lock()
	f.waiting--
	return err
}
