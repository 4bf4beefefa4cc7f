package memory

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/seed-9a4e2794/micro/broker"
	"github.com/seed-9a4e2794/micro/metadata"
)

// The bounds of one subscription.
const (
	maxRunning = 64   // handlers at the same time
	maxWaiting = 1024 // messages that wait for one
)

// subscription is one subscriber and its inbox.
type subscription struct {
	b       *Broker
	topic   string
	handler broker.Handler
	opts    broker.SubscribeOptions
	log     *slog.Logger
	ctx     context.Context // the handlers'; ends when the subscription has ended
	cancel  context.CancelFunc
	done    chan struct{} // closed when nothing waits or runs any more

	// Guarded by bus.mu.
	closed  bool
	queue   []*event
	running int
}

// event is one message, shared by all who get it.
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

func (s *subscription) Options() broker.SubscribeOptions { return s.opts }
func (s *subscription) Topic() string                    { return s.topic }

// Unsubscribe takes no more messages and waits until those taken have been
// handled. When ctx ends first, what still waits is dropped, the context of
// the handlers that run ends, and the error is that of ctx.
func (s *subscription) Unsubscribe(ctx context.Context) error {
	s.b.bus.mu.Lock()
	s.b.bus.endLocked(s)
	s.b.bus.mu.Unlock()
	if err := s.wait(ctx); err != nil {
		return fmt.Errorf("memory: unsubscribe: %w", err)
	}
	return nil
}

// wait waits until the subscription, which must be closed, has worked off what
// it took. When ctx ends it gives up what waits.
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
	u := s.b.bus
	u.mu.Lock()
	defer u.mu.Unlock()
	dropped, running := len(s.queue), s.running
	s.queue = nil
	s.cancel()
	s.settleLocked()
	return fmt.Errorf("topic %q: %d messages dropped, %d handlers still run: %w", s.topic, dropped, running, ctx.Err())
}

// pushLocked takes e if there is room.
func (s *subscription) pushLocked(e *event) bool {
	switch {
	case s.running < maxRunning:
		s.running++
		go s.work(e)
	case len(s.queue) < maxWaiting:
		s.queue = append(s.queue, e)
	default:
		return false
	}
	return true
}

// settleLocked ends the subscription when it is closed and has nothing left.
func (s *subscription) settleLocked() {
	if _, live := s.b.subs[s]; live && s.closed && s.running == 0 && len(s.queue) == 0 {
		delete(s.b.subs, s)
		s.cancel()
		close(s.done)
	}
}

// work handles e and then what waits. The subscription waits for it: it counts
// as running from before it is started until next says so.
func (s *subscription) work(e *event) {
	defer func() {
		if e != nil { // the handler ended the goroutine
			if e = s.next(); e != nil {
				go s.work(e)
			}
		}
	}()
	for e != nil {
		s.handle(e)
		e = s.next()
	}
}

// next returns the next event. Nil is none: the worker is no longer counted.
func (s *subscription) next() *event {
	u := s.b.bus
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(s.queue) == 0 {
		s.running--
		s.settleLocked()
		u.wakeLocked()
		return nil
	}
	e := s.queue[0]
	s.queue[0] = nil
	s.queue = s.queue[1:]
	u.wakeLocked()
	return e
}

func (s *subscription) handle(e *event) {
	if s.ctx.Err() != nil { // given up between pushLocked and here
		return
	}
	defer func() {
		if p := recover(); p != nil {
			s.log.Error("memory: a handler panicked", "topic", s.topic, "queue", s.opts.Queue, "panic", p, "stack", string(debug.Stack()))
		}
	}()
	if err := s.handler(metadata.NewHeaderContext(s.ctx, e.header), e); err != nil {
		s.log.Warn("memory: a handler failed; the message is not delivered again", "topic", s.topic, "queue", s.opts.Queue, "error", err)
	}
}
