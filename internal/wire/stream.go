package wire

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/seed-9a4e2794/micro/errors"
	"github.com/seed-9a4e2794/micro/metadata"
	"github.com/seed-9a4e2794/micro/transport"
)

// stream is one call as a transport.Socket, on either side.
type stream struct {
	s      *session
	id     uint32
	call   *call   // at the listener, else nil
	caller *Caller // at the caller, else nil
	method transport.Method
	unary  bool
	ctx    context.Context

	sendMu sync.Mutex // one message at a time
	mu     sync.Mutex

	// Receiving. What is in the inbox and in part has been paid for with
	// credit and is given back when it is taken, or joined to a part.
	inbox []inbound
	first int     // of the inbox
	part  *buffer // the message whose end has not come
	// partCost is what of part has not been given back: credit for parts is
	// given only while no whole message waits, or large messages that nobody
	// takes would each bring the credit for the next.
	partCost int
	owed     int   // credit to give back
	granted  int   // credit the peer has
	recvErr  error // what Recv returns when the inbox is empty
	head     metadata.Header
	headed   chan struct{} // closed when head is known, at the caller
	hasHead  bool
	trail    metadata.Header
	news     chan struct{} // a token when there is something for Recv

	// Sending.
	credit   int
	closed   bool // this side sends no more
	finished bool
	sentHead bool
	room     chan struct{} // a token when there is credit again
	drop     func()        // ends ctx, at the caller
}

// inbound is a received message.
type inbound struct {
	b     *buffer // nil: an empty message
	codec byte
	cost  int
}

var _ transport.Socket = (*stream)(nil)

// newStream returns the listener's side of a stream.
func newStream(s *session, id uint32, k *call) *stream {
	return &stream{s: s, id: id, call: k, method: k.method.Method, ctx: k, credit: int(s.theirs.window), granted: s.cfg.Window,
		news: make(chan struct{}, 1), room: make(chan struct{}, 1)}
}

// preload makes the stream that of a unary call whose request has come.
func (st *stream) preload(codec byte, body []byte) {
	st.unary = true
	b := newBuffer(len(body))
	b.b = append(b.b, body...)
	st.inbox = append(st.inbox, inbound{b: b, codec: codec})
	st.recvErr = io.EOF
}

// Open starts a stream; see transport.Conn.
func (c *Caller) Open(ctx context.Context, r transport.Request) (transport.Socket, error) {
	deadline, err := c.deadline(ctx, r.Deadline)
	if err != nil {
		return nil, err
	}
	number, err := c.number(r.Method)
	if err != nil {
		return nil, err
	}
	r.Message.Value = nil
	b, h, err := c.encodeRequest(header{typ: typeOpen, aux: number}, r, deadline)
	if err != nil {
		return nil, err
	}
	s, err := c.take(deadline)
	if err != nil {
		b.Release()
		return nil, err
	}
	st := &stream{s: &c.session, id: s.id(), caller: c, method: r.Method, credit: int(c.theirs.window), granted: c.cfg.Window,
		news: make(chan struct{}, 1), room: make(chan struct{}, 1), headed: make(chan struct{})}
	var drop context.CancelFunc
	if deadline.IsZero() {
		st.ctx, drop = context.WithCancel(ctx)
	} else {
		st.ctx, drop = context.WithDeadline(ctx, deadline)
	}
	stop := context.AfterFunc(ctx, func() { st.giveUp(contextCode(ctx.Err()), ctx.Err()) })
	st.drop = func() { stop(); drop() }
	c.mu.Lock()
	if !s.waiting { // the connection ended, or the deadline passed, in between
		c.mu.Unlock()
		<-s.ready
		b.Release()
		st.drop()
		reply, err := c.outcome(s)
		if err == nil {
			reply.Body.Release()
			err = errors.NewCode(callerId, errors.CodeInternal, "%s answered a call before it was made", c.peer.Remote)
		}
		return nil, err
	}
	s.stream, s.opening = st, true
	c.mu.Unlock()
	h.call = st.id
	h.put(b.b)
	err = c.w.send(ctx, deadline, b)
	ours, early := c.opened(s, st, err == nil)
	if err != nil {
		if ours {
			c.give(s)
		}
		st.drop()
		if err == context.Canceled || err == context.DeadlineExceeded {
			return nil, errors.Wrap(callerId, contextCode(err), err)
		}
		return nil, errors.Refuse(callerId, errors.CodeUnavailable, "the connection to %s has ended: %v", c.peer.Remote, err)
	}
	if early {
		c.cancel(s)
	}
	if err := ctx.Err(); err != nil { // it may have ended before the slot was the stream's
		st.giveUp(contextCode(err), err)
	}
	return st, nil
}

