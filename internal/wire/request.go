package wire

import (
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"sync/atomic"
	"time"

	"github.com/seed-9a4e2794/micro/errors"
	"github.com/seed-9a4e2794/micro/metadata"
	"github.com/seed-9a4e2794/micro/transport"
)

// methods are the numbers that methods have on a connection. Those that are
// known are read without a lock; new ones are under the caller's lock until
// there are, or have been asked for, as many as are known: so neither many names
// nor one new name cost a copy each time.
type methods struct {
	known atomic.Pointer[map[transport.Method]uint32]
	fresh map[transport.Method]uint32 // under the caller's lock
	asked int                         // for fresh ones
}

// get returns the number of a method that is known.
func (m *methods) get(method transport.Method) (uint32, bool) {
	known := m.known.Load()
	if known == nil {
		return 0, false
	}
	n, ok := (*known)[method]
	return n, ok
}

// count returns how many methods have numbers. The lock is held.
func (m *methods) count() int {
	n := len(m.fresh)
	if known := m.known.Load(); known != nil {
		n += len(*known)
	}
	return n
}

// add notes a new method. The lock is held.
func (m *methods) add(method transport.Method, n uint32) {
	if m.fresh == nil {
		m.fresh = make(map[transport.Method]uint32)
	}
	m.fresh[method] = n
	m.used()
}

// used counts a use of a fresh method, and makes all known when that pays. The
// lock is held.
func (m *methods) used() {
	all := make(map[transport.Method]uint32)
	known := m.known.Load()
	if known != nil {
		if m.asked++; m.asked < len(*known) {
			return
		}
		maps.Copy(all, *known)
	}
	maps.Copy(all, m.fresh)
	m.known.Store(&all)
	m.fresh, m.asked = nil, 0
}

// number returns the number of a method, naming it to the peer at first use.
func (c *Caller) number(m transport.Method) (uint32, error) {
	if n, ok := c.names.get(m); ok {
		return n, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if n, ok := c.names.get(m); ok {
		return n, nil
	}
	if n, ok := c.names.fresh[m]; ok {
		c.names.used()
		return n, nil
	}
	size := 1 + binary.MaxVarintLen32 + len(m.Service) + len(m.Endpoint)
	if size > maxNameLen {
		return 0, errors.NewCode(callerId, errors.CodeInvalidArgument, "the names %.40q and %.40q are longer than %d bytes together", m.Service, m.Endpoint, maxNameLen)
	}
	count := c.names.count()
	if count >= maxNames {
		// Another connection has numbers left: this one finishes its calls.
		if c.why == nil {
			c.why = fmt.Errorf("all of its %d method names are in use", maxNames)
		}
		return 0, errors.Refuse(callerId, errors.CodeUnavailable, "the connection to %s takes no more calls: %v", c.peer.Remote, c.why)
	}
	n := uint32(count + 1)
	payload := make([]byte, 1, size)
	if m.Strict {
		payload[0] = 1
	}
	payload = binary.AppendUvarint(payload, uint64(len(m.Service)))
	payload = append(payload, m.Service...)
	payload = append(payload, m.Endpoint...)
	// Held until the first frame that uses the number goes out behind it.
	c.w.hold(appendFrame(nil, header{typ: typeName, aux: n}, string(payload)))
	c.names.add(m, n)
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
