package direct

import (
	"context"
	stderrors "errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/seed-9a4e2794/micro/broker"
	"github.com/seed-9a4e2794/micro/metadata"
)

// The bounds of one subscription.
const (
	maxRunning = 64       // handlers at the same time
	maxWaiting = 1024     // messages that wait for one
	maxBytes   = 64 << 20 // bodies of both; a single message may be larger
)

var errStillFull = fmt.Errorf("full for %v", acceptWait)

// subscription is one subscriber and its inbox.
type subscription struct {
	b       *Broker
	topic   string
	handler broker.Handler
	opts    broker.SubscribeOptions
	ctx     context.Context // the handlers'; ends when the subscription has ended
	cancel  context.CancelFunc
	done    chan struct{} // closed when nothing waits or runs any more
	full    gate

	record *record // guarded by Broker.mu; nil when it holds no reference

	// Guarded by fanout.mu.
	closed  bool
	queue   []*event
	running int
	bytes   int
}

// event is one message in this process, shared by all who get it.
type event struct {
	topic  string
	msg    *broker.Message
	header metadata.Header
}

func newEvent(topic string, m *broker.Message) *event {
	h := make(metadata.Header, 0, len(m.Header)+1)
	for k, v := range m.Header {
		h.Add(k, v)
	}
	slices.SortFunc(h, func(a, b metadata.Field) int {
		if c := strings.Compare(a.Key, b.Key); c != 0 {
			return c
		}
		return strings.Compare(a.Value, b.Value)
	})
	return &event{topic: topic, msg: m, header: h}
}

func (e *event) Topic() string            { return e.topic }
func (e *event) Message() *broker.Message { return e.msg }
func (e *event) Ack() error               { return nil }
func (e *event) Nack() error              { return nil }

func newSubscription(b *Broker, topic string, h broker.Handler, o broker.SubscribeOptions) *subscription {
	s := &subscription{b: b, topic: topic, handler: h, opts: o, done: make(chan struct{})}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

func (s *subscription) Options() broker.SubscribeOptions { return s.opts }
func (s *subscription) Topic() string                    { return s.topic }

// Unsubscribe takes the record out of the registry when no other subscription
// needs it, accepts nothing more, and waits until what was accepted has been
// handled. When ctx ends first, what still waits is dropped, the context of
// the handlers that run ends, and the error is that of ctx. A registry that
// could not be asked is an error as well: publishers are refused here until it
// has been.
func (s *subscription) Unsubscribe(ctx context.Context) error {
	s.b.mu.Lock()
	r := s.record
	s.record = nil
	s.b.mu.Unlock()
	var err error
	if r != nil && r.owner.release(r) {
		err = r.owner.settle(ctx, r)
	}
	f := s.b.local
	f.mu.Lock()
	f.endLocked(s)
	f.mu.Unlock()
	if err := stderrors.Join(err, s.wait(ctx)); err != nil {
		return fmt.Errorf("direct: unsubscribe from %q: %w", s.topic, err)
	}
	return nil
}

// wait waits until the subscription, which must be closed, has worked off what
// it accepted. When ctx ends it gives up what waits.
func (s *subscription) wait(ctx context.Context) error {
	select {
	case <-s.done:
		return nil
	default:
	}
	select {
	case <-s.done:
		return nil
	case <-ctx.Done():
	}
	f := s.b.local
	f.mu.Lock()
	dropped, running := len(s.queue), s.running
	s.queue = nil
	s.cancel()
	s.settleLocked()
	f.mu.Unlock()
	f.stats.dropped.Add(uint64(dropped))
	return fmt.Errorf("topic %q: %d messages dropped, %d handlers still run: %w", s.topic, dropped, running, ctx.Err())
}

// waitAll waits for each of subs and returns all errors.
func waitAll(ctx context.Context, subs []*subscription) error {
	var errs []error
	for _, s := range subs {
		errs = append(errs, s.wait(ctx))
	}
	return stderrors.Join(errs...)
}

func (s *subscription) roomLocked(size int) bool {
	if s.running == 0 && len(s.queue) == 0 {
		return true
	}
	return s.bytes+size <= maxBytes && (s.running < maxRunning || len(s.queue) < maxWaiting)
}

func (s *subscription) pushLocked(e *event) {
	s.b.stats.accepted.Add(1)
	s.bytes += len(e.msg.Body)
	if s.running < maxRunning {
		s.running++
		go s.work(e)
		return
	}
	s.queue = append(s.queue, e)
}

// settleLocked ends the subscription when it is closed and has nothing left.
func (s *subscription) settleLocked() {
	f := s.b.local
	if _, live := f.subs[s]; live && s.closed && s.running == 0 && len(s.queue) == 0 {
		delete(f.subs, s)
		s.cancel()
		close(s.done)
	}
}

// work handles e and then what waits. The subscription waits for it: it counts
// as running from before it is started until next says so.
func (s *subscription) work(e *event) {
	defer func() {
		if e != nil { // the handler ended the goroutine
			s.b.stats.failed.Add(1)
			if e = s.next(e); e != nil {
				go s.work(e)
			}
		}
	}()
	for e != nil {
		s.handle(e)
		e = s.next(e)
	}
}

// next gives up what e took and returns the next event. Nil is none: the
// worker is no longer counted.
func (s *subscription) next(e *event) *event {
	f := s.b.local
	f.mu.Lock()
	defer f.mu.Unlock()
	s.bytes -= len(e.msg.Body)
	f.wakeLocked()
	if len(s.queue) == 0 {
		s.running--
		s.settleLocked()
		return nil
	}
	n := s.queue[0]
	s.queue[0] = nil
	s.queue = s.queue[1:]
	return n
}

func (s *subscription) handle(e *event) {
	if s.ctx.Err() != nil { // given up between pushLocked and here
		s.b.stats.dropped.Add(1)
		return
	}
	defer func() {
		if p := recover(); p != nil {
			s.b.stats.panicked.Add(1)
			s.b.log.Error("direct: a handler panicked", "topic", s.topic, "queue", s.opts.Queue, "panic", p, "stack", string(debug.Stack()))
		}
	}()
	if err := s.handler(metadata.NewHeaderContext(s.ctx, e.header), e); err != nil {
		s.b.stats.failed.Add(1)
		s.b.log.Warn("direct: a handler failed; the message is not delivered again", "topic", s.topic, "queue", s.opts.Queue, "error", err)
	}
}
