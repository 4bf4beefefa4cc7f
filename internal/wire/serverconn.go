package wire

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-9a4e2794/micro/errors"
	"github.com/seed-9a4e2794/micro/metadata"
	"github.com/seed-9a4e2794/micro/transport"
)

// serverConn is one connection at the listener.
type serverConn struct {
	session
	l *Listener

	// The reader's own.
	names    []*method        // by number less one
	lastMeta string           // the last metadata section
	lastHead *metadata.Header // what it says; nil until it has come twice

	mu      sync.Mutex
	calls   []*call // by slot
	live    int     // calls under way
	streams int
	queue   []*call // wait for a worker; served from head
	head    int
	waking  bool // a worker has been called and has not come yet
	greeted bool // this side's greeting has been sent
	over    bool // the connection has ended
	drained chan struct{}
	empty   bool          // drained has been closed
	gone    chan struct{} // closed when the connection has ended

	going    atomic.Bool  // no more calls are taken; set under mu
	held     atomic.Int64 // request bytes of unary calls that have not been let go
	replying atomic.Int32 // calls off the connection whose RSP has not been sent
	narrow   sync.Mutex   // held by the response that waits while the peer does not read
}

// method is a method that the caller has named, and what serves it.
type method struct {
	transport.Method
	unary transport.Unary // nil: not looked up, not found, or served as a Socket
}

func (c *serverConn) serve() {
	timer := time.AfterFunc(c.cfg.HelloTimeout, func() { c.end(c, errHello) })
	err := c.awaitHello()
	if !timer.Stop() && err == nil {
		err = errHello
	}
	c.hello()
	if err == nil {
		err = c.flushHello()
	}
	switch {
	case err == nil:
		c.mu.Lock()
		c.greeted = true
		going := c.going.Load()
		c.mu.Unlock()
		if going {
			c.goAway(goAwayDrain, stopping)
		}
		c.read(c)
		return
	case err == errVersion:
		c.goAway(goAwayVersion, "this side speaks version 1 of the native wire")
	}
	c.cfg.Logger.Debug("connection refused", "remote", c.peer.Remote, "error", err)
	c.end(c, err)
	c.r.drop()
}

// drain tells the peer to make no more calls here.
func (c *serverConn) drain() {
	c.mu.Lock()
	first := !c.going.Swap(true) && c.greeted
	c.checkDrained()
	c.mu.Unlock()
	if first {
		c.goAway(goAwayDrain, stopping)
	}
}

const stopping = "the service is stopping"

// checkDrained closes drained when the last call has ended. The lock is held.
func (c *serverConn) checkDrained() {
	if c.going.Load() && !c.empty && (c.over || c.live == 0 && c.replying.Load() == 0) {
		c.empty = true
		close(c.drained)
	}
}

// replied is called when the RSP of a finished call has been sent.
func (c *serverConn) replied() {
	if c.replying.Add(-1) == 0 && c.going.Load() {
		c.mu.Lock()
		c.checkDrained()
		c.mu.Unlock()
	}
}

// limit implements handler.
func (c *serverConn) limit(h header) (int, bool) {
	switch h.typ {
	case typeReq:
		return c.cfg.MaxMessage + c.cfg.MaxMeta + 2*sectionLen, true
	case typeOpen:
		return c.cfg.MaxMeta + 2*sectionLen, true
	case typeData:
		return quantum, false
	case typeName:
		return maxNameLen, false
	case typeGoAway:
		return maxGoAwayText, false
	}
	if h.typ >= typeIgnorable {
		return quantum, true
	}
	return 0, false
}

// skipped implements handler: a request was too long.
func (c *serverConn) skipped(h header) error {
	if h.typ != typeReq && h.typ != typeOpen {
		return nil
	}
	return c.refuse(h.call, errors.CodeResourceExhausted, "the request is %d bytes, the limit is %d", h.length, c.cfg.MaxMessage)
}

// frame implements handler.
func (c *serverConn) frame(h header, payload []byte, own *buffer) error {
	switch h.typ {
	case typeReq, typeOpen:
		return c.begin(h, payload, own)
	case typeName:
		return c.name(h, payload)
	case typeCancel:
		c.cancelled(h.call)
		return nil
	case typeData, typeEnd, typeWindow:
		return c.streamFrame(h, payload, own)
	case typeGoAway:
		return fmt.Errorf("the peer went away: %s", payload)
	}
	return protocolErrorf("frame of type %d from a caller", h.typ)
}

// name learns a method's number.
func (c *serverConn) name(h header, payload []byte) error {
	if int(h.aux) != len(c.names)+1 || h.aux > maxNames {
		return protocolErrorf("NAME with number %d after %d names", h.aux, len(c.names))
	}
	if len(payload) == 0 {
		return protocolErrorf("NAME without flags")
	}
	service, endpoint, err := parseNameStrings(payload[1:])
	if err != nil {
		return err
	}
	c.names = append(c.names, &method{Method: transport.Method{Service: service, Endpoint: endpoint, Strict: payload[0]&1 != 0}})
	return nil
}

// cancelled handles a CANCEL.
func (c *serverConn) cancelled(id uint32) {
	slot := int(id & (maxSlots - 1))
	c.mu.Lock()
	var k *call
	if slot < len(c.calls) && c.calls[slot] != nil && c.calls[slot].id == id {
		k = c.calls[slot]
		k.gone = true
		c.calls[slot] = nil
	}
	c.mu.Unlock()
	if k != nil {
		k.end(context.Canceled)
	}
}

// lost implements handler: the contexts of all calls end.
func (c *serverConn) lost(error) {
	c.mu.Lock()
	c.over = true
	var ended []*call
	for i, k := range c.calls {
		if k != nil {
			k.gone = true
			c.calls[i] = nil
			ended = append(ended, k)
		}
	}
	c.checkDrained()
	c.mu.Unlock()
	close(c.gone)
	for _, k := range ended {
		k.end(context.Canceled)
	}
}

// refuse answers a call that has not been begun.
func (c *serverConn) refuse(id uint32, code errors.Code, format string, a ...any) error {
	return c.answer(&call{conn: c, id: id}, errors.Refuse(listenerId, code, format, a...))
}

// answer sends an error for a call that has not been begun.
func (c *serverConn) answer(k *call, err error) error {
	return c.w.control(k.encodeResponse(transport.Message{}, err, true))
}

// streamOf returns the stream of a call that is under way, nil if there is
// none.
func (c *serverConn) streamOf(id uint32) *stream {
	c.mu.Lock()
	defer c.mu.Unlock()
	slot := int(id & (maxSlots - 1))
	if slot >= len(c.calls) || c.calls[slot] == nil || c.calls[slot].id != id {
		return nil
	}
	return c.calls[slot].stream
}

// streamFrame hands a frame to its stream.
func (c *serverConn) streamFrame(h header, payload []byte, own *buffer) error {
	if own != nil {
		defer own.Release()
	}
	st := c.streamOf(h.call)
	if st == nil {
		return nil // its end crossed the frame
	}
	return st.frame(h, payload)
}