// opened notes that a stream's OPEN has been sent, or could not be: then
// nobody else ends the stream any more. ours reports whether the slot is still
// the stream's to give, early whether the stream was given up meanwhile.
func (c *Caller) opened(s *slot, st *stream, sent bool) (ours, early bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.stream != st {
		return false, false // it has ended, and its slot may be another's
	}
	early = s.early
	ours = early || s.waiting
	s.opening, s.early = false, false
	if !sent {
		s.waiting = false
	}
	return ours, early
}

// Context implements transport.Socket.
func (st *stream) Context() context.Context { return st.ctx }

// Method implements transport.Socket.
func (st *stream) Method() transport.Method { return st.method }

// Unary implements transport.Socket.
func (st *stream) Unary() bool { return st.unary }

// Local implements transport.Socket.
func (st *stream) Local() string { return st.s.peer.Local }

// Remote implements transport.Socket.
func (st *stream) Remote() string { return st.s.peer.Remote }

// Send implements transport.Socket.
func (st *stream) Send(m transport.Message) error {
	if st.unary {
		return stderr("a unary call is answered with Finish")
	}
	if m.Codec == nil {
		return stderr("a message to send needs a codec")
	}
	st.sendMu.Lock()
	defer st.sendMu.Unlock()
	st.mu.Lock()
	closed := st.closed
	st.mu.Unlock()
	if closed {
		return st.closedError()
	}
	if st.call != nil {
		if err := st.sendHead(m.Codec.Name()); err != nil {
			return err
		}
	}
	b := newBuffer(headerLen + 512)
	var err error
	if b.b, err = appendValue(b.b[:headerLen], m); err != nil {
		b.Release()
		return errors.Wrap(st.side(), errors.CodeInvalidArgument, err)
	}
	if n, limit := len(b.b)-headerLen, int(st.s.theirs.maxMessage); n > limit {
		b.Release()
		return tooLarge(st.side(), "message", n, limit)
	}
	return st.sendData(b, codecNumber(m.Codec.Name()))
}

// sendData sends the message in b, which it takes over, in as many frames as
// it needs and as there comes credit for.
func (st *stream) sendData(b *buffer, codec byte) error {
	h := header{typ: typeData, codec: codec, call: st.id}
	rest := b.b[headerLen:]
	for len(rest) > quantum {
		part := newBuffer(headerLen + quantum)
		part.b = append(part.b[:headerLen], rest[:quantum]...)
		rest = rest[quantum:]
		h.flags, h.length = flagMore, quantum
		h.put(part.b)
		if err := st.pay(headerLen + quantum); err != nil {
			part.Release()
			b.Release()
			return err
		}
		if err := st.s.w.send(st.ctx, time.Time{}, part); err != nil {
			b.Release()
			return st.sendError(err)
		}
	}
	if err := st.pay(headerLen + len(rest)); err != nil {
		b.Release()
		return err
	}
	h.flags, h.length = 0, uint32(len(rest))
	if len(rest) == len(b.b)-headerLen {
		h.put(b.b)
	} else {
		last := newBuffer(headerLen + len(rest))
		last.b = append(last.b[:headerLen], rest...)
		b.Release()
		b = last
		h.put(b.b)
	}
	if err := st.s.w.send(st.ctx, time.Time{}, b); err != nil {
		return st.sendError(err)
	}
	return nil
}

// pay waits for credit and takes n of it, by which it may fall below zero.
func (st *stream) pay(n int) error {
	for {
		st.mu.Lock()
		switch {
		case st.closed:
			st.mu.Unlock()
			return st.closedError()
		case st.credit > 0:
			st.credit -= n
			st.mu.Unlock()
			return nil
		}
		st.mu.Unlock()
		select {
		case <-st.room:
		case <-st.ctx.Done():
			return st.sendError(st.ctx.Err())
		}
	}
}

// closedError says why nothing can be sent any more.
func (st *stream) closedError() error {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.recvErr != nil && st.caller != nil {
		return io.EOF // the call has ended; Recv says how
	}
	return stderr("the sending side of the stream is closed")
}

