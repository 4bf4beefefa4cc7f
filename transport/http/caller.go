package http

import (
	"context"
	stderrors "errors"
	"fmt"
	"net"
	nethttp "net/http"
	"sync"
	"time"

	"connectrpc.com/connect"

	"github.com/seed-9a4e2794/micro/codec"
	"github.com/seed-9a4e2794/micro/errors"
	"github.com/seed-9a4e2794/micro/internal/mucp"
	"github.com/seed-9a4e2794/micro/metadata"
	"github.com/seed-9a4e2794/micro/transport"
)

// callerId is the Id of errors that the calling side makes.
const callerId = "go.micro.client.transport"

// caller is the calling side of a connection.
type caller struct {
	cfg           Config
	base          string // of all URLs
	local, remote string
	rt            nethttp.RoundTripper
	h2            *nethttp.ClientConn // nil over HTTP/1.1
	line          *watched            // likewise
	h1            *http1              // nil over HTTP/2

	ctx    context.Context // ends with the connection
	cancel context.CancelFunc

	mu      sync.Mutex
	closed  bool
	why     error // why no new calls are made
	clients map[clientKey]*client
	going   sync.WaitGroup // calls under way; it grows under the lock, and not when closed
}

var _ transport.Conn = (*caller)(nil)

// client calls one method with one codec.
type client = connect.Client[message, message]

// clientKey is what a client is for.
type clientKey struct{ service, endpoint, codec string }

// maxClients is how many clients a connection remembers. When there are more
// methods it begins anew.
const maxClients = 1024

func newCaller(cfg Config, base string, conn net.Conn) *caller {
	c := &caller{cfg: cfg, base: base, local: conn.LocalAddr().String(), remote: conn.RemoteAddr().String(), clients: make(map[clientKey]*client)}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	return c
}

// Local implements transport.Conn.
func (c *caller) Local() string { return c.local }

// Remote implements transport.Conn.
func (c *caller) Remote() string { return c.remote }

// Err implements transport.Conn.
func (c *caller) Err() error {
	c.mu.Lock()
	why := c.why
	c.mu.Unlock()
	switch {
	case why != nil || c.h2 == nil:
		return why
	case c.line.away.Load() != nil:
		return stderrors.New(*c.line.away.Load())
	case c.line.cause() != nil:
		return fmt.Errorf("%w: %s: %w", transport.ErrLost, c.remote, c.line.cause())
	}
	return c.h2.Err()
}

// broken notes why no new calls are made.
func (c *caller) broken(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.why == nil {
		c.why = err
	}
}

// Close implements transport.Conn.
func (c *caller) Close() error {
	c.mu.Lock()
	c.closed = true
	c.why = transport.ErrClosed
	c.mu.Unlock()
	c.cancel()
	if c.h2 != nil {
		c.h2.Close()
		c.line.Close()
		c.line.wait()
	} else {
		c.h1.close()
	}
	c.going.Wait()
	return nil
}

// Call implements transport.Conn.
func (c *caller) Call(ctx context.Context, r transport.Request) (transport.Reply, error) {
	x, cl, err := c.begin(ctx, r, false)
	if err != nil {
		return transport.Reply{}, err
	}
	defer c.going.Done()
	defer x.end()
	req := connect.NewRequest(&message{out: r.Message})
	askHTTP(req.Header(), r)
	before, began := c.received(), time.Now()
	res, err := cl.CallUnary(x, req)
	if err != nil {
		err = c.failure(x, err)
		// Over HTTP/1.1 a slow call says nothing of the others: each has a
		// connection for itself, which ends with the call that it kept waiting.
		if c.line != nil && x.Err() == context.DeadlineExceeded && time.Since(began) >= silence && c.received() == before {
			c.broken(fmt.Errorf("%s has sent nothing since a call of %v began, which ran out of time", c.remote, time.Since(began).Round(time.Millisecond)))
		}
		head, trail := x.metadata()
		return transport.Reply{Header: head, Trailer: trail}, err
	}
	if x.late() {
		taken(res.Msg, "").Release()
		return transport.Reply{}, errors.Wrap(callerId, errors.CodeDeadlineExceeded, context.DeadlineExceeded)
	}
	return transport.Reply{Body: taken(res.Msg, contentTypeOf(r.Message)), Header: fromHTTP(res.Header()), Trailer: fromHTTP(res.Trailer())}, nil
}

