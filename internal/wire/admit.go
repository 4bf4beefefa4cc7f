package wire

import (
	"fmt"

	"github.com/seed-9a4e2794/micro/errors"
)

// begin takes a REQ or OPEN.
func (c *serverConn) begin(h header, payload []byte, own *buffer) error {
	if h.aux == 0 || int(h.aux) > len(c.names) {
		return protocolErrorf("call of method number %d, which has not been named", h.aux)
	}
	req, err := parseRequest(h, payload)
	if err != nil {
		return err
	}
	if len(req.meta) > c.cfg.MaxMeta || len(req.body) > c.cfg.MaxMessage {
		if own != nil {
			own.Release()
		}
		return c.refuse(h.call, errors.CodeResourceExhausted, "the request is %d bytes with %d of metadata, the limits are %d and %d", len(req.body), len(req.meta), c.cfg.MaxMessage, c.cfg.MaxMeta)
	}
	k := &call{conn: c, id: h.call, method: c.names[h.aux-1], codec: h.codec}
	if req.timeout > 0 {
		k.until = c.r.began.Add(req.timeout)
	}
	if err := c.meta(k, req.meta); err != nil {
		return err
	}
	if h.typ == typeReq && k.method.unary == nil && c.l.opts.Lookup != nil {
		fn, err := c.l.opts.Lookup(k.method.Method)
		if err != nil {
			if own != nil {
				own.Release()
			}
			return c.answer(k, err)
		}
		k.method.unary = fn
	}
	switch {
	case h.typ == typeOpen:
		k.stream = newStream(&c.session, h.call, k)
	case k.method.unary == nil:
		k.stream = newStream(&c.session, h.call, k)
		k.stream.preload(h.codec, req.body)
		k.held = len(req.body)
	default:
		k.held = len(req.body)
		if own != nil {
			k.in, k.body, own = own, req.body, nil
		} else if len(req.body) > 0 {
			k.in = newBuffer(len(req.body))
			k.in.b = append(k.in.b, req.body...)
			k.body = k.in.b
		}
	}
	if own != nil {
		own.Release()
	}
	return c.admit(k)
}

// meta gives k the request's metadata. Callers mostly send the same section
// again and again, so the last one is kept parsed.
func (c *serverConn) meta(k *call, fields []byte) error {
	if len(fields) == 0 {
		return nil
	}
	if string(fields) == c.lastMeta {
		if c.lastHead == nil {
			head, err := parseMeta(c.lastMeta)
			if err != nil {
				return err
			}
			c.lastHead = &head
		}
		k.header = c.lastHead
		return nil
	}
	k.fields = string(fields)
	if _, err := countMeta(k.fields); err != nil {
		return err
	}
	if len(fields) <= keptMeta {
		c.lastMeta, c.lastHead = k.fields, nil
	}
	return nil
}

// keptMeta is the longest metadata section kept for the next call.
const keptMeta = 256

// admit enters a call and has it served, or refuses it.
func (c *serverConn) admit(k *call) error {
	slot := int(k.id & (maxSlots - 1))
	c.mu.Lock()
	var why string
	code := errors.CodeResourceExhausted
	switch {
	case c.over:
		c.mu.Unlock()
		k.held = 0
		k.release()
		return nil
	case slot < len(c.calls) && c.calls[slot] != nil:
		c.mu.Unlock()
		k.held = 0
		k.release()
		return protocolErrorf("call %#x in a slot that is taken", k.id)
	case c.going.Load():
		code, why = errors.CodeUnavailable, stopping
	case slot >= c.cfg.MaxCalls || c.live >= c.cfg.MaxCalls || c.live+int(c.replying.Load()) >= 2*c.cfg.MaxCalls:
		why = fmt.Sprintf("the connection has %d calls under way", c.live)
	case k.stream != nil && c.streams >= c.cfg.MaxStreams:
		why = fmt.Sprintf("the connection has %d streams under way", c.streams)
	case k.held > 0 && c.held.Load()+int64(k.held) > int64(c.cfg.MaxHeld):
		why = fmt.Sprintf("the calls under way on the connection hold %d bytes", c.held.Load())
	}
	if why != "" {
		c.mu.Unlock()
		k.held = 0
		k.release()
		return c.refuse(k.id, code, "%s", why)
	}
	for slot >= len(c.calls) {
		c.calls = append(c.calls, nil)
	}
	c.calls[slot] = k
	c.live++
	c.w.calls.Store(int32(c.live))
	if k.held > 0 {
		c.held.Add(int64(k.held))
	}
	if k.stream != nil {
		c.streams++
	}
	c.queue = append(c.queue, k)
	wake := !c.waking
	c.waking = true
	c.mu.Unlock()
	if wake {
		c.l.crew.run(c)
	}
	return nil
}

// work serves the calls that wait on this connection, on the goroutine of a
// worker. A worker that takes a call and leaves others calls the next worker
// first: calls never wait for a handler, and as many workers run as it takes
// and no more.
func (c *serverConn) work() {
	for first := true; ; first = false {
		c.mu.Lock()
		if first {
			c.waking = false
		}
		if c.head == len(c.queue) {
			c.queue, c.head = c.queue[:0], 0
			if cap(c.queue) > 1024 {
				c.queue = nil
			}
			c.mu.Unlock()
			return
		}
		k := c.queue[c.head]
		c.queue[c.head] = nil
		if c.head++; c.head >= 1024 && 2*c.head >= len(c.queue) { // never empty: move it to the front
			c.queue, c.head = c.queue[:copy(c.queue, c.queue[c.head:])], 0
		}
		wake := c.head < len(c.queue) && !c.waking
		if wake {
			c.waking = true
		}
		gone := k.gone
		c.mu.Unlock()
		if wake {
			c.l.crew.run(c)
		}
		k.run(gone)
	}
}

// finish takes a call that has been served off the connection. It reports
// whether its caller still waits for the answer, and replied must be called
// when that has been sent. The slot is free before: the caller may use it again
// as soon as it has the answer.
func (c *serverConn) finish(k *call) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if k.stream != nil {
		c.streams--
	}
	c.w.calls.Store(int32(c.live)) // with this one, whose answer is still to be sent
	c.live--
	if k.gone {
		c.checkDrained()
		return false
	}
	c.calls[k.id&(maxSlots-1)] = nil
	c.replying.Add(1)
	return true
}
