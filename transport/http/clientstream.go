package http

import (
	"context"
	stderrors "errors"
	"io"
	nethttp "net/http"
	"sync"

	"connectrpc.com/connect"

	"github.com/seed-9a4e2794/micro/errors"
	"github.com/seed-9a4e2794/micro/metadata"
	"github.com/seed-9a4e2794/micro/transport"
)

// clientStream is the calling side of a call as a Socket. All messages have the
// codec that the call was opened with: HTTP says it once.
type clientStream struct {
	c      *caller
	x      *exchange // whose context is connect's, and ends after the last message
	ctx    context.Context
	drop   context.CancelFunc // ends ctx
	stop   []func() bool      // what ends the exchange otherwise
	method transport.Method
	ctype  string
	bidi   *connect.BidiStreamForClient[message, message]
	headed chan struct{} // closed when the answer has begun, or cannot

	sendMu sync.Mutex // one message at a time
	mu     sync.Mutex
	shut   bool  // this side sends no more
	over   error // what Recv returns from now on
	trail  metadata.Header
}

var _ transport.Socket = (*clientStream)(nil)

// Open implements transport.Conn. It does not wait for the peer: what that says
// to the call comes by Recv.
func (c *caller) Open(ctx context.Context, r transport.Request) (transport.Socket, error) {
	x, cl, err := c.begin(ctx, r, true)
	if err != nil {
		return nil, err
	}
	s := &clientStream{c: c, x: x, method: r.Method, ctype: contentTypeOf(r.Message), headed: make(chan struct{})}
	x.stream = s
	s.ctx, s.drop = context.WithCancel(x.Context)
	s.stop = append(s.stop, context.AfterFunc(x.Context, x.end), context.AfterFunc(c.ctx, s.drop))
	s.bidi = cl.CallBidiStream(x)
	if _, err := s.bidi.Conn(); err != nil { // the URL is none
		c.going.Done()
		close(s.headed)
		return nil, s.finish(errors.Wrap(callerId, errors.CodeInvalidArgument, err))
	}
	askHTTP(s.bidi.RequestHeader(), r)
	// This starts the goroutine that makes the round trip, and sends the
	// header. Do counts it down.
	if err := s.bidi.Send(nil); err != nil && !stderrors.Is(err, io.EOF) && x.Err() == nil {
		return nil, s.finish(c.failure(x, err))
	}
	return s, nil
}

// Context implements transport.Socket.
func (s *clientStream) Context() context.Context { return s.ctx }

// Method implements transport.Socket.
func (s *clientStream) Method() transport.Method { return s.method }

// Unary implements transport.Socket.
func (s *clientStream) Unary() bool { return false }

// Local implements transport.Socket.
func (s *clientStream) Local() string { return s.c.local }

// Remote implements transport.Socket.
func (s *clientStream) Remote() string { return s.c.remote }

var (
	errSendClosed = stderrors.New("stream: the sending side of the stream is closed")
	errNoCodec    = stderrors.New("stream: a message to send needs a codec")
	errNoFinish   = stderrors.New("stream: only the listener's side finishes a call")
)

// Send implements transport.Socket.
func (s *clientStream) Send(m transport.Message) error {
	if m.Codec == nil {
		return errNoCodec
	}
	if name := m.Codec.Name(); name != s.ctype {
		return errors.NewCode(callerId, errors.CodeInvalidArgument, "the stream was opened for %s and cannot carry %s", s.ctype, name)
	}
	s.sendMu.Lock()
	defer s.sendMu.Unlock()
	if err := s.sendable(); err != nil {
		return err
	}
	err := s.bidi.Send(&message{out: m})
	if err == nil {
		return nil
	}
	var own *errors.Error
	if stderrors.As(err, &own) {
		return own // the message could not be encoded; the stream lives on
	}
	if cerr := s.x.Err(); cerr != nil && s.sendable() == nil {
		return errors.Wrap(callerId, contextCode(cerr), cerr)
	}
	return io.EOF // Recv says how the call has ended
}

// sendable returns nil while messages can be sent.
func (s *clientStream) sendable() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.over != nil:
		return io.EOF
	case s.shut:
		return errSendClosed
	}
	return nil
}

// CloseSend implements transport.Socket.
func (s *clientStream) CloseSend() error {
	s.sendMu.Lock()
	defer s.sendMu.Unlock()
	s.mu.Lock()
	done := s.shut || s.over != nil
	s.shut = true
	s.mu.Unlock()
	if done {
		return nil
	}
	return s.bidi.CloseRequest()
}

// Recv implements transport.Socket.
func (s *clientStream) Recv() (transport.Body, error) {
	s.mu.Lock()
	over := s.over
	s.mu.Unlock()
	if over != nil {
		return transport.Body{}, over
	}
	m, err := s.bidi.Receive()
	if err == nil {
		return taken(m, s.ctype), nil
	}
	res, broken := s.x.outcome()
	if res != nil && broken == nil {
		trail := fromHTTP(s.bidi.ResponseTrailer())
		s.mu.Lock()
		s.trail = trail
		s.mu.Unlock()
	}
	// An end that is none, without trailers, is not io.EOF for connect.
	if broken != nil || !stderrors.Is(err, io.EOF) || connect.IsWireError(err) {
		err = s.c.failure(s.x, err)
	} else if err = io.EOF; s.x.late() {
		err = errors.Wrap(callerId, errors.CodeDeadlineExceeded, context.DeadlineExceeded)
	}
	return transport.Body{}, s.finish(err)
}

// finish ends the stream, once. It returns what Recv returns.
func (s *clientStream) finish(err error) error {
	s.mu.Lock()
	if s.over == nil {
		s.over = err
	}
	err = s.over
	s.mu.Unlock()
	s.drop()
	for _, stop := range s.stop {
		stop()
	}
	s.x.end()
	return err
}

// Header implements transport.Socket.
func (s *clientStream) Header() (metadata.Header, error) {
	select {
	case <-s.headed:
	case <-s.x.Done():
	}
	s.mu.Lock()
	over := s.over
	s.mu.Unlock()
	res, broken := s.x.outcome()
	switch {
	case over != nil && over != io.EOF:
		return headerOfResponse(res), over
	case res != nil:
		return headerOfResponse(res), nil
	case broken == nil:
		broken = s.x.Err()
	}
	return nil, s.c.failure(s.x, broken)
}

func headerOfResponse(res *nethttp.Response) metadata.Header {
	if res == nil {
		return nil
	}
	return fromHTTP(res.Header)
}

// Trailer implements transport.Socket.
func (s *clientStream) Trailer() metadata.Header {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.trail
}

// Finish implements transport.Socket. It is for the listener's side.
func (s *clientStream) Finish(*transport.Message, error) error { return errNoFinish }

// Reset implements transport.Socket.
func (s *clientStream) Reset() {
	s.mu.Lock()
	over := s.over
	s.mu.Unlock()
	if over == nil {
		s.x.cancel()
	}
}
