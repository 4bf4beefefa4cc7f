package wire

import (
	"context"
	stderrors "errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/seed-9a4e2794/micro/codec"
	"github.com/seed-9a4e2794/micro/errors"
	"github.com/seed-9a4e2794/micro/internal/ctxkey"
	"github.com/seed-9a4e2794/micro/metadata"
	"github.com/seed-9a4e2794/micro/transport"
)

// listenerId is the Id of errors that the listening side makes.
const listenerId = "go.micro.server.transport"

// call is one call at the listener, and the context its handler gets. It is
// made new for each call and never used again, because a handler may keep its
// context; what costs something (the Done channel, the timer, the metadata's
// fields) is made when it is asked for.
type call struct {
	conn   *serverConn
	id     uint32
	method *method
	stream *stream // nil for a call that a Unary function answers
	codec  byte
	held   int     // request bytes counted against MaxHeld
	in     *buffer // holds body until the call has ended
	body   []byte

	until  time.Time // the zero Time is no deadline
	fields string    // the metadata section, when header is not shared

	mu     sync.Mutex
	header *metadata.Header // parsed from fields at first use
	reply  *metadata.Reply
	done   chan struct{}
	err    error // why the context has ended
	timer  *time.Timer
	after  []*afterFunc

	// gone is set, under the connection's lock, when the caller no longer
	// waits.
	gone bool
}

var _ context.Context = (*call)(nil)

type afterFunc struct{ f func() }

// Deadline implements context.Context.
func (c *call) Deadline() (time.Time, bool) { return c.until, !c.until.IsZero() }

// Err implements context.Context.
func (c *call) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil && !c.until.IsZero() && !time.Now().Before(c.until) {
		c.endLocked(context.DeadlineExceeded)
	}
	return c.err
}

// Done implements context.Context. The first use makes the channel and, when
// there is a deadline, the timer.
func (c *call) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.done == nil {
		c.done = make(chan struct{})
		if c.err != nil {
			close(c.done)
		} else if !c.until.IsZero() {
			c.timer = time.AfterFunc(time.Until(c.until), func() { c.end(context.DeadlineExceeded) })
		}
	}
	return c.done
}

// AfterFunc lets package context derive from this context without a goroutine.
func (c *call) AfterFunc(f func()) func() bool {
	a := &afterFunc{f}
	c.Done() // a deadline must end the context by itself
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		go f() // as context.AfterFunc does
		return func() bool { return false }
	}
	c.after = append(c.after, a)
	c.mu.Unlock()
	return func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		for i, other := range c.after {
			if other == a {
				c.after = append(c.after[:i], c.after[i+1:]...)
				return true
			}
		}
		return false
	}
}

// Value implements context.Context: the keys that belong to a call.
func (c *call) Value(key any) any {
	switch key.(type) {
	case ctxkey.Header:
		if h := c.metadata(); h != nil {
			return h
		}
	case ctxkey.Reply:
		return c.replyFields()
	case ctxkey.Peer:
		return &c.conn.peer
	}
	return nil
}

// metadata returns the request's metadata, nil when it has none.
func (c *call) metadata() *metadata.Header {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.header == nil && c.fields != "" {
		h, err := parseMeta(c.fields)
		if err != nil { // it was checked when it came
			return nil
		}
		c.header = &h
	}
	return c.header
}

func (c *call) replyFields() *metadata.Reply {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.reply == nil {
		c.reply = new(metadata.Reply)
	}
	return c.reply
}

// end ends the context.
func (c *call) end(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.endLocked(err)
}

func (c *call) endLocked(err error) {
	if c.err != nil {
		return
	}
	c.err = err
	if c.timer != nil {
		c.timer.Stop()
	}
	if c.done != nil {
		close(c.done)
	}
	for _, a := range c.after {
		go a.f() // as context.AfterFunc does
	}
	c.after = nil
}

// run serves the call on the goroutine of a worker. gone says that nobody
// waits for it any more: then a Unary function is not called.
func (c *call) run(gone bool) {
	if c.stream != nil && gone {
		_ = c.stream.Finish(nil, context.Canceled) // nobody waits for it
		c.release()
		return
	}
	if c.stream != nil {
		// A handler that forgot to finish has finished well; one that ended its
		// goroutine has not.
		err := error(errors.NewCode(listenerId, errors.CodeInternal, "the handler ended its goroutine without an answer"))
		defer func() {
			_ = c.stream.Finish(nil, err) // does nothing when it has finished
			c.release()
		}()
		c.conn.l.serve(c.stream)
		err = nil
		return
	}
	if gone {
		c.conn.finish(c)
		c.release()
		return
	}
	if !c.until.IsZero() && !time.Now().Before(c.until) {
		// It waited too long for its turn; nobody waits for the answer.
		c.respond(transport.Message{}, errors.Refuse(listenerId, errors.CodeDeadlineExceeded, "the deadline passed before the call could be served"))
		return
	}
	answered := false
	defer func() {
		if !answered { // runtime.Goexit, say, by testing.T.FailNow: the worker ends with it
			c.respond(transport.Message{}, errors.NewCode(listenerId, errors.CodeInternal, "the handler ended its goroutine without an answer"))
		}
	}()
	m, err := c.method.unary(c, transport.NewBody(c.body, c.contentType(), nil))
	answered = true
	c.respond(m, err)
}

// contentType returns the content type of the request.
func (c *call) contentType() string {
	if c.codec != 0 {
		return contentType(c.codec)
	}
	if h := c.metadata(); h != nil {
		t, _ := h.Get(contentTypeKey)
		return t
	}
	return ""
}