// silence is how long a call must have taken for its running out of time to
// speak against the connection, when nothing at all has come over that.
const silence = 2 * time.Second

// received returns how many bytes have come over HTTP/2.
func (c *caller) received() int64 {
	if c.line == nil {
		return 0
	}
	return c.line.read.Load()
}

// taken returns a received message as a body of the type that was asked for.
func taken(m *message, contentType string) transport.Body {
	b := m.take()
	b.ContentType = contentType // HTTP's own names for it leave room
	return b
}

func contentTypeOf(m transport.Message) string {
	if m.Codec == nil {
		return codec.Proto
	}
	return m.Codec.Name()
}

// begin prepares a call. If it returns no error, going has to be told of the
// end of the call.
func (c *caller) begin(ctx context.Context, r transport.Request, stream bool) (*exchange, *client, error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, errors.Wrap(callerId, contextCode(err), err)
	}
	if !r.Deadline.IsZero() && !time.Now().Before(r.Deadline) {
		return nil, nil, errors.Wrap(callerId, errors.CodeDeadlineExceeded, context.DeadlineExceeded)
	}
	if stream && c.h1 != nil {
		return nil, nil, errors.NewCode(callerId, errors.CodeUnimplemented, "%s speaks HTTP/1.1 only, which has no streams: let it serve HTTP/2", c.remote)
	}
	if err := c.portable(r); err != nil {
		return nil, nil, err
	}
	cl := c.client(r)
	if err := c.enter(); err != nil {
		return nil, nil, err
	}
	x := &exchange{Context: ctx}
	switch {
	case !r.Deadline.IsZero():
		x.Context, x.cancel = context.WithDeadline(ctx, r.Deadline)
	case stream:
		x.Context, x.cancel = context.WithCancel(ctx)
	}
	return x, cl, nil
}

// enter counts a call.
func (c *caller) enter() error {
	err := c.Err()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		err = transport.ErrClosed
	}
	if err != nil {
		return c.refused(err)
	}
	c.going.Add(1)
	return nil
}

// refused is the error of a call that was surely not executed.
func (c *caller) refused(why error) error {
	return errors.Refuse(callerId, errors.CodeUnavailable, "the connection to %s takes no more calls: %v", c.remote, why)
}

// portable reports what of a request cannot be carried by HTTP.
func (c *caller) portable(r transport.Request) error {
	if r.Method.Endpoint == "" {
		return errors.NewCode(callerId, errors.CodeInvalidArgument, "the call names no endpoint")
	}
	if r.Method.Strict && !printable(r.Method.Service) {
		return errors.NewCode(callerId, errors.CodeInvalidArgument, "the name of the service %.80q cannot be carried by HTTP, it has control characters", r.Method.Service)
	}
	n := 2*len(r.Method.Service) + len(r.Method.Endpoint)
	for _, f := range r.Header {
		n += len(f.Key) + len(f.Value) + 32 // as in RFC 9113 §6.5.2
		switch key := nethttp.CanonicalHeaderKey(f.Key); {
		case !token(key):
			return errors.NewCode(callerId, errors.CodeInvalidArgument, "the metadata key %.80q cannot be carried by HTTP: it may have letters, digits and !#$%%&'*+-.^_`|~", f.Key)
		case !reserved(key) && !binaryKey(key) && !printable(f.Value):
			return errors.NewCode(callerId, errors.CodeInvalidArgument, "the value of the metadata key %q cannot be carried by HTTP, it has control characters: give it a key that ends in -bin", f.Key)
		}
	}
	if n > c.cfg.MaxHeader {
		return errors.Refuse(callerId, errors.CodeResourceExhausted, "the metadata of the call is about %d bytes, the limit is %d", n, c.cfg.MaxHeader)
	}
	return nil
}

