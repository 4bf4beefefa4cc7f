package wire

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/seed-9a4e2794/micro/errors"
	"github.com/seed-9a4e2794/micro/transport"
)

// callerId is the Id of errors that the calling side makes.
const callerId = "go.micro.client.transport"

// Caller is the calling side of a connection. It implements transport.Conn.
type Caller struct {
	session
	base  time.Time // deadlines are counted from here
	names methods

	mu    sync.Mutex
	slots []*slot
	free  []uint16 // the last is the next to use
	live  int
	why   error // why no new calls are made; nil while they are
	over  bool  // the connection has ended
	sweepTimer
}

var _ transport.Conn = (*Caller)(nil)

// slot is a place for one call at a time. Whoever sets waiting to false, under
// the caller's lock, owes the waiting goroutine one token in ready.
type slot struct {
	index    uint16
	gen      uint16
	waiting  bool
	deadline int64 // nanoseconds from the caller's base; 0 is none
	ready    chan struct{}
	stream   *stream // not nil while the slot is a stream's
	opening  bool    // the stream's OPEN has not been sent
	early    bool    // the stream was given up before that

	// The outcome, the waiting goroutine's once it has the token.
	h    header
	body *buffer
	err  error
}

func (s *slot) id() uint32 { return uint32(s.gen)<<16 | uint32(s.index) }

// NewCaller begins a session as its caller on conn, which it takes over. It
// waits for the peer's greeting until ctx ends.
func NewCaller(ctx context.Context, conn net.Conn, cfg Config) (*Caller, error) {
	cfg = cfg.withDefaults()
	c := &Caller{base: time.Now()}
	c.init(conn, &cfg, "micro", c)
	c.hello()
	if err := c.flushHello(); err != nil {
		c.end(c, err)
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { c.end(c, context.Cause(ctx)) })
	timer := time.AfterFunc(cfg.HelloTimeout, func() { c.end(c, errHello) })
	err := c.awaitHello()
	late := !stop()
	if !timer.Stop() {
		late = true
	}
	if err != nil || late {
		if err == nil {
			err = ctx.Err()
		}
		c.end(c, err)
		if late {
			err = c.endErr
		}
		c.group.Wait()
		c.r.drop()
		return nil, err
	}
	c.group.Go(func() { c.read(c) })
	return c, nil
}

var errHello = fmt.Errorf("the peer did not answer the greeting in time: it may not speak the native wire")

// Local returns the connection's own address.
func (c *Caller) Local() string { return c.peer.Local }

// Remote returns the peer's address.
func (c *Caller) Remote() string { return c.peer.Remote }

// Err returns why no new calls can be made, nil while they can.
func (c *Caller) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.why
}

// Close ends the session and its calls, and waits for its goroutines.
func (c *Caller) Close() error {
	c.end(c, transport.ErrClosed)
	c.group.Wait()
	return nil
}

// take takes a free slot for a call that waits until deadline.
func (c *Caller) take(deadline time.Time) (*slot, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.why != nil {
		return nil, &errors.Error{Id: callerId, Code: 503, Status: "Service Unavailable", Exact: errors.CodeUnavailable, Refused: true,
			Detail: fmt.Sprintf("the connection to %s takes no more calls: %v", c.peer.Remote, c.why)}
	}
	var s *slot
	switch n := len(c.free); {
	case n > 0:
		s = c.slots[c.free[n-1]]
		c.free = c.free[:n-1]
	case len(c.slots) < int(c.theirs.maxCalls):
		s = &slot{index: uint16(len(c.slots)), ready: make(chan struct{}, 1)}
		c.slots = append(c.slots, s)
	default:
		return nil, errors.Refuse(callerId, errors.CodeResourceExhausted, "%d calls are under way on the connection to %s, which takes no more", len(c.slots), c.peer.Remote)
	}
	s.waiting, s.err, s.body = true, nil, nil
	s.deadline = 0
	if !deadline.IsZero() {
		s.deadline = max(int64(deadline.Sub(c.base)), 1)
		c.arm(s.deadline)
	}
	c.live++
	c.w.calls.Store(int32(c.live))
	if c.live == 1 {
		c.watch()
	}
	return s, nil
}

// give makes a slot free again.
func (c *Caller) give(s *slot) {
	c.mu.Lock()
	s.gen++
	s.stream, s.opening, s.early = nil, false, false
	c.free = append(c.free, s.index)
	c.live--
	c.w.calls.Store(int32(c.live))
	last := c.live == 0 && c.why != nil && !c.over
	c.mu.Unlock()
	if last { // the peer has gone away and this was the last it was to finish
		c.end(c, c.why)
	}
}

