package direct

import (
	"bytes"
	"context"
	stderrors "errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-9a4e2794/micro/broker"
	"github.com/seed-9a4e2794/micro/errors"
	"github.com/seed-9a4e2794/micro/registry"
	"github.com/seed-9a4e2794/micro/transport"
)

const (
	maxAttempts = 8               // nodes tried for one queue
	avoidTime   = 5 * time.Second // how long a node that failed is tried last
)

// Publish sends m to every node that subscribes to topic without a queue and
// to one node of each queue, one copy a node, and returns when each has taken
// its copy or could not be reached. A node that surely did not take it is
// replaced by another of the queue. The subscriptions of this broker get m
// without the network.
//
// That nodes could not be reached is counted, logged, and no error, but for
// RequireSubscriber when none was reached, and when ctx ended before all
// copies were taken. The first Publish after Connect waits until the registry
// has told who subscribes, 5 s at most; then the error matches
// broker.ErrUnavailable. A message beyond the limits of this package is an
// error. A message published by a handler of this broker to a subscription
// that is full is refused after a second, so it cannot wait for itself.
func (b *Broker) Publish(ctx context.Context, topic string, m *broker.Message, opts ...broker.PublishOption) error {
	if err := b.publish(ctx, topic, m, broker.NewPublishOptions(opts...)); err != nil {
		return fmt.Errorf("direct: publish to %q: %w", topic, err)
	}
	return nil
}

func (b *Broker) publish(ctx context.Context, topic string, m *broker.Message, o broker.PublishOptions) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := checkName("topic", topic); err != nil {
		return err
	}
	if err := checkMessage(m); err != nil {
		return err
	}
	b.mu.Lock()
	s := b.sess
	b.mu.Unlock()
	if s == nil {
		return broker.ErrNotConnected
	}
	if err := s.routes.wait(ctx); err != nil {
		return err
	}

	p := &publication{b: b, self: s.addr, topic: topic, msg: m, route: s.routes.topic(topic), avoid: &s.avoid}
	copies := p.plan()
	p.sendAll(ctx, copies)
	if p.missed.Load() > 0 && ctx.Err() != nil {
		return fmt.Errorf("%d nodes took it, %d copies were not taken before the context ended: %w", p.reached.Load(), p.missed.Load(), ctx.Err())
	}
	if o.RequireSubscriber && p.reached.Load() == 0 {
		return fmt.Errorf("%w: %d nodes were tried", broker.ErrNoSubscriber, p.tried.Load())
	}
	return nil
}

// Deliver takes a delivery that arrived on this node's port and returns when
// it has been accepted, not when it has been handled. One subscriber of each
// queue it names takes it, all queues or none; with Broadcast so does every
// subscriber without a queue that has room in time.
//
// It takes d over: d, its message and the message's body must not be changed
// or used again. An error that matches errors.ErrRefused says that nobody took
// it: the broker is not connected, nobody here subscribes, or they are full
// and stayed so until ctx ended or for a second.
func (b *Broker) Deliver(ctx context.Context, d *Delivery) error {
	if d == nil {
		return stderrors.New("direct: deliver: the delivery is nil")
	}
	if err := d.check(); err != nil {
		return errors.NewCode(errorID, errors.CodeInvalidArgument, "delivery of topic %.40q: %v", d.Topic, err)
	}
	return b.local.deliver(ctx, d.Topic, d.Queues, d.Broadcast, newEvent(d.Topic, d.Message))
}

// publication is one message being published.
type publication struct {
	b     *Broker
	self  string
	topic string
	msg   *broker.Message
	route *route // may be nil
	avoid *avoided

	clone   func() *broker.Message // what the local subscribers share
	members map[string][]*registry.Node

	reached, tried, missed atomic.Int64
}

// copyTo is a delivery and the node it is for; a nil node is this one.
type copyTo struct {
	node *registry.Node
	d    *Delivery
}

// plan chooses the nodes, one copy for each, unless it would name too many
// queues.
func (p *publication) plan() []copyTo {
	p.clone = sync.OnceValue(func() *broker.Message {
		return &broker.Message{Header: maps.Clone(p.msg.Header), Body: bytes.Clone(p.msg.Body)}
	})
	var copies []copyTo
	at := make(map[string]int) // by address, that of this node is ""
	to := func(n *registry.Node) *Delivery {
		addr := ""
		if n != nil {
			addr = n.Address
		}
		if i, ok := at[addr]; ok && len(copies[i].d.Queues) < MaxQueues {
			return copies[i].d
		}
		at[addr] = len(copies)
		copies = append(copies, copyTo{n, &Delivery{Topic: p.topic, Message: p.msg}})
		return copies[len(copies)-1].d
	}

	queues, broadcast := p.b.local.here(p.topic)
	if broadcast {
		to(nil).Broadcast = true
	}
	p.members = make(map[string][]*registry.Node, len(queues))
	for _, q := range queues {
		p.members[q] = []*registry.Node{nil}
	}
	if p.route != nil {
		for _, n := range p.route.broadcast {
			to(n).Broadcast = true
		}
		for q, nodes := range p.route.queues {
			p.members[q] = append(p.members[q], nodes...)
		}
	}
	for q := range p.members {
		n, _ := p.choose(q, nil)
		d := to(n)
		d.Queues = append(d.Queues, q)
	}
	return copies
}

