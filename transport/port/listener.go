package port

import (
	"context"
	"crypto/tls"
	stderrors "errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/seed-9a4e2794/micro/transport"
	"github.com/seed-9a4e2794/micro/transport/http"
	"github.com/seed-9a4e2794/micro/transport/tcp"
)

// listener hands connections on to the engines of the protocols.
type listener struct {
	t      *Transport
	ln     net.Listener
	tls    *tls.Config // nil without TLS
	native tcp.Listener
	idle   *handoff // what native accepts from: nothing comes this way
	http   *http.Listener
	web    *handoff // what http accepts from

	done  chan struct{} // closed when no more is accepted
	group sync.WaitGroup

	mu        sync.Mutex
	sniffing  map[net.Conn]struct{} // connections that have not been handed on
	over      bool
	cut       bool          // connections that have not been handed on are closed
	accepting chan struct{} // closed when no more is accepted; nil before Accept is called
	accepted  chan struct{} // closed when Accept has returned; nil before it is called
}

var _ transport.Listener = (*listener)(nil)

func newListener(t *Transport, ln net.Listener) *listener {
	l := &listener{t: t, ln: ln, tls: t.tls, idle: newHandoff(ln.Addr()), web: newHandoff(ln.Addr()), done: make(chan struct{}), sniffing: make(map[net.Conn]struct{})}
	l.native = t.native.Serving(l.idle)
	l.http = http.NewListener(t.cfg.HTTP, l.web)
	return l
}

// Addr returns the bound address; see transport.Listener.
func (l *listener) Addr() string {
	if a := l.ln.Addr(); a.Network() == "unix" {
		return "unix:" + a.String()
	}
	return l.ln.Addr().String()
}

// Accept serves connections; see transport.Listener.
func (l *listener) Accept(serve func(transport.Socket), opts ...transport.AcceptOption) error {
	l.mu.Lock()
	if l.over {
		l.mu.Unlock()
		return nil
	}
	if l.accepted != nil {
		l.mu.Unlock()
		return stderrors.New("port: Accept has been called before")
	}
	l.accepting, l.accepted = make(chan struct{}), make(chan struct{})
	l.mu.Unlock()
	defer close(l.accepted)
	var engines sync.WaitGroup
	defer engines.Wait()
	for _, e := range [...]transport.Listener{l.native, l.http} {
		ready := make(chan struct{})
		engines.Go(func() {
			_ = e.Accept(serve, append(opts[:len(opts):len(opts)], func(*transport.AcceptOptions) { close(ready) })...) // its listener has no errors of its own
		})
		<-ready
	}
	defer close(l.accepting)
	return l.accept()
}

// accept takes connections until the listener is closed.
func (l *listener) accept() error {
	for wait := time.Duration(0); ; {
		conn, err := l.ln.Accept()
		if err == nil {
			wait = 0
			l.begin(conn)
			continue
		}
		select {
		case <-l.done:
			return nil
		default:
		}
		if stderrors.Is(err, net.ErrClosed) {
			return fmt.Errorf("accept on %s: %w", l.Addr(), err)
		}
		// Out of file descriptors, most likely: others may close theirs.
		wait = min(max(2*wait, 5*time.Millisecond), time.Second)
		l.t.cfg.Logger.Warn("accept failed, trying again", "address", l.Addr(), "error", err, "after", wait)
		select {
		case <-time.After(wait):
		case <-l.done:
		}
	}
}

// begin finds out what a connection speaks, on a goroutine of its own.
func (l *listener) begin(conn net.Conn) {
	l.mu.Lock()
	if l.cut {
		l.mu.Unlock()
		conn.Close()
		return
	}
	l.sniffing[conn] = struct{}{}
	l.group.Add(1)
	l.mu.Unlock()
	go func() {
		defer l.group.Done()
		l.sniff(conn)
		l.claim(conn)
	}()
}

// claim takes a connection from the listener, to hand it on: stop must not
// close one that an engine has answered already, as its caller would not know
// whether its first call was executed. It reports whether it is still open.
func (l *listener) claim(conn net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, open := l.sniffing[conn]
	delete(l.sniffing, conn)
	return open
}

// helloGrace is how long connections that were made before a Shutdown have to
// begin. Whoever has connected has mostly sent its first call already.
const helloGrace = 250 * time.Millisecond

// stop stops accepting, and hands on the connections that have been made, to
// engines that still take calls. Those that have said nothing when grace and
// ctx have ended are closed.
func (l *listener) stop(ctx context.Context, grace time.Duration) {
	l.mu.Lock()
	if !l.over {
		l.over = true
		close(l.done)
	}
	accepting := l.accepting
	l.mu.Unlock()
	l.ln.Close() // a second close says so, which does not matter
	ctx, cancel := context.WithTimeout(ctx, grace)
	defer cancel()
	defer context.AfterFunc(ctx, l.closeSilent)()
	if accepting != nil {
		<-accepting
	}
	l.group.Wait()
}

// closeSilent closes the connections that have not been handed on.
func (l *listener) closeSilent() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut = true
	for conn := range l.sniffing {
		conn.Close()
	}
	clear(l.sniffing)
}

// Shutdown stops taking connections and calls, and waits for those under way;
// see transport.Listener.
func (l *listener) Shutdown(ctx context.Context) error {
	l.stop(ctx, helloGrace)
	var group sync.WaitGroup
	errs := make([]error, 2)
	for i, e := range [...]transport.Listener{l.native, l.http} {
		group.Go(func() { errs[i] = e.Shutdown(ctx) })
	}
	group.Wait()
	l.wait()
	if errs[0] != nil {
		return errs[0]
	}
	return errs[1]
}

// Close stops at once; see transport.Listener.
func (l *listener) Close() error {
	l.closeSilent()
	l.stop(context.Background(), 0)
	err := stderrors.Join(l.native.Close(), l.http.Close())
	l.wait()
	return err
}

// wait waits until Accept has returned, if it has been called.
func (l *listener) wait() {
	l.mu.Lock()
	accepted := l.accepted
	l.mu.Unlock()
	if accepted != nil {
		<-accepted
	}
}

// handoff is a net.Listener for connections that were accepted elsewhere.
type handoff struct {
	addr  net.Addr
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func newHandoff(addr net.Addr) *handoff {
	return &handoff{addr: addr, conns: make(chan net.Conn), done: make(chan struct{})}
}

// give hands a connection on.
func (h *handoff) give(conn net.Conn) {
	select {
	case h.conns <- conn:
	case <-h.done:
		conn.Close()
	}
}

// Accept implements net.Listener.
func (h *handoff) Accept() (net.Conn, error) {
	select {
	case c := <-h.conns:
		return c, nil
	case <-h.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (h *handoff) Close() error {
	h.once.Do(func() { close(h.done) })
	return nil
}

// Addr implements net.Listener.
func (h *handoff) Addr() net.Addr { return h.addr }
