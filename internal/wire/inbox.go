package wire

import (
	"io"

	"github.com/seed-9a4e2794/micro/errors"
	"github.com/seed-9a4e2794/micro/metadata"
	"github.com/seed-9a4e2794/micro/transport"
)

// inbound is a received message.
type inbound struct {
	b     *buffer // nil: an empty message
	codec byte
	cost  int
}

// preload makes the stream that of a unary call whose request has come.
func (st *stream) preload(codec byte, body []byte) {
	st.unary = true
	b := newBuffer(len(body))
	b.b = append(b.b, body...)
	st.inbox = append(st.inbox, inbound{b: b, codec: codec})
	st.holdLocked(len(body)) // nobody else has the stream yet
	st.recvErr = io.EOF
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
			if m.b != nil {
				st.holdLocked(-len(m.b.b))
			}
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
	if st.call != nil && st.s.inboxes.Load()+int64(len(payload)) > int64(st.s.cfg.MaxHeld) {
		st.overflowLocked()
		st.mu.Unlock()
		signal(st.news)
		return nil
	}
	st.holdLocked(len(payload))
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

// holdLocked counts bytes that have been received, or taken. The lock is held.
func (st *stream) holdLocked(n int) {
	st.held += n
	st.s.inboxes.Add(int64(n))
}

// overflowLocked ends the receiving side of a stream at the listener: what the
// streams of the connection hold is too much. What it has whole stays. The lock
// is held.
func (st *stream) overflowLocked() {
	if st.part != nil {
		st.holdLocked(-len(st.part.b))
		st.part.Release()
		st.part, st.partCost = nil, 0
	}
	st.recvErr = errors.NewCode(listenerId, errors.CodeResourceExhausted, "the streams of the connection hold %d bytes that have not been taken, the limit is %d", st.s.inboxes.Load(), st.s.cfg.MaxHeld)
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
	st.holdLocked(-st.held)
	if st.recvErr == nil {
		st.recvErr = err
	}
	signal(st.news)
}