// choose returns a random node of a queue that is not among tried, one that
// has not failed lately if there is one. False is that none is left.
func (p *publication) choose(queue string, tried []*registry.Node) (*registry.Node, bool) {
	nodes := p.members[queue]
	start := rand.IntN(len(nodes))
	var second *registry.Node
	found := false
next:
	for i := range nodes {
		n := nodes[(start+i)%len(nodes)]
		for _, t := range tried {
			if t == n {
				continue next
			}
		}
		if n == nil || !p.avoid.has(n.Address) {
			return n, true
		}
		if !found {
			second, found = n, true
		}
	}
	return second, found
}

// sendAll sends the copies, a bounded number at a time, and waits for all.
func (p *publication) sendAll(ctx context.Context, copies []copyTo) {
	if len(copies) == 0 {
		return
	}
	var next atomic.Int64
	work := func() {
		for i := next.Add(1); i <= int64(len(copies)); i = next.Add(1) {
			p.deliver(ctx, copies[i-1])
		}
	}
	var wg sync.WaitGroup
	for range min(len(copies), maxSends) - 1 {
		wg.Go(work)
	}
	work()
	wg.Wait()
}

// deliver sends one copy, and what a node surely did not take to others. A
// queue's copy then travels on its own, so a node may get a second one.
func (p *publication) deliver(ctx context.Context, c copyTo) {
	err := p.send(ctx, c)
	if err == nil {
		return
	}
	if !untaken(err) {
		p.lose(ctx, c, err)
		return
	}
	if c.d.Broadcast {
		if len(c.d.Queues) > 0 && !stderrors.Is(err, transport.ErrUnreachable) {
			// It may have refused for want of a queue's member alone.
			again := copyTo{c.node, &Delivery{Topic: p.topic, Broadcast: true, Message: p.msg}}
			if err := p.send(ctx, again); err != nil {
				p.lose(ctx, again, err)
			}
		} else {
			p.lose(ctx, c, err)
		}
	}
	for _, q := range c.d.Queues {
		p.elsewhere(ctx, q, c.node, err)
	}
}

// elsewhere finds another member of a queue for a message that failed did not
// take.
func (p *publication) elsewhere(ctx context.Context, queue string, failed *registry.Node, err error) {
	d := &Delivery{Topic: p.topic, Queues: []string{queue}, Message: p.msg}
	tried := []*registry.Node{failed}
	for len(tried) < maxAttempts && ctx.Err() == nil {
		n, ok := p.choose(queue, tried)
		if !ok {
			break
		}
		if err = p.send(ctx, copyTo{n, d}); err == nil {
			return
		}
		if !untaken(err) {
			failed = n
			break
		}
		tried = append(tried, n)
		failed = n
	}
	p.lose(ctx, copyTo{failed, d}, err)
}

// send carries one copy to its node.
func (p *publication) send(ctx context.Context, c copyTo) error {
	p.tried.Add(1)
	ctx, cancel := context.WithTimeout(ctx, ioTimeout)
	defer cancel()
	if c.node == nil {
		d := *c.d
		d.Message = p.clone()
		err := p.b.Deliver(ctx, &d)
		if err == nil {
			p.reached.Add(1)
		}
		return err
	}
	err := p.b.cfg.Sender.Send(ctx, c.node, c.d)
	if err != nil {
		p.avoid.add(c.node.Address)
		return err
	}
	p.b.stats.sent.Add(1)
	p.reached.Add(1)
	return nil
}

// lose counts and logs a copy that nobody took.
func (p *publication) lose(ctx context.Context, c copyTo, err error) {
	p.missed.Add(1)
	p.b.stats.unreached.Add(1)
	id, addr := "this node", p.self
	if c.node != nil {
		id, addr = c.node.Id, c.node.Address
	}
	p.b.lost.log(ctx, p.b.log, "direct: a message was not taken", "topic", p.topic, "queues", c.d.Queues,
		"broadcast", c.d.Broadcast, "node", id, "address", addr, "error", err)
}

// untaken reports whether err says that the node surely did not take the copy.
func untaken(err error) bool {
	return stderrors.Is(err, errors.ErrRefused) || stderrors.Is(err, transport.ErrUnreachable)
}

// avoided remembers the addresses that failed lately, so that each message of
// a queue does not find out again that one of its nodes is gone.
type avoided struct {
	some  atomic.Bool
	mu    sync.Mutex
	until map[string]time.Time
}

func (a *avoided) add(addr string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	if a.until == nil {
		a.until = make(map[string]time.Time)
	}
	maps.DeleteFunc(a.until, func(_ string, t time.Time) bool { return now.After(t) })
	a.until[addr] = now.Add(avoidTime)
	a.some.Store(true)
}

func (a *avoided) has(addr string) bool {
	if !a.some.Load() {
		return false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	t, ok := a.until[addr]
	if ok && time.Now().After(t) {
		delete(a.until, addr)
		a.some.Store(len(a.until) > 0)
		return false
	}
	return ok
}
