package wire

import (
	"context"
	"io"

	"github.com/seed-9a4e2794/micro/errors"
	"github.com/seed-9a4e2794/micro/transport"
)

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
		if m.b != nil {
			st.holdLocked(len(m.b.b))
		}
	}
	if st.part != nil {
		st.holdLocked(-len(st.part.b))
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