func (st *stream) sendError(err error) error {
	if st.caller != nil {
		st.mu.Lock()
		ended := st.recvErr != nil
		st.mu.Unlock()
		if ended {
			return io.EOF // Recv says how
		}
	}
	if err == context.Canceled || err == context.DeadlineExceeded {
		return errors.Wrap(st.side(), contextCode(err), err)
	}
	return errors.Wrap(st.side(), errors.CodeUnavailable, fmt.Errorf("%w: %w", transport.ErrLost, err))
}

func (st *stream) side() string {
	if st.call != nil {
		return listenerId
	}
	return callerId
}

func stderr(text string) error { return fmt.Errorf("stream: %s", text) }

// sendHead sends the reply's header before the first message. A content type
// without a number travels there too.
func (st *stream) sendHead(ctype string) error {
	if codecNumber(ctype) != 0 {
		ctype = ""
	}
	st.mu.Lock()
	sent := st.sentHead
	st.sentHead = true
	st.mu.Unlock()
	if sent {
		return nil
	}
	st.call.mu.Lock()
	reply := st.call.reply
	st.call.mu.Unlock()
	var head metadata.Header
	if reply != nil {
		head = reply.Header()
	}
	if len(head) == 0 && ctype == "" {
		return nil
	}
	b := newBuffer(headerLen + metaSize(head))
	b.b = appendMeta(b.b[:headerLen], head, ctype)
	if n, limit := len(b.b)-headerLen-sectionLen, int(st.s.theirs.maxMeta); n > limit {
		b.Release()
		return tooMuchMeta(n, limit)
	}
	header{typ: typeHead, flags: flagMeta, call: st.id, length: uint32(len(b.b) - headerLen)}.put(b.b)
	if err := st.s.w.send(st.ctx, time.Time{}, b); err != nil {
		return st.sendError(err)
	}
	return nil
}

// headOnce reports whether the header has still to be sent, and marks it sent.
func (st *stream) headOnce() bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	first := !st.sentHead
	st.sentHead = true
	return first
}

// CloseSend implements transport.Socket.
func (st *stream) CloseSend() error {
	if st.call != nil {
		return stderr("the listener's side ends with Finish")
	}
	st.sendMu.Lock()
	defer st.sendMu.Unlock()
	st.mu.Lock()
	closed := st.closed
	st.closed = true
	st.mu.Unlock()
	if closed {
		return nil
	}
	b := newBuffer(headerLen)
	b.b = b.b[:headerLen]
	header{typ: typeEnd, call: st.id}.put(b.b)
	if err := st.s.w.send(st.ctx, time.Time{}, b); err != nil {
		return st.sendError(err)
	}
	return nil
}

// Recv implements transport.Socket.
func (st *stream) Recv() (transport.Body, error) {
	for {
		st.mu.Lock()
		if st.first < len(st.inbox) {
			m := st.inbox[st.first]
			st.inbox[st.first] = inbound{}
			if st.first++; st.first == len(st.inbox) {
				st.inbox, st.first = st.inbox[:0], 0
				m.cost += st.partCost
				st.partCost = 0
			}
			grant := st.give(m.cost)
			st.mu.Unlock()
			st.grant(grant)
			if m.b == nil {
				return transport.NewBody(nil, st.bodyType(m.codec), nil), nil
			}
			return transport.NewBody(m.b.b, st.bodyType(m.codec), m.b), nil
		}
		err := st.recvErr
		st.mu.Unlock()
		if err != nil {
			return transport.Body{}, err
		}
		select {
		case <-st.news:
		case <-st.ctx.Done():
			if err, ended := st.ended(); ended {
				if err != nil {
					return transport.Body{}, err
				}
				continue
			}
		}
	}
}

// ended is asked when the context is over. At the caller the outcome follows
// in a moment from whoever ended it; at the listener it is the context's
// error, once the inbox is empty.
func (st *stream) ended() (error, bool) {
	if st.call != nil {
		st.mu.Lock()
		left := st.first < len(st.inbox) || st.recvErr != nil
		st.mu.Unlock()
		if left {
			return nil, true
		}
		return errors.Wrap(listenerId, contextCode(st.ctx.Err()), st.ctx.Err()), true
	}
	<-st.news
	return nil, true
}

