package mucp

import (
	"bufio"
	"context"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/seed-9a4e2794/micro/errors"
	"github.com/seed-9a4e2794/micro/transport"
)

// Server serves connections that have been taken over from net/http, and
// single requests that could not be. Its methods may run concurrently.
//
// A connection is read in sequence and calls are answered as they end. Unary
// calls that come before the last one is answered run beside it; several
// streams may share a connection, and one whose handler does not take its
// messages then holds up the others, as the protocol has no window of its own.
// The Timeout of a unary call is the deadline of its context. That of a stream
// is not: go-micro v1 sends the timeout of its requests there and does not mean
// the stream to end by it. A stream's context ends with its connection.
type Server struct {
	cfg   Config
	serve func(transport.Socket)
	opts  transport.AcceptOptions

	found  sync.Map // the Unary functions by endpoint
	finds  atomic.Int32
	strict names // the services that strict calls were let in for

	mu    sync.Mutex
	state serverState
	conns map[*serverConn]struct{}
	group sync.WaitGroup // connections
	busy  int            // handlers at work
	quiet chan struct{}  // closed when none is; nil when nobody waits for that
}

// maxFound is how many endpoints are looked up once only.
const maxFound = 1024

type serverState int

const (
	serving serverState = iota
	draining
	closed
)

// NewServer returns a server. serve is called on a goroutine of its own for
// each call that has no Unary function, opts.Lookup finds those functions.
// opts.Service, when there is one, says which content types are known; without
// it that is left to the functions.
func NewServer(cfg Config, serve func(transport.Socket), opts transport.AcceptOptions) *Server {
	return &Server{cfg: cfg.withDefaults(serverIdle), serve: serve, opts: opts, conns: make(map[*serverConn]struct{})}
}

// ServeConn serves a connection of HTTP/1.x that has been hijacked, and closes
// it. first is the request whose header has been read; its body must not have
// been, and br is where it and all that follows is read from. The connection
// must have no deadlines. ServeConn returns when the connection has ended;
// handlers that do not heed their context may still run.
func (s *Server) ServeConn(conn net.Conn, br *bufio.Reader, first *http.Request, peer transport.Peer) {
	if peer.Protocol == "" {
		peer.Protocol = Protocol
	}
	c := newServerConn(s, conn, br, peer)
	s.mu.Lock()
	if s.state == closed { // net/http may still have had the connection
		s.mu.Unlock()
		q := parseRequest(first)
		q.last = true
		c.refuse(&q, s.refusing())
		c.linger()
		c.end(transport.ErrClosed)
		return
	}
	c.going = s.state == draining
	s.conns[c] = struct{}{}
	s.group.Add(1)
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.conns, c)
		s.mu.Unlock()
		s.group.Done()
	}()
	c.run(first)
}

// Shutdown takes no more calls: those that come are refused as surely not
// executed, and connections without calls are closed. It waits for the calls
// under way until ctx ends, then closes, and returns ctx's error if it had to
// cut calls off.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	if s.state == serving {
		s.state = draining
	}
	conns := s.connections()
	s.mu.Unlock()
	for _, c := range conns {
		c.drain()
	}
	err := s.rest(ctx)
	if err == nil {
		// A request that is just coming in is still to be refused: to its caller
		// a closed connection would say that it may have been executed.
		wait, cancel := context.WithTimeout(ctx, lingerTime)
		defer cancel()
		for _, c := range conns {
			select {
			case <-c.gone:
			case <-wait.Done():
			}
		}
	}
	s.Close()
	return err
}

// Close stops at once: connections are closed and the contexts of calls end.
// It waits for the connections' goroutines, not for handlers.
func (s *Server) Close() error {
	s.mu.Lock()
	s.state = closed
	conns := s.connections()
	s.mu.Unlock()
	for _, c := range conns {
		c.end(transport.ErrClosed)
	}
	s.group.Wait()
	return nil
}

// connections returns the connections. The lock is held.
func (s *Server) connections() []*serverConn {
	conns := make([]*serverConn, 0, len(s.conns))
	for c := range s.conns {
		conns = append(conns, c)
	}
	return conns
}

// refusing returns the error of calls that come when the server is stopping,
// nil before.
func (s *Server) refusing() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == serving {
		return nil
	}
	return errors.Refuse(serverId, errors.CodeUnavailable, "the service is stopping: call another node")
}

// begin counts a handler.
func (s *Server) begin() {
	s.mu.Lock()
	s.busy++
	s.mu.Unlock()
}

// done says that a handler has ended and its answer has been sent.
func (s *Server) done() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.busy--; s.busy == 0 && s.quiet != nil {
		close(s.quiet)
		s.quiet = nil
	}
}

// rest waits until no handler is at work.
func (s *Server) rest(ctx context.Context) error {
	s.mu.Lock()
	if s.busy == 0 {
		s.mu.Unlock()
		return nil
	}
	if s.quiet == nil {
		s.quiet = make(chan struct{})
	}
	quiet := s.quiet
	s.mu.Unlock()
	select {
	case <-quiet:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// unary finds the function that answers a unary call. Without one and without
// an error the call is a Socket.
func (s *Server) unary(q *request) (transport.Unary, error) {
	if q.endpoint == "" {
		return nil, notWellFormed("")
	}
	if s.opts.Lookup == nil {
		return nil, nil
	}
	if q.strict {
		if err := s.meant(q); err != nil {
			return nil, err
		}
	}
	if f, ok := s.found.Load(q.endpoint); ok {
		return f.(transport.Unary), nil
	}
	f, err := s.opts.Lookup(transport.Method{Service: q.service, Endpoint: q.endpoint})
	if f != nil && err == nil && s.finds.Add(1) <= maxFound {
		s.found.Store(strings.Clone(q.endpoint), f)
	}
	if err != nil && !twoParts(q.endpoint) && errors.From("", err).GRPCCode() == errors.CodeNotFound {
		return nil, notWellFormed(q.endpoint)
	}
	return f, err
}

// meant returns the error of a strict call that is for another service. Who
// has been let in once is not asked about again.
func (s *Server) meant(q *request) error {
	if s.strict.has(q.service) {
		return nil
	}
	_, err := s.opts.Lookup(transport.Method{Service: q.service, Endpoint: q.endpoint, Strict: true})
	if err != nil && errors.From("", err).Refused {
		return err
	}
	s.strict.add(q.service)
	return nil
}

// known returns the error of a content type that the service does not know.
func (s *Server) known(q *request) error {
	if s.opts.Service == nil || q.form.kind != formPlain && q.form.kind != formGRPC {
		return nil
	}
	for _, t := range s.opts.Service.ContentTypes() {
		if t == q.form.inner {
			return nil
		}
	}
	return &unknownType{name: clean(q.named)}
}

// unknownType is the error of a content type that is not known. It is answered
// in text, as go-micro does, and as an error.
type unknownType struct{ name string }

func (e *unknownType) Error() string { return unsupported + e.name }

// unsupported begins the answer to an unknown content type, in small letters
// since v2.
const unsupported = "Unsupported Content-Type: "