// binaryKey reports whether values under a canonical key are encoded.
func binaryKey(key string) bool { return len(key) > 4 && key[len(key)-4:] == "-Bin" }

// client returns the client for a request.
func (c *caller) client(r transport.Request) *client {
	key := clientKey{r.Method.Service, r.Method.Endpoint, codecName(contentTypeOf(r.Message))}
	c.mu.Lock()
	defer c.mu.Unlock()
	if cl := c.clients[key]; cl != nil {
		return cl
	}
	opts := []connect.ClientOption{connect.WithCodec(callerCodec{rawCodec(key.codec), c.cfg.MaxMessage}), connect.WithReadMaxBytes(c.cfg.MaxMessage)}
	switch c.cfg.Protocol {
	case GRPC:
		opts = append(opts, connect.WithGRPC())
	case GRPCWeb:
		opts = append(opts, connect.WithGRPCWeb())
	}
	if len(c.clients) >= maxClients {
		clear(c.clients)
	}
	cl := connect.NewClient[message, message](c, c.base+methodPath(r.Method), opts...)
	c.clients[key] = cl
	return cl
}

// Do implements connect.HTTPClient.
func (c *caller) Do(req *nethttp.Request) (*nethttp.Response, error) {
	x := req.Context().Value(exchangeKey{}).(*exchange) // begin has made it
	if x.stream != nil {
		defer c.going.Done()
		req.Body = &sending{ReadCloser: req.Body, cut: x.stream.drop}
	}
	res, err := c.rt.RoundTrip(req)
	if err == nil && res.StatusCode == nethttp.StatusOK {
		// A server that takes the call for one of go-micro's wire answers it
		// there, and without a message. In Connect that is an empty answer.
		if e := mucp.ErrorOf(res.Header); e != nil {
			res.Body.Close()
			res, err = nil, e
		}
	}
	return x.answered(res, err)
}

// callerCodec encodes what is sent, up to a limit.
type callerCodec struct {
	rawCodec
	max int
}

// Marshal implements connect.Codec.
func (c callerCodec) Marshal(v any) ([]byte, error) { return c.MarshalAppend(nil, v) }

// MarshalStable is what connect asks for when it puts a message into a URL.
func (c callerCodec) MarshalStable(v any) ([]byte, error) { return c.MarshalAppend(nil, v) }

// MarshalAppend is what connect asks for in place of Marshal. What panics here
// is the program's own encoding method.
func (c callerCodec) MarshalAppend(dst []byte, v any) (out []byte, err error) {
	defer func() {
		if p := recover(); p != nil {
			out, err = dst, errors.NewCode(callerId, errors.CodeInvalidArgument, "encoding the message panicked: %v", p)
		}
	}()
	if out, err = c.rawCodec.MarshalAppend(dst, v); err != nil {
		return dst, errors.Wrap(callerId, errors.CodeInvalidArgument, err)
	}
	if n := len(out) - len(dst); n > c.max {
		return dst, errors.Wrap(callerId, errors.CodeResourceExhausted, fmt.Errorf("%w: the message is %d bytes, the limit is %d", transport.ErrTooLarge, n, c.max))
	}
	return out, nil
}

// metadataOf splits what connect has gathered for an error into header and
// trailer.
func metadataOf(res *nethttp.Response, all nethttp.Header) (head, trail metadata.Header) {
	if _, only := res.Header["Grpc-Status"]; only { // there is nothing but trailers
		return nil, fromHTTP(all)
	}
	first, last := make(nethttp.Header), make(nethttp.Header)
	for k, vs := range all {
		n := min(len(res.Header[k]), len(vs))
		if n > 0 {
			first[k] = vs[:n]
		}
		if n < len(vs) {
			last[k] = vs[n:]
		}
	}
	return fromHTTP(first), fromHTTP(last)
}