// bodyType returns the content type of a message.
func (st *stream) bodyType(codec byte) string {
	if codec != 0 {
		return contentType(codec)
	}
	if st.call != nil {
		return st.call.contentType()
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	t, _ := st.head.Get(contentTypeKey)
	return t
}

// give counts credit to give back and returns how much to grant now. The lock
// is held.
func (st *stream) give(n int) int {
	st.owed += n
	if st.owed < st.s.cfg.Window/2 || st.recvErr != nil {
		return 0
	}
	n, st.owed = st.owed, 0
	st.granted += n
	return n
}

func (st *stream) grant(n int) {
	if n > 0 {
		// If this fails the connection has ended, and the stream with it.
		_ = st.s.control(header{typ: typeWindow, call: st.id, aux: uint32(n)})
	}
}

// frame takes a frame of this call from the session's reader.
func (st *stream) frame(h header, payload []byte) error {
	switch h.typ {
	case typeData:
		return st.data(h, payload)
	case typeWindow:
		st.mu.Lock()
		if int64(st.credit)+int64(h.aux) > maxCredit {
			st.mu.Unlock()
			return protocolErrorf("WINDOW gives credit beyond %d", maxCredit)
		}
		st.credit += int(h.aux)
		st.mu.Unlock()
		signal(st.room)
	case typeEnd:
		st.mu.Lock()
		if st.recvErr == nil {
			st.recvErr = io.EOF
			if st.part != nil {
				st.mu.Unlock()
				return protocolErrorf("END in the middle of a message")
			}
		}
		st.mu.Unlock()
		signal(st.news)
	case typeHead:
		return st.gotHeader(h, payload)
	}
	return nil
}

func (st *stream) data(h header, payload []byte) error {
	cost := headerLen + len(payload)
	st.mu.Lock()
	if st.recvErr != nil {
		st.mu.Unlock()
		return nil // it crossed the end
	}
	if st.granted <= 0 {
		st.mu.Unlock()
		return protocolErrorf("DATA on call %#x without credit", st.id)
	}
	st.granted -= cost
	st.knowHead() // a header would have come before
	if st.part == nil && h.flags&flagMore == 0 {
		m := inbound{codec: h.codec, cost: cost}
		if len(payload) > 0 {
			m.b = newBuffer(len(payload))
			m.b.b = append(m.b.b, payload...)
		}
		st.inbox = append(st.inbox, m)
		st.mu.Unlock()
		signal(st.news)
		return nil
	}
	if st.part == nil {
		st.part = newBuffer(2 * len(payload))
	}
	if len(st.part.b)+len(payload) > st.s.cfg.MaxMessage {
		st.mu.Unlock()
		return protocolErrorf("a message of more than %d bytes", st.s.cfg.MaxMessage)
	}
	st.part.b = append(st.part.b, payload...)
	if h.flags&flagMore != 0 {
		grant := 0
		if st.first == len(st.inbox) {
			grant = st.give(cost)
		} else {
			st.partCost += cost
		}
		st.mu.Unlock()
		st.grant(grant)
		return nil
	}
	st.inbox = append(st.inbox, inbound{b: st.part, codec: h.codec, cost: cost + st.partCost})
	st.part, st.partCost = nil, 0
	st.mu.Unlock()
	signal(st.news)
	return nil
}

func (st *stream) gotHeader(h header, payload []byte) error {
	fields, _, err := cutMeta(payload)
	if err != nil {
		return err
	}
	head, err := parseMeta(string(fields))
	if err != nil {
		return err
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	if !st.hasHead {
		st.head = head
		st.knowHead()
	}
	return nil
}

// signal leaves a token in a channel of one.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Header implements transport.Socket.
func (st *stream) Header() (metadata.Header, error) {
	if st.call != nil {
		if h := st.call.metadata(); h != nil {
			return *h, nil
		}
		return nil, nil
	}
	<-st.headed
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.recvErr != nil && st.recvErr != io.EOF && st.first == len(st.inbox) {
		return st.head, st.recvErr
	}
	return st.head, nil
}

// knowHead lets Header return. The lock is held.
func (st *stream) knowHead() {
	if st.headed != nil && !st.hasHead {
		st.hasHead = true
		close(st.headed)
	}
}

// Trailer implements transport.Socket.
func (st *stream) Trailer() metadata.Header {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.trail
}

// Finish implements transport.Socket.
func (st *stream) Finish(last *transport.Message, err error) error {
	if st.call == nil {
		return stderr("only the listener's side finishes a call")
	}
	st.mu.Lock()
	done := st.finished
	st.finished, st.closed = true, true
	st.mu.Unlock()
	if done {
		return nil
	}
	signal(st.room) // a Send that waits for credit holds sendMu
	st.sendMu.Lock()
	defer st.sendMu.Unlock()
	sc := st.call.conn
	waits := sc.finish(st.call)
	defer func() {
		st.discard(stderr("the call has been finished"))
		st.call.end(context.Canceled)
	}()
	if !waits {
		return stderr("the caller has given up")
	}
	defer sc.replied()
	var m transport.Message
	if last != nil {
		m = *last
	}
	if err := st.call.sendResponse(m, err, last == nil); err != nil {
		return st.sendError(err)
	}
	return nil
}

// discard drops what has been received and not taken.
func (st *stream) discard(err error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	for _, m := range st.inbox[st.first:] {
		if m.b != nil {
			m.b.Release()
		}
	}
	st.inbox, st.first = nil, 0
	if st.part != nil {
		st.part.Release()
		st.part = nil
	}
	if st.recvErr == nil {
		st.recvErr = err
	}
	signal(st.news)
}

// Reset implements transport.Socket.
func (st *stream) Reset() {
	if st.call != nil {
		_ = st.Finish(nil, errors.NewCode(listenerId, errors.CodeCanceled, "the call was reset")) // nobody waits for more
		return
	}
	st.giveUp(errors.CodeCanceled, context.Canceled)
}

// giveUp ends the caller's side before its end has come.
func (st *stream) giveUp(code errors.Code, err error) {
	c := st.caller
	c.mu.Lock()
	s := c.find(st.id)
	if s == nil || s.stream != st || !s.waiting {
		c.mu.Unlock()
		return
	}
	s.waiting = false
	c.mu.Unlock()
	c.cancel(s)
	st.over(nil, errors.Wrap(callerId, code, err))
}

// over ends the caller's side: m is the last message, err what Recv returns
// after it.
func (st *stream) over(m *inbound, err error) {
	st.mu.Lock()
	if m != nil {
		st.inbox = append(st.inbox, *m)
	}
	if st.part != nil {
		st.part.Release()
		st.part = nil
	}
	st.recvErr = err
	st.closed = true
	st.knowHead()
	st.drop() // under the lock: who sees the end sees the context ended
	st.mu.Unlock()
	signal(st.news)
	signal(st.room)
}

// streamEnded ends a stream by its RSP or by err.
func (c *Caller) streamEnded(s *slot, st *stream, h header, own *buffer, err error) {
	if err != nil {
		if own != nil {
			own.Release()
		}
		if err == context.DeadlineExceeded {
			c.cancel(s)
			st.over(nil, errors.Wrap(callerId, errors.CodeDeadlineExceeded, err))
			return
		}
		c.give(s)
		st.over(nil, callError(err))
		return
	}
	c.give(s)
	reply, err := c.reply(h, own)
	st.mu.Lock()
	if !st.hasHead {
		st.head = reply.Header
	} else if t, ok := reply.Header.Get(contentTypeKey); ok { // the last message's; the rest came before
		st.head = st.head.Clone()
		st.head.Set(contentTypeKey, t)
	}
	st.trail = reply.Trailer
	st.mu.Unlock()
	if err != nil {
		st.over(nil, err)
		return
	}
	if h.flags&flagEmpty != 0 {
		reply.Body.Release()
		st.over(nil, io.EOF)
		return
	}
	m := inbound{codec: h.codec}
	if len(reply.Body.Data) > 0 {
		m.b = newBuffer(len(reply.Body.Data))
		m.b.b = append(m.b.b, reply.Body.Data...)
	}
	reply.Body.Release()
	st.over(&m, io.EOF)
}

// streamFrame hands a frame to its stream.
func (c *Caller) streamFrame(h header, payload []byte, own *buffer) error {
	if own != nil {
		defer own.Release()
	}
	c.mu.Lock()
	var st *stream
	if s := c.find(h.call); s != nil {
		st = s.stream
	}
	c.mu.Unlock()
	if st == nil {
		return nil // its end crossed the frame
	}
	return st.frame(h, payload)
}
