package mucp

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/seed-9a4e2794/micro/codec"
	"github.com/seed-9a4e2794/micro/errors"
	"github.com/seed-9a4e2794/micro/metadata"
	"github.com/seed-9a4e2794/micro/transport"
)

// clientStream is the caller's side of a stream, on a connection of its own.
type clientStream struct {
	c       *client
	cc      *clientConn
	ctx     context.Context
	cancel  context.CancelFunc
	release func() bool
	in      *inbox

	sendMu sync.Mutex // one message at a time
	m      message
	closed bool

	mu      sync.Mutex
	hasHead bool
	headed  chan struct{} // closed when first is known
	first   metadata.Header
	trail   metadata.Header
}

var _ transport.Socket = (*clientStream)(nil)

// Open starts a stream; see transport.Conn. Its encoding is that of r.Message,
// or the one that the metadata field "accept" names, or protobuf; all messages
// have it.
func (c *client) Open(ctx context.Context, r transport.Request) (transport.Socket, error) {
	ctx, cancel, err := deadline(ctx, r.Deadline)
	if err != nil {
		return nil, err
	}
	s, err := c.open(ctx, cancel, r)
	if err != nil {
		cancel()
		return nil, err
	}
	return s, nil
}

func (c *client) open(ctx context.Context, cancel context.CancelFunc, r transport.Request) (*clientStream, error) {
	ctype := codec.Proto
	if r.Message.Codec != nil {
		ctype = r.Message.Codec.Name()
	} else if accept, _ := r.Header.Get("accept"); accept != "" {
		ctype = accept
	}
	m, err := c.head(r, ctype, true)
	if err != nil {
		return nil, err
	}
	// The opening message says nothing: servers do not hand it on.
	opening := r.Message
	switch {
	case opening.Codec != nil && opening.Value != nil:
	case m.form.inner == codec.JSON:
		opening = transport.Message{Value: "{}", Codec: text{}}
	default:
		opening = transport.Message{}
	}
	body, err := c.encode(&m, opening)
	if err != nil {
		return nil, err
	}
	cc, _, err := c.take(ctx, true)
	if err != nil {
		return nil, err
	}
	s := &clientStream{c: c, cc: cc, ctx: ctx, cancel: cancel, in: newInbox(c.cfg.Window), m: m, headed: make(chan struct{})}
	s.release = watch(ctx, cc.conn)
	if d, ok := ctx.Deadline(); ok {
		m.timeout = max(time.Until(d), 1)
	}
	if n, err := cc.conn.Write(m.append(nil, c.addr, body)); err != nil {
		s.release()
		c.drop(cc)
		if cerr := ctx.Err(); cerr != nil {
			return nil, contextError(clientId, cerr)
		}
		return nil, errors.Wrap(clientId, errors.CodeUnavailable, fmt.Errorf("%w: opening a stream at %s, after %d bytes: %w", errors.ErrRefused, c.addr, n, err))
	}
	c.mu.Lock()
	if c.err != nil {
		err := c.err
		c.mu.Unlock()
		s.release()
		c.drop(cc)
		return nil, errors.Wrap(clientId, errors.CodeUnavailable, fmt.Errorf("%w: %w", errors.ErrRefused, err))
	}
	c.group.Add(1)
	c.mu.Unlock()
	go s.read()
	return s, nil
}

// text is a codec of what is encoded already.
type text struct{}

func (text) Name() string                             { return codec.JSON }
func (text) Append(dst []byte, v any) ([]byte, error) { return append(dst, v.(string)...), nil }
func (text) Unmarshal([]byte, any) error              { return codec.ErrType }

// read reads what the server sends until the stream ends.
func (s *clientStream) read() {
	defer s.c.group.Done()
	defer s.cancel()
	defer s.c.drop(s.cc)
	stop := context.AfterFunc(s.ctx, func() { s.in.close(contextError(clientId, s.ctx.Err())) })
	defer stop()
	for {
		a, err := s.c.answer(s.cc, &s.m)
		if err != nil {
			s.in.closeAnd(s.c.lost(s.ctx, err), s.cancel)
			s.heading(nil)
			return
		}
		if a.err == nil {
			s.heading(a.header)
			s.in.put(a.body)
			continue
		}
		s.mu.Lock()
		s.trail = a.header
		s.mu.Unlock()
		if a.end {
			s.in.closeAnd(io.EOF, s.cancel)
		} else {
			s.in.closeAnd(s.why(a.err), s.cancel)
		}
		s.heading(a.header)
		return
	}
}

