package wire

import (
	"context"
	stderrors "errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-9a4e2794/micro/errors"
	"github.com/seed-9a4e2794/micro/metadata"
	"github.com/seed-9a4e2794/micro/transport"
)

// Listener is the listening side. It implements transport.Listener.
type Listener struct {
	ln    net.Listener
	cfg   Config
	serve func(transport.Socket)
	opts  transport.AcceptOptions
	crew  workers
	group sync.WaitGroup // connections

	done chan struct{} // closed when no more is accepted

	mu       sync.Mutex
	conns    map[*serverConn]struct{}
	state    listenerState
	accepted chan struct{} // closed when Accept has returned; nil before it is called
}

type listenerState int

const (
	listening listenerState = iota
	draining
	closed
)

var _ transport.Listener = (*Listener)(nil)

// NewListener returns a listener that accepts from ln, which it takes over.
func NewListener(ln net.Listener, cfg Config) *Listener {
	return &Listener{ln: ln, cfg: cfg.withDefaults(), done: make(chan struct{}), conns: make(map[*serverConn]struct{})}
}

// Addr returns the bound address.
func (l *Listener) Addr() string { return l.ln.Addr().String() }

// Accept serves connections; see transport.Listener.
func (l *Listener) Accept(serve func(transport.Socket), opts ...transport.AcceptOption) error {
	l.mu.Lock()
	if l.state != listening {
		l.mu.Unlock()
		return nil
	}
	if l.accepted != nil {
		l.mu.Unlock()
		return stderrors.New("wire: Accept has been called before")
	}
	l.serve, l.opts = serve, transport.NewAcceptOptions(opts...)
	l.accepted = make(chan struct{})
	l.mu.Unlock()
	defer close(l.accepted)
	for wait := time.Duration(0); ; {
		conn, err := l.ln.Accept()
		if err == nil {
			wait = 0
			l.Serve(conn)
			continue
		}
		l.mu.Lock()
		over := l.state != listening
		l.mu.Unlock()
		if over {
			return nil
		}
		if stderrors.Is(err, net.ErrClosed) {
			return fmt.Errorf("accept on %s: %w", l.Addr(), err)
		}
		// Out of file descriptors, most likely: others may close theirs.
		wait = min(max(2*wait, 5*time.Millisecond), time.Second)
		l.cfg.Logger.Warn("accept failed, trying again", "address", l.Addr(), "error", err, "after", wait)
		select {
		case <-time.After(wait):
		case <-l.done:
		}
	}
}

// Serve serves one connection on goroutines of the listener.
func (l *Listener) Serve(conn net.Conn) {
	c := &serverConn{l: l, drained: make(chan struct{})}
	c.init(conn, &l.cfg, "micro", c)
	l.mu.Lock()
	if l.state != listening {
		l.mu.Unlock()
		conn.Close()
		return
	}
	l.conns[c] = struct{}{}
	l.group.Add(1)
	l.mu.Unlock()
	go func() {
		defer l.group.Done()
		c.serve()
		l.mu.Lock()
		delete(l.conns, c)
		l.mu.Unlock()
		c.group.Wait()
	}()
}

// Shutdown stops taking connections and calls, and waits for those under way.
func (l *Listener) Shutdown(ctx context.Context) error {
	l.mu.Lock()
	if l.state == listening {
		l.state = draining
		close(l.done)
	}
	conns := make([]*serverConn, 0, len(l.conns))
	for c := range l.conns {
		conns = append(conns, c)
	}
	l.mu.Unlock()
	l.ln.Close() // a second close says so, which does not matter
	for _, c := range conns {
		c.drain()
	}
	var err error
	for _, c := range conns {
		select {
		case <-c.drained:
		case <-ctx.Done():
		}
		select {
		case <-c.drained:
			c.w.settled(ctx)
		default:
			err = ctx.Err()
		}
	}
	l.Close()
	return err
}

// Close stops at once.
func (l *Listener) Close() error {
	l.mu.Lock()
	if l.state == listening {
		close(l.done)
	}
	l.state = closed
	conns := make([]*serverConn, 0, len(l.conns))
	for c := range l.conns {
		conns = append(conns, c)
	}
	accepted := l.accepted
	l.mu.Unlock()
	l.ln.Close() // a second close says so, which does not matter
	for _, c := range conns {
		c.end(c, transport.ErrClosed)
	}
	if accepted != nil {
		<-accepted
	}
	l.group.Wait()
	l.crew.close()
	return nil
}

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
	empty   bool // drained has been closed

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
