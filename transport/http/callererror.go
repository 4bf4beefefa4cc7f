package http

import (
	"context"
	stderrors "errors"
	"fmt"
	"io"
	nethttp "net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"

	"github.com/seed-9a4e2794/micro/errors"
	"github.com/seed-9a4e2794/micro/metadata"
	"github.com/seed-9a4e2794/micro/transport"
)

// exchange is one call, and its context for connect and net/http. It keeps what
// connect turns into text: the response, and the error that broke it.
type exchange struct {
	context.Context
	cancel context.CancelFunc // nil when there is nothing to let go of
	stream *clientStream      // nil for a unary call

	mu    sync.Mutex
	res   *nethttp.Response
	err   error          // of the round trip, or of reading the response
	meta  nethttp.Header // what came with the peer's error
	ended bool
}

// exchangeKey is the key of the exchange in its context.
type exchangeKey struct{}

// Value implements context.Context.
func (x *exchange) Value(key any) any {
	if key == (exchangeKey{}) {
		return x
	}
	return x.Context.Value(key)
}

// answered takes the outcome of the round trip.
func (x *exchange) answered(res *nethttp.Response, err error) (*nethttp.Response, error) {
	x.mu.Lock()
	x.res, x.err = res, err
	ended := x.ended
	if err == nil {
		res.Body = &receiving{ReadCloser: res.Body, x: x}
	}
	x.mu.Unlock()
	if x.stream != nil {
		close(x.stream.headed)
	}
	if err == nil && ended { // nobody else closes it
		res.Body.Close()
		return nil, context.Cause(x)
	}
	return res, err
}

// end lets go of what the call holds. It may be called more than once.
func (x *exchange) end() {
	x.mu.Lock()
	x.ended = true
	res := x.res
	x.mu.Unlock()
	if x.cancel != nil {
		x.cancel()
	}
	if res != nil {
		res.Body.Close()
	}
}

// outcome returns the response and what broke it.
func (x *exchange) outcome() (*nethttp.Response, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.res, x.err
}

// metadata returns the header and trailer that came with the error that the
// peer sent.
func (x *exchange) metadata() (head, trail metadata.Header) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.res == nil || x.meta == nil {
		return nil, nil
	}
	return metadataOf(x.res, x.meta)
}

// late reports whether the deadline has passed, whether or not the timer has
// noticed yet.
func (x *exchange) late() bool {
	d, ok := x.Deadline()
	return ok && !time.Now().Before(d)
}

// receiving is the body of a response; it notes what breaks it, but for this
// side's closing it.
type receiving struct {
	io.ReadCloser
	x      *exchange
	closed atomic.Bool
}

func (r *receiving) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	if err != nil && err != io.EOF && !r.closed.Load() {
		r.x.mu.Lock()
		if r.x.err == nil {
			r.x.err = err
		}
		r.x.mu.Unlock()
	}
	return n, err
}

func (r *receiving) Close() error {
	r.closed.Store(true)
	return r.ReadCloser.Close()
}

// sending is the body of the request of a stream. When net/http closes it
// before its end, the stream is over.
type sending struct {
	io.ReadCloser
	eof atomic.Bool
	cut func()
}

func (s *sending) Read(p []byte) (int, error) {
	n, err := s.ReadCloser.Read(p)
	if err == io.EOF {
		s.eof.Store(true)
	}
	return n, err
}

func (s *sending) Close() error {
	if !s.eof.Load() {
		s.cut()
	}
	return s.ReadCloser.Close()
}

func contextCode(err error) errors.Code {
	if err == context.Canceled {
		return errors.CodeCanceled
	}
	return errors.CodeDeadlineExceeded
}

