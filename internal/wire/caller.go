package wire

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-9a4e2794/micro/errors"
	"github.com/seed-9a4e2794/micro/metadata"
	"github.com/seed-9a4e2794/micro/transport"
)

// callerId is the Id of errors that the calling side makes.
const callerId = "go.micro.client.transport"

// Caller is the calling side of a connection. It implements transport.Conn.
type Caller struct {
	session
	base  time.Time // deadlines are counted from here
	names atomic.Pointer[map[transport.Method]uint32]

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

// number returns the number of a method, naming it to the peer at first use.
func (c *Caller) number(m transport.Method) (uint32, error) {
	if names := c.names.Load(); names != nil {
		if n, ok := (*names)[m]; ok {
			return n, nil
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	old := c.names.Load()
	if old != nil {
		if n, ok := (*old)[m]; ok {
			return n, nil
		}
	}
	size := 1 + binary.MaxVarintLen32 + len(m.Service) + len(m.Endpoint)
	switch {
	case size > maxNameLen:
		return 0, errors.Refuse(callerId, errors.CodeInvalidArgument, "the names %.40q and %.40q are longer than %d bytes together", m.Service, m.Endpoint, maxNameLen)
	case old != nil && len(*old) >= maxNames:
		return 0, errors.Refuse(callerId, errors.CodeResourceExhausted, "%d method names are in use on the connection to %s", maxNames, c.peer.Remote)
	}
	names := make(map[transport.Method]uint32)
	if old != nil {
		for k, v := range *old {
			names[k] = v
		}
	}
	n := uint32(len(names) + 1)
	names[m] = n
	payload := make([]byte, 1, size)
	if m.Strict {
		payload[0] = 1
	}
	payload = binary.AppendUvarint(payload, uint64(len(m.Service)))
	payload = append(payload, m.Service...)
	payload = append(payload, m.Endpoint...)
	// Held until the first frame that uses the number goes out behind it.
	c.w.hold(appendFrame(nil, header{typ: typeName, aux: n}, string(payload)))
	c.names.Store(&names)
	return n, nil
}

// Call makes a unary call; see transport.Conn.
func (c *Caller) Call(ctx context.Context, r transport.Request) (transport.Reply, error) {
	deadline, err := c.deadline(ctx, r.Deadline)
	if err != nil {
		return transport.Reply{}, err
	}
	number, err := c.number(r.Method)
	if err != nil {
		return transport.Reply{}, err
	}
	b, h, err := c.encodeRequest(header{typ: typeReq, aux: number}, r, deadline)
	if err != nil {
		return transport.Reply{}, err
	}
	s, err := c.take(deadline)
	if err != nil {
		b.Release()
		return transport.Reply{}, err
	}
	h.call = s.id()
	h.put(b.b)
	if err := c.w.send(ctx, deadline, b); err != nil {
		return transport.Reply{}, c.unsent(s, err)
	}
	if done := ctx.Done(); done == nil {
		<-s.ready
	} else {
		select {
		case <-s.ready:
		case <-done:
			if c.abandon(s) {
				c.cancel(s)
				return transport.Reply{}, errors.Wrap(callerId, contextCode(ctx.Err()), ctx.Err())
			}
			<-s.ready
		}
	}
	return c.outcome(s)
}

// deadline returns the earlier of a request's and its context's deadline, and
// an error if there is no time left.
func (c *Caller) deadline(ctx context.Context, d time.Time) (time.Time, error) {
	if err := ctx.Err(); err != nil {
		return d, errors.Wrap(callerId, contextCode(err), err)
	}
	if cd, ok := ctx.Deadline(); ok && (d.IsZero() || cd.Before(d)) {
		d = cd
	}
	return d, nil
}

func contextCode(err error) errors.Code {
	if err == context.Canceled {
		return errors.CodeCanceled
	}
	return errors.CodeDeadlineExceeded
}

// encodeRequest makes the frame of a REQ, or of an OPEN, which has no body.
// The header stands in the buffer without the call's id.
func (c *Caller) encodeRequest(h header, r transport.Request, deadline time.Time) (*buffer, header, error) {
	ctype := ""
	if r.Message.Codec != nil {
		ctype = r.Message.Codec.Name()
		if h.codec = codecNumber(ctype); h.codec != 0 {
			ctype = ""
		}
		if h.typ == typeOpen {
			h.codec = 0 // each message has its own; only a name without a number goes ahead
		}
	}
	size := headerLen + 512
	if len(r.Header) > 0 {
		if size += metaSize(r.Header); size > int(c.theirs.maxMeta)+headerLen+512 {
			return nil, h, errors.Refuse(callerId, errors.CodeResourceExhausted, "the metadata of the call is about %d bytes; %s takes %d", size, c.peer.Remote, c.theirs.maxMeta)
		}
	}
	b := newBuffer(size)
	b.b = b.b[:headerLen]
	if !deadline.IsZero() {
		left := time.Until(deadline)
		if left <= 0 {
			b.Release()
			return nil, h, errors.Wrap(callerId, errors.CodeDeadlineExceeded, context.DeadlineExceeded)
		}
		h.flags |= flagTimeout
		b.b = appendTimeout(b.b, left)
	}
	if len(r.Header) > 0 || ctype != "" {
		h.flags |= flagMeta
		b.b = appendMeta(b.b, r.Header, ctype)
	}
	if h.typ == typeReq && r.Message.Codec != nil {
		head := len(b.b)
		var err error
		if b.b, err = r.Message.Codec.Append(b.b, r.Message.Value); err != nil {
			b.Release()
			return nil, h, errors.Wrap(callerId, errors.CodeInvalidArgument, err)
		}
		if n := len(b.b) - head; n > int(c.theirs.maxMessage) {
			b.Release()
			return nil, h, tooLarge(callerId, "request", n, int(c.theirs.maxMessage))
		}
	}
	h.length = uint32(len(b.b) - headerLen)
	h.put(b.b)
	return b, h, nil
}

// tooLarge is the error for a message over a limit. It was not sent.
func tooLarge(id, what string, n, limit int) error {
	e := errors.Wrap(id, errors.CodeResourceExhausted, fmt.Errorf("%w: the %s is %d bytes, the limit is %d", transport.ErrTooLarge, what, n, limit))
	return e
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

// unsent ends a call whose request was not sent.
func (c *Caller) unsent(s *slot, err error) error {
	if !c.abandon(s) {
		<-s.ready
		if s.body != nil {
			s.body.Release()
		}
	}
	c.give(s)
	if err == context.Canceled || err == context.DeadlineExceeded {
		return errors.Wrap(callerId, contextCode(err), fmt.Errorf("%w: the connection to %s takes nothing", err, c.peer.Remote))
	}
	return errors.Refuse(callerId, errors.CodeUnavailable, "the connection to %s has ended: %v", c.peer.Remote, err)
}

// outcome takes the outcome of a call whose token has been received.
func (c *Caller) outcome(s *slot) (transport.Reply, error) {
	h, body, err := s.h, s.body, s.err
	if err != nil {
		if err == context.DeadlineExceeded {
			c.cancel(s)
			return transport.Reply{}, errors.Wrap(callerId, errors.CodeDeadlineExceeded, err)
		}
		c.give(s)
		return transport.Reply{}, callError(err)
	}
	c.give(s)
	return c.reply(h, body)
}

// callError makes an *errors.Error of what ended a call.
func callError(err error) error {
	if e, ok := err.(*errors.Error); ok {
		return e
	}
	return errors.Wrap(callerId, errors.CodeUnavailable, err)
}

// reply takes an RSP apart.
func (c *Caller) reply(h header, b *buffer) (transport.Reply, error) {
	var payload []byte
	var owner transport.Releaser
	if b != nil {
		payload, owner = b.b, b
	}
	if h.aux == 0 && h.flags&(flagMeta|flagTrailer) == 0 {
		return transport.Reply{Body: transport.NewBody(payload, contentType(h.codec), owner)}, nil
	}
	r, err := parseResponse(h, payload)
	reply := transport.Reply{Header: r.header, Trailer: r.trailer}
	switch {
	case err != nil:
		err = errors.Wrap(callerId, errors.CodeInternal, err)
	case h.aux != 0:
		err = parseError(h, r.body)
	default:
		reply.Body = transport.NewBody(r.body, bodyType(h.codec, r.header), owner)
		return reply, nil
	}
	if b != nil {
		b.Release()
	}
	return reply, err
}

// bodyType returns the content type of a body.
func bodyType(number byte, h metadata.Header) string {
	if number != 0 {
		return contentType(number)
	}
	t, _ := h.Get(contentTypeKey)
	return t
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

// sweepTimer ends calls at their deadlines: one timer a connection, set to the
// earliest. As most calls have the same timeout, it is rarely moved, and the
// slots are looked through about once a timeout, whatever the rate of calls.
// All of it belongs to the caller's lock.
type sweepTimer struct {
	timer     *time.Timer
	at        int64 // when the timer fires, from the caller's base; 0 is not set
	lastHeard int64 // when a look last found that something had come
	pinged    int64 // when a PING was sent that has not been answered; 0 is none
}

func (t *sweepTimer) stop() {
	if t.timer != nil {
		t.timer.Stop()
	}
	t.at = 0
}

// sweepGap is the least time between two looks through the slots.
const sweepGap = int64(time.Millisecond)

// arm makes sure that the timer fires by then. The lock is held.
func (c *Caller) arm(then int64) {
	if c.at != 0 && c.at <= then {
		return
	}
	c.at = then
	wait := time.Duration(then) - time.Since(c.base)
	if c.timer == nil {
		c.timer = time.AfterFunc(wait, c.sweep)
	} else {
		c.timer.Reset(wait)
	}
}

// watch sees to it that silence is noticed while calls are under way. The lock
// is held.
func (c *Caller) watch() {
	c.lastHeard = int64(time.Since(c.base))
	c.arm(c.lastHeard + int64(c.cfg.KeepAlive))
}

func (c *Caller) sweep() {
	now := int64(time.Since(c.base))
	var late []*slot
	next := int64(math.MaxInt64)
	c.mu.Lock()
	if c.at == 0 {
		c.mu.Unlock()
		return // stopped
	}
	c.at = 0
	for _, s := range c.slots {
		switch {
		case !s.waiting || s.deadline == 0:
		case s.deadline <= now:
			s.waiting = false
			s.err, s.body = context.DeadlineExceeded, nil
			late = append(late, s)
		default:
			next = min(next, s.deadline)
		}
	}
	ping, dead := c.silence(now)
	if c.live > 0 && c.why == nil {
		next = min(next, now+int64(c.cfg.KeepAlive))
	}
	if next != math.MaxInt64 {
		c.arm(max(next, now+sweepGap))
	}
	c.mu.Unlock()
	for _, s := range late {
		c.tell(s)
	}
	if dead {
		c.end(c, fmt.Errorf("nothing was heard for %v, and a PING was not answered", 2*c.cfg.KeepAlive))
	} else if ping {
		_ = c.control(header{typ: typePing}) // fails only when the connection has ended
	}
}

// silence says whether to ask the peer if it is there, or to give it up. The
// lock is held.
func (c *Caller) silence(now int64) (ping, dead bool) {
	if c.r.heard.Swap(false) || c.live == 0 {
		c.pinged = 0
		c.lastHeard = now
		return false, false
	}
	quiet := int64(c.cfg.KeepAlive)
	switch {
	case c.pinged == 0 && now-c.lastHeard >= quiet:
		c.pinged = now
		return true, false
	case c.pinged != 0 && now-c.pinged >= quiet:
		if c.w.working() { // the PING may still be behind other frames; the stall timeout watches over these
			c.pinged = now
			return false, false
		}
		return false, true
	}
	return false, false
}