// abandon gives up waiting. It reports false when the outcome is already on
// its way and the token has to be taken.
func (c *Caller) abandon(s *slot) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !s.waiting {
		return false
	}
	s.waiting = false
	return true
}

// cancel tells the peer that a call has been given up, and frees its slot.
// While a stream's OPEN is still to be sent that is left to Open: a CANCEL
// must not overtake it.
func (c *Caller) cancel(s *slot) {
	c.mu.Lock()
	s.early = s.opening
	early := s.early
	c.mu.Unlock()
	if early {
		return
	}
	// If this fails the connection has ended, and the call with it.
	_ = c.control(header{typ: typeCancel, call: s.id()})
	c.give(s)
}

// limit implements handler.
func (c *Caller) limit(h header) (int, bool) {
	switch h.typ {
	case typeRsp:
		return c.cfg.MaxMessage + 2*(c.cfg.MaxMeta+sectionLen), true
	case typeHead:
		return c.cfg.MaxMeta + sectionLen, false
	case typeData:
		return quantum, false
	case typeGoAway:
		return maxGoAwayText, false
	}
	if h.typ >= typeIgnorable {
		return quantum, true
	}
	return 0, false
}

// skipped implements handler: a reply was too long.
func (c *Caller) skipped(h header) error {
	if h.typ == typeRsp {
		c.deliver(h, nil, nil, tooLarge(callerId, "reply", int(h.length), c.cfg.MaxMessage))
	}
	return nil
}

// frame implements handler.
func (c *Caller) frame(h header, payload []byte, own *buffer) error {
	switch h.typ {
	case typeRsp:
		c.deliver(h, payload, own, nil)
		return nil
	case typeHead, typeData, typeWindow:
		return c.streamFrame(h, payload, own)
	case typeGoAway:
		return c.wentAway(h, payload)
	}
	return protocolErrorf("frame of type %d from a listener", h.typ)
}

// deliver hands an RSP, or the error that stands for it, to its call.
func (c *Caller) deliver(h header, payload []byte, own *buffer, err error) {
	if own == nil && len(payload) > 0 {
		own = newBuffer(len(payload))
		own.b = append(own.b, payload...)
	}
	c.mu.Lock()
	s := c.find(h.call)
	if s == nil || !s.waiting {
		c.mu.Unlock()
		if own != nil {
			own.Release()
		}
		return
	}
	if err == nil && s.deadline != 0 && int64(c.r.began.Sub(c.base)) >= s.deadline {
		// It came too late, whether or not the timer has noticed yet.
		if own != nil {
			own.Release()
		}
		own, err = nil, context.DeadlineExceeded
	}
	if st := s.stream; st != nil {
		s.waiting = false
		c.mu.Unlock()
		c.streamEnded(s, st, h, own, err)
		return
	}
	s.waiting = false
	s.h, s.body, s.err = h, own, err
	c.mu.Unlock()
	s.ready <- struct{}{}
}

// find returns the slot of a call that is under way. The lock is held.
func (c *Caller) find(id uint32) *slot {
	index := int(id & (maxSlots - 1))
	if index >= len(c.slots) || c.slots[index].gen != uint16(id>>16) {
		return nil
	}
	return c.slots[index]
}

// wentAway handles a GOAWAY.
func (c *Caller) wentAway(h header, text []byte) error {
	if h.aux == goAwayProtocol || h.aux == goAwayVersion {
		return fmt.Errorf("the peer ended the connection: %s", text)
	}
	c.mu.Lock()
	if c.why == nil {
		c.why = fmt.Errorf("the peer is going away: %s", text)
	}
	last := c.live == 0
	c.mu.Unlock()
	if last {
		return c.why
	}
	return nil
}

// lost implements handler: every call that waits is told.
func (c *Caller) lost(err error) {
	err = fmt.Errorf("%w: %s: %w", transport.ErrLost, c.peer.Remote, err)
	c.mu.Lock()
	c.over = true
	if c.why == nil {
		c.why = err
	}
	c.sweepTimer.stop()
	var told []*slot
	for _, s := range c.slots {
		if s.waiting {
			s.waiting = false
			s.err, s.body = err, nil
			told = append(told, s)
		}
	}
	c.mu.Unlock()
	for _, s := range told {
		c.tell(s)
	}
}

// tell passes on an error that has been put into a slot.
func (c *Caller) tell(s *slot) {
	if st := s.stream; st != nil {
		c.streamEnded(s, st, header{}, nil, s.err)
		return
	}
	s.ready <- struct{}{}
}
