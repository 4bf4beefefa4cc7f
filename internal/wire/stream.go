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
	held     int   // bytes of inbox and part
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

var _ transport.Socket = (*stream)(nil)

// newStream returns the listener's side of a stream.
func newStream(s *session, id uint32, k *call) *stream {
	return &stream{s: s, id: id, call: k, method: k.method.Method, ctx: k, credit: int(s.theirs.window), granted: s.cfg.Window,
		news: make(chan struct{}, 1), room: make(chan struct{}, 1)}
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

// signal leaves a token in a channel of one.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
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

// Reset implements transport.Socket.
func (st *stream) Reset() {
	if st.call != nil {
		_ = st.Finish(nil, errors.NewCode(listenerId, errors.CodeCanceled, "the call was reset")) // nobody waits for more
		return
	}
	st.giveUp(errors.CodeCanceled, context.Canceled)
}