// respond ends the call with a message or an error.
func (c *call) respond(m transport.Message, err error) {
	defer c.release()
	if !c.conn.finish(c) {
		return // the caller has given up
	}
	_ = c.sendResponse(m, err, false) // fails when the connection has ended, and the call with it
	c.conn.replied()
}

// sendResponse encodes and sends the RSP of a call. While the peer does not
// read what it is sent, one response at a time is encoded and waits: a peer
// that asks and never reads does not fill the memory with answers.
func (c *call) sendResponse(m transport.Message, err error, empty bool) error {
	w := &c.conn.w
	if w.full.Load() {
		c.conn.narrow.Lock()
		defer c.conn.narrow.Unlock()
		if err := w.ready(); err != nil {
			return err
		}
	}
	return w.send(context.Background(), time.Time{}, c.encodeResponse(m, err, empty))
}

// release lets go of the request and ends the context: the handler is done.
func (c *call) release() {
	if c.in != nil {
		c.in.Release()
		c.in, c.body = nil, nil
	}
	if c.held > 0 {
		c.conn.held.Add(-int64(c.held))
		c.held = 0
	}
	c.end(context.Canceled)
}

// encodeResponse makes the RSP of a call. empty says that there is no message.
func (c *call) encodeResponse(m transport.Message, err error, empty bool) *buffer {
	if err == nil && !empty && m.Codec != nil {
		b := newBuffer(headerLen + 512)
		h := header{typ: typeRsp, call: c.id}
		b.b = c.appendReply(b.b[:headerLen], &h, m.Codec.Name())
		body := len(b.b)
		b.b, err = appendValue(b.b, m)
		if other := fallback(m.Codec, err); other != nil && c.stream == nil { // a stream's header is made once
			b.Release()
			return c.encodeResponse(transport.Message{Value: m.Value, Codec: other}, nil, false)
		}
		n, limit := len(b.b)-body, min(int(c.conn.theirs.maxMessage), c.conn.cfg.MaxMessage)
		switch {
		case err != nil:
			err = errors.Wrap(listenerId, errors.CodeInternal, err)
		case n > limit:
			err = tooLarge(listenerId, "response", n, limit)
		case body-headerLen > 2*sectionLen+int(c.conn.theirs.maxMeta):
			err = tooMuchMeta(body-headerLen, int(c.conn.theirs.maxMeta))
		default:
			h.length = uint32(len(b.b) - headerLen)
			h.put(b.b)
			return b
		}
		b.Release()
	}
	b := newBuffer(headerLen + 256)
	h := header{typ: typeRsp, call: c.id}
	b.b = c.appendReply(b.b[:headerLen], &h, "")
	if err == nil {
		h.flags |= flagEmpty
	} else {
		e := errors.From(listenerId, err)
		h.aux = uint32(e.GRPCCode())
		if h.aux == 0 {
			h.aux = uint32(errors.CodeUnknown)
		}
		if e.Refused {
			h.flags |= flagRefused
		}
		b.b = appendError(b.b, e)
		if len(b.b) > headerLen+int(c.conn.theirs.maxMeta) { // a text or details without measure
			b.b = appendError(b.b[:headerLen], &errors.Error{Id: head(e.Id), Code: e.Code, Status: head(e.Status), Detail: head(e.Detail)})
			h.flags &^= flagMeta | flagTrailer
		}
	}
	h.length = uint32(len(b.b) - headerLen)
	h.put(b.b)
	return b
}

// fallback returns the codec for a value that c has no form for; nil when err is
// another error, or c knows none.
func fallback(c codec.Codec, err error) codec.Codec {
	if err == nil || !stderrors.Is(err, codec.ErrType) {
		return nil
	}
	if f, ok := c.(interface{ Fallback() codec.Codec }); ok {
		return f.Fallback()
	}
	return nil
}

// head returns the beginning of a text that is too long for an error.
func head(s string) string {
	if len(s) <= 1024 {
		return s
	}
	return strings.ToValidUTF8(s[:1024], "")
}

// tooMuchMeta is the error for reply metadata over the caller's limit.
func tooMuchMeta(n, limit int) error {
	return errors.NewCode(listenerId, errors.CodeResourceExhausted, "the metadata of the reply is %d bytes, the caller takes %d", n, limit)
}

// appendValue encodes a message. What panics here is the program's own
// encoding method, and must not take the other calls with it.
func appendValue(dst []byte, m transport.Message) (out []byte, err error) {
	defer func() {
		if p := recover(); p != nil {
			out, err = dst, fmt.Errorf("encoding %T panicked: %v", m.Value, p)
		}
	}()
	return m.Codec.Append(dst, m.Value)
}

// appendReply appends the metadata sections of the reply and sets h's flags
// and codec. On a stream the header may have been sent before.
func (c *call) appendReply(dst []byte, h *header, ctype string) []byte {
	if h.codec = codecNumber(ctype); h.codec != 0 {
		ctype = ""
	}
	c.mu.Lock()
	reply := c.reply
	c.mu.Unlock()
	if reply == nil && ctype == "" {
		return dst
	}
	var first, trail metadata.Header
	if reply != nil {
		trail = reply.Trailer()
		if c.stream == nil || c.stream.headOnce() {
			first = reply.Header()
		}
	}
	if len(first) > 0 || ctype != "" {
		h.flags |= flagMeta
		dst = appendMeta(dst, first, ctype)
	}
	if len(trail) > 0 {
		h.flags |= flagTrailer
		dst = appendMeta(dst, trail, "")
	}
	return dst
}