// why returns the error that a stream has ended with: the server's, unless the
// caller's time was over, of which the server may have heard first.
func (s *clientStream) why(err error) error {
	if d, ok := s.ctx.Deadline(); ok && !time.Now().Before(d) {
		return contextError(clientId, context.DeadlineExceeded)
	}
	return err
}

// heading notes the first header.
func (s *clientStream) heading(h metadata.Header) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.hasHead {
		s.hasHead, s.first = true, h
		close(s.headed)
	}
}

// Context implements transport.Socket.
func (s *clientStream) Context() context.Context { return s.ctx }

// Method implements transport.Socket.
func (s *clientStream) Method() transport.Method { return s.m.method }

// Unary implements transport.Socket.
func (s *clientStream) Unary() bool { return false }

// Local implements transport.Socket.
func (s *clientStream) Local() string { return s.cc.conn.LocalAddr().String() }

// Remote implements transport.Socket.
func (s *clientStream) Remote() string { return s.cc.conn.RemoteAddr().String() }

// Send implements transport.Socket.
func (s *clientStream) Send(m transport.Message) error {
	if m.Codec == nil {
		return errNoCodec
	}
	if name := base(m.Codec.Name()); name != s.m.form.inner {
		return errors.NewCode(clientId, errors.CodeInvalidArgument, "the stream was opened in %s: a go-micro server takes no message in %s", s.m.form.inner, name)
	}
	s.sendMu.Lock()
	defer s.sendMu.Unlock()
	if err := s.sendable(); err != nil {
		return err
	}
	body, err := s.c.encode(&s.m, m)
	if err != nil {
		return err
	}
	return s.write(&s.m, body)
}

// sendable returns why nothing can be sent any more. sendMu is held.
func (s *clientStream) sendable() error {
	switch {
	case s.in.ended() != nil:
		return io.EOF // Recv says how
	case s.closed:
		return errSendEnded
	}
	return nil
}

func (s *clientStream) write(m *message, body []byte) error {
	_, err := s.cc.conn.Write(m.append(nil, s.c.addr, body))
	switch cerr := s.ctx.Err(); {
	case err == nil:
		return nil
	case s.in.ended() != nil:
		return io.EOF // Recv says how
	case cerr != nil:
		return contextError(clientId, cerr)
	}
	return errors.Wrap(clientId, errors.CodeUnavailable, fmt.Errorf("%w: %w", transport.ErrLost, err))
}

// CloseSend implements transport.Socket.
func (s *clientStream) CloseSend() error {
	s.sendMu.Lock()
	defer s.sendMu.Unlock()
	if s.closed || s.in.ended() != nil {
		return nil
	}
	s.closed = true
	end := s.m
	end.err = endOfStream
	var body []byte
	if end.form.kind != formPlain {
		var err error
		if body, err = s.c.encode(&end, transport.Message{}); err != nil {
			return err
		}
	}
	if err := s.write(&end, body); err != io.EOF { // else the server has ended it
		return err
	}
	return nil
}

// Recv implements transport.Socket.
func (s *clientStream) Recv() (transport.Body, error) {
	// The end of the context comes as the end of the inbox, after what has come.
	m, err := s.in.take(context.Background())
	if err != nil {
		return transport.Body{}, err
	}
	return bodyOf(m, s.m.form.inner), nil
}

// Header implements transport.Socket.
func (s *clientStream) Header() (metadata.Header, error) {
	<-s.headed
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.first, s.in.failure()
}

// Trailer implements transport.Socket.
func (s *clientStream) Trailer() metadata.Header {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.trail
}

// Finish implements transport.Socket.
func (s *clientStream) Finish(*transport.Message, error) error { return errNoFinish }

// Reset implements transport.Socket.
func (s *clientStream) Reset() {
	s.in.close(contextError(clientId, context.Canceled)) // does nothing when the end has come
	s.cancel()
}
