// Package brokertest checks that a broker keeps the contract of package broker
// and what it promises beyond it. Every backend runs it.
//
// Brokers of one group publish to each other as processes do: Harness.New
// makes as many as a case needs.
package brokertest

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-9a4e2794/micro/broker"
)

// Promise is what a backend claims beyond the contract.
type Promise struct {
	// AtLeastOnce: an event that a handler refuses, by an error, a panic or
	// Nack, is delivered again. Otherwise it is not: each handler has each
	// event at most once.
	AtLeastOnce bool
	// Ordered: a subscription gets the messages of one publisher one after the
	// other, in the order in which Publish was called.
	Ordered bool
	// CountsSubscribers: Publish with RequireSubscriber tells whether anybody
	// got the message. Backends whose server does not say so leave it false.
	CountsSubscribers bool
	// MaxBody is the largest body that must pass, in bytes. Zero is 1 MiB.
	MaxBody int
}

// Harness makes the brokers of one group for one case.
type Harness struct {
	// New returns another broker of the group, not connected. The case
	// disconnects it; what else it needs New gives back through t.Cleanup.
	New func(t *testing.T) broker.Broker
}

// timeout bounds every wait of a case; pause is how long a case waits for what
// must not happen.
const (
	timeout = 20 * time.Second
	pause   = 50 * time.Millisecond
)

// Run runs every case as a subtest. open is called once for each; topics are
// different in each case, so that a group may outlive one.
func Run(t *testing.T, open func(t *testing.T) Harness, p Promise) {
	each(t, p, func(t *testing.T, c testCase) { c.play(t, open, p) })
}

// RunInBubbles is Run with each case in a testing/synctest bubble, for
// backends that use neither sockets nor files.
func RunInBubbles(t *testing.T, open func(t *testing.T) Harness, p Promise) {
	each(t, p, func(t *testing.T, c testCase) {
		synctest.Test(t, func(t *testing.T) { c.play(t, open, p) })
	})
}

func each(t *testing.T, p Promise, play func(t *testing.T, c testCase)) {
	for _, c := range cases() {
		if c.when != nil && !c.when(p) {
			continue
		}
		t.Run(c.name, func(t *testing.T) { play(t, c) })
	}
}

// testCase checks one rule.
type testCase struct {
	name string
	rule string // what a broker must do, printed when it does not
	when func(Promise) bool
	run  func(e *env)
}

func (c testCase) play(t *testing.T, open func(t *testing.T) Harness, p Promise) {
	t.Helper()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the rule: %s", c.rule)
		}
	})
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	t.Cleanup(cancel)
	if p.MaxBody == 0 {
		p.MaxBody = 1 << 20
	}
	e := &env{T: t, ctx: ctx, promise: p, topic: "brokertest." + c.name, bell: make(chan struct{}, 1)}
	e.harness = open(t)
	c.run(e)
}

// env is what a case works with.
type env struct {
	*testing.T
	ctx     context.Context
	promise Promise
	topic   string
	harness Harness
	bell    chan struct{} // rung by recorders
}

// raw returns a broker that is not connected and is disconnected in the end.
func (e *env) raw() broker.Broker {
	e.Helper()
	b := e.harness.New(e.T)
	e.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), timeout)
		defer cancel()
		if err := b.Disconnect(ctx); err != nil && !e.Failed() {
			e.Errorf("Disconnect at the end of the case: %v", err)
		}
	})
	return b
}

// connected returns a broker that is connected.
func (e *env) connected() broker.Broker {
	e.Helper()
	b := e.raw()
	e.connect(b)
	return b
}

func (e *env) connect(b broker.Broker) {
	e.Helper()
	if err := b.Connect(e.ctx); err != nil {
		e.Fatalf("Connect: %v", err)
	}
}

// disconnect ends brokers, after which no handler runs any more.
func (e *env) disconnect(bs ...broker.Broker) {
	e.Helper()
	for _, b := range bs {
		if err := b.Disconnect(e.ctx); err != nil {
			e.Fatalf("Disconnect: %v", err)
		}
	}
}

func (e *env) subscribe(b broker.Broker, topic string, h broker.Handler, opts ...broker.SubscribeOption) broker.Subscriber {
	e.Helper()
	s, err := b.Subscribe(e.ctx, topic, h, opts...)
	if err != nil {
		e.Fatalf("Subscribe to %q: %v", topic, err)
	}
	return s
}

func (e *env) publish(b broker.Broker, topic string, m *broker.Message, opts ...broker.PublishOption) {
	e.Helper()
	if err := b.Publish(e.ctx, topic, m, opts...); err != nil {
		e.Fatalf("Publish to %q: %v", topic, err)
	}
}

// publishN publishes the messages "from" to "from+n-1", told apart by body.
func (e *env) publishN(b broker.Broker, topic string, from, n int) {
	e.Helper()
	for i := range n {
		e.publish(b, topic, message(from+i))
	}
}

func message(i int) *broker.Message {
	return &broker.Message{Header: map[string]string{"Content-Type": "text/plain"}, Body: fmt.Appendf(nil, "message %d", i)}
}

// wait waits for a channel that must deliver or be closed.
func wait[T any](e *env, c <-chan T, what string) T {
	e.Helper()
	select {
	case v := <-c:
		return v
	case <-e.ctx.Done():
		e.Fatalf("waited %v for %s", timeout, what)
		panic("unreachable")
	}
}

// afterPause delivers when what must not happen has had its time to happen.
func afterPause() <-chan time.Time { return time.After(pause) }

// warm publishes probes until every recorder has had one from every publisher:
// a subscription made in one process is known in another only after a while.
func (e *env) warm(topic string, publishers []broker.Broker, rs ...*recorder) {
	e.Helper()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for i, b := range publishers {
		id := fmt.Sprint(i)
		for {
			e.publish(b, topic, &broker.Message{Header: map[string]string{probeHeader: id}, Body: []byte("probe")})
			missing := 0
			for _, r := range rs {
				if !r.probed(id) {
					missing++
				}
			}
			if missing == 0 {
				break
			}
			select {
			case <-ticker.C:
			case <-e.ctx.Done():
				e.Fatalf("after %v %d of %d subscribers have had no message of publisher %d", timeout, missing, len(rs), i)
			}
		}
	}
}