// failure turns the error that connect returned for a call into one of the
// contract's.
func (c *caller) failure(x *exchange, err error) error {
	var own *errors.Error
	if stderrors.As(err, &own) {
		return own // made here before anything was sent, or by Do of the answer
	}
	var ce *connect.Error
	if !stderrors.As(err, &ce) {
		ce = connect.NewError(connect.CodeInternal, err)
	}
	if connect.IsWireError(ce) {
		x.mu.Lock()
		x.meta = ce.Meta()
		x.mu.Unlock()
		return fromConnect(ce)
	}
	if err := x.Err(); err != nil {
		return errors.Wrap(callerId, contextCode(err), err)
	}
	res, broken := x.outcome()
	switch {
	case broken != nil:
		return c.breakage(x, broken)
	case res == nil:
		return errors.Wrap(callerId, errors.Code(ce.Code()), ce)
	case res.StatusCode != nethttp.StatusOK:
		return errors.NewCode(callerId, errors.Code(ce.Code()), "%s answered %s with the HTTP status %s and the content type %q: it does not serve %s there",
			c.remote, res.Request.URL.Path, res.Status, res.Header.Get("Content-Type"), c.cfg.Protocol)
	case !c.speaks(x, res):
		return errors.NewCode(callerId, errors.Code(ce.Code()), "%s answered %s with the content type %q: it does not serve %s there",
			c.remote, res.Request.URL.Path, res.Header.Get("Content-Type"), c.cfg.Protocol)
	case ce.Code() == connect.CodeResourceExhausted:
		return errors.Wrap(callerId, errors.CodeResourceExhausted, fmt.Errorf("%w: from %s: %s", transport.ErrTooLarge, c.remote, ce.Message()))
	}
	return errors.NewCode(callerId, errors.Code(ce.Code()), "%s answered %s with what is no %s: %s", c.remote, res.Request.URL.Path, c.cfg.Protocol, ce.Message())
}

// speaks reports whether the content type of a response is one of the
// protocol's.
func (c *caller) speaks(x *exchange, res *nethttp.Response) bool {
	prefix := "application/"
	switch {
	case c.cfg.Protocol == GRPC:
		prefix = "application/grpc"
	case c.cfg.Protocol == GRPCWeb:
		prefix = "application/grpc-web"
	case x.stream != nil:
		prefix = "application/connect+"
	}
	return strings.HasPrefix(res.Header.Get("Content-Type"), prefix)
}

// streamError has the fields of net/http's error for a stream of HTTP/2 that
// was reset: its As method fills any struct that has them.
type streamError struct {
	StreamID uint32
	Code     uint32
	Cause    error
}

// Error implements error.
func (e streamError) Error() string { return fmt.Sprintf("the stream was reset with code %d", e.Code) }

// The codes of HTTP/2 that mean something to a call: RFC 9113 §7.
const (
	resetRefused = 7
	resetCancel  = 8
	resetCalm    = 11
)

// unsent are the texts of net/http's errors for calls that were surely not
// executed: they were not sent, or the peer said in its GOAWAY that it had not
// looked at them. The errors have no names outside net/http.
var unsent = [...]string{
	"http2: client conn not usable",
	"http2: client conn could not be established",
	"http2: Transport received Server's graceful shutdown GOAWAY",
	"http2: Transport received GOAWAY from server",
}

// breakage is the error of a call whose exchange over HTTP has been broken.
func (c *caller) breakage(x *exchange, err error) error {
	c.mu.Lock()
	closed := c.closed
	c.mu.Unlock()
	var reset streamError
	text := err.Error()
	for _, u := range unsent {
		if strings.HasPrefix(text, u) {
			return c.refused(err)
		}
	}
	switch {
	case stderrors.Is(err, transport.ErrUnreachable):
		return errors.Wrap(callerId, errors.CodeUnavailable, err)
	case strings.Contains(text, "larger than peer's advertised limit"):
		return errors.Refuse(callerId, errors.CodeResourceExhausted, "%s takes no metadata as large as that of this call", c.remote)
	case strings.Contains(text, "response header list larger than advertised limit"), strings.Contains(text, "server response headers exceeded"):
		return errors.Wrap(callerId, errors.CodeResourceExhausted, fmt.Errorf("%w: the metadata of the reply of %s is over %d bytes", transport.ErrTooLarge, c.remote, c.cfg.MaxHeader))
	case closed:
		err = transport.ErrClosed
	case stderrors.As(err, &reset):
		switch reset.Code {
		case resetRefused:
			return c.refused(stderrors.New("it refused the stream"))
		case resetCancel:
			if x.late() {
				return errors.Wrap(callerId, errors.CodeDeadlineExceeded, context.DeadlineExceeded)
			}
			return errors.NewCode(callerId, errors.CodeCanceled, "%s has reset the call", c.remote)
		case resetCalm:
			return errors.NewCode(callerId, errors.CodeResourceExhausted, "%s has reset the call: it wants fewer", c.remote)
		}
		return errors.NewCode(callerId, errors.CodeInternal, "%s has reset the call: %v", c.remote, err)
	}
	return errors.Wrap(callerId, errors.CodeUnavailable, fmt.Errorf("%w: %s: %w", transport.ErrLost, c.remote, err))
}
