package wire

import (
	"context"
	stderrors "errors"
	"fmt"
	"net"
	"sync"
	"time"

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

// Addr returns the bound address, as Dial takes it.
func (l *Listener) Addr() string {
	if a := l.ln.Addr(); a.Network() == "unix" {
		return "unix:" + a.String()
	}
	return l.ln.Addr().String()
}

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
			l.Serve(conn, nil)
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

// Serve serves one connection on goroutines of the listener. read is what has
// been read from it already; at most 16 KiB. Accept must have been called.
func (l *Listener) Serve(conn net.Conn, read []byte) {
	c := &serverConn{l: l, drained: make(chan struct{}), gone: make(chan struct{})}
	c.init(conn, &l.cfg, "micro", c)
	c.r.preload(read)
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

// Refusal returns what a side sends to a caller whose connection it does not
// take, before it closes: the preamble and a GOAWAY with the reason.
func Refusal(why string) []byte {
	return appendFrame([]byte(preamble), header{typ: typeGoAway, aux: goAwayProtocol}, why[:min(len(why), maxGoAwayText)])
}

// FirstByte is the byte that every connection of the native wire begins with,
// and none of another protocol.
const FirstByte = 0xA7

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
	// Handlers whose callers have gone finish what they have begun.
	if gone := l.crew.wait(ctx); gone != nil {
		err = gone
	}
	// Calls that crossed the GOAWAY are still to be refused: to their callers
	// a closed connection would say that they may have been executed. Callers
	// close when they have heard of it.
	ctx, cancel := context.WithTimeout(ctx, lingerTime)
	defer cancel()
	for _, c := range conns {
		select {
		case <-c.gone:
		case <-ctx.Done():
		}
	}
	l.Close()
	return err
}

// lingerTime is how long callers have to close their connections once they
// have been told that this side takes no more calls and have all their answers.
const lingerTime = time.Second

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
