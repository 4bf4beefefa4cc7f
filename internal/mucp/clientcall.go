package mucp

import (
	"context"
	stderrors "errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/seed-9a4e2794/micro/codec"
	"github.com/seed-9a4e2794/micro/errors"
	"github.com/seed-9a4e2794/micro/metadata"
	"github.com/seed-9a4e2794/micro/transport"
)

// clientConn is one TCP connection at the client.
type clientConn struct {
	conn  net.Conn
	raw   net.Conn // the socket itself
	in    *inbound
	since time.Time // when it became idle
	used  bool      // an answer has been read
}

// alive reports whether an idle connection can be used: the peer has neither
// closed it nor said anything unasked.
func (cc *clientConn) alive() bool {
	if cc.in.r.Buffered() > 0 {
		return false
	}
	bytes, ended := pending(cc.raw)
	if ended {
		return false
	}
	// What a TLS server sends after the handshake is read with the first
	// answer.
	return !bytes || cc.raw != cc.conn && !cc.used
}

// message is an outgoing HTTP message.
type message struct {
	method  transport.Method
	id      uint64
	stream  bool
	form    form
	header  []byte // metadata, ready
	timeout time.Duration
	err     string
}

// head begins the message of a call: everything but the body.
func (c *client) head(r transport.Request, ctype string, stream bool) (message, error) {
	m := message{method: r.Method, id: c.nextID.Add(1) - 1, stream: stream, form: formOf(ctype, false)}
	if c.cfg.Legacy {
		m.form = legacyForm(ctype)
	}
	for _, name := range []string{r.Method.Service, r.Method.Endpoint, m.form.ctype} {
		if strings.IndexFunc(name, isControl) >= 0 {
			return m, errors.NewCode(clientId, errors.CodeInvalidArgument, "the name %.40q has control characters", name)
		}
	}
	var err error
	if m.header, err = appendFields(nil, r.Header); err != nil {
		return m, errors.Wrap(clientId, errors.CodeInvalidArgument, err)
	}
	if n := len(m.header) + 2*len(r.Method.Service) + 2*len(r.Method.Endpoint) + 512; n > c.cfg.MaxHeader {
		return m, tooLarge(clientId, "header", n, c.cfg.MaxHeader)
	}
	return m, nil
}

// append appends the message as an HTTP request.
func (m *message) append(dst []byte, addr string, body []byte) []byte {
	dst = append(dst, "POST / HTTP/1.1\r\nHost: "...)
	dst = append(dst, addr...)
	dst = append(dst, "\r\nContent-Length: "...)
	dst = strconv.AppendInt(dst, int64(len(body)), 10)
	dst = append(dst, "\r\n"...)
	dst = appendField(dst, "Accept", m.form.ctype)
	dst = appendField(dst, "Content-Type", m.form.ctype)
	dst = appendField(dst, "Micro-Endpoint", m.method.Endpoint)
	if m.err != "" {
		dst = appendField(dst, "Micro-Error", m.err)
	}
	id := strconv.FormatUint(m.id, 10)
	dst = appendField(dst, "Micro-Id", id)
	dst = appendField(dst, "Micro-Method", m.method.Endpoint)
	if m.method.Service != "" {
		dst = appendField(dst, "Micro-Service", m.method.Service)
	}
	if m.method.Strict && m.method.Service != "" {
		dst = appendField(dst, StrictKey, m.method.Service)
	}
	if m.stream {
		dst = appendField(dst, "Micro-Stream", id)
	}
	if m.timeout > 0 {
		dst = appendField(dst, "Timeout", strconv.FormatInt(int64(m.timeout), 10))
	}
	dst = append(dst, m.header...)
	dst = append(dst, "\r\n"...)
	return append(dst, body...)
}

// encode returns the HTTP body of a message.
func (c *client) encode(m *message, value transport.Message) ([]byte, error) {
	body, err := appendValue(nil, value)
	if err == nil && m.form.kind != formPlain {
		body, err = m.form.wrap(nil, callEnvelope(m.method.Endpoint, m.id), false, body)
	}
	if err != nil {
		return nil, errors.Wrap(clientId, errors.CodeInvalidArgument, err)
	}
	if len(body) > c.cfg.MaxMessage {
		return nil, tooLarge(clientId, "request", len(body), c.cfg.MaxMessage)
	}
	return body, nil
}

// deadline returns ctx with the deadline of a request, and an error if there
// is no time left.
func deadline(ctx context.Context, d time.Time) (context.Context, context.CancelFunc, error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, contextError(clientId, err)
	}
	if d.IsZero() {
		ctx, cancel := context.WithCancel(ctx)
		return ctx, cancel, nil
	}
	ctx, cancel := context.WithDeadline(ctx, d)
	if err := ctx.Err(); err != nil {
		cancel()
		return nil, nil, contextError(clientId, err)
	}
	return ctx, cancel, nil
}

// Call makes a unary call; see transport.Conn.
func (c *client) Call(ctx context.Context, r transport.Request) (transport.Reply, error) {
	ctx, cancel, err := deadline(ctx, r.Deadline)
	if err != nil {
		return transport.Reply{}, err
	}
	defer cancel()
	ctype := codec.Proto
	if r.Message.Codec != nil {
		ctype = r.Message.Codec.Name()
	}
	m, err := c.head(r, ctype, false)
	if err != nil {
		return transport.Reply{}, err
	}
	body, err := c.encode(&m, r.Message)
	if err != nil {
		return transport.Reply{}, err
	}
	for fresh := false; ; fresh = true {
		cc, reused, err := c.take(ctx, fresh)
		if err != nil {
			return transport.Reply{}, err
		}
		if d, ok := ctx.Deadline(); ok {
			m.timeout = max(time.Until(d), 1)
		}
		reply, again, err := c.exchange(ctx, cc, &m, m.append(nil, c.addr, body))
		if again && reused && ctx.Err() == nil {
			continue // it was closed before a byte was written
		}
		return reply, err
	}
}

// exchange sends a request and reads the answer. again says that nothing was
// written.
func (c *client) exchange(ctx context.Context, cc *clientConn, m *message, out []byte) (_ transport.Reply, again bool, _ error) {
	release := watch(ctx, cc.conn)
	good := false
	defer func() {
		if release() && good {
			c.give(cc)
		} else {
			c.drop(cc)
		}
	}()
	n, err := cc.conn.Write(out)
	if err != nil {
		if cerr := ctx.Err(); cerr != nil {
			return transport.Reply{}, false, contextError(clientId, cerr)
		}
		// A request that did not go out whole cannot have been executed.
		return transport.Reply{}, n == 0, errors.Wrap(clientId, errors.CodeUnavailable,
			fmt.Errorf("%w: %d of %d bytes of the request were sent to %s: %w", errors.ErrRefused, n, len(out), c.addr, err))
	}
	a, err := c.answer(cc, m)
	if err != nil {
		return transport.Reply{}, false, c.lost(ctx, err)
	}
	if d, ok := ctx.Deadline(); ok && !time.Now().Before(d) { // the context hears of it a little later
		return transport.Reply{}, false, contextError(clientId, context.DeadlineExceeded)
	}
	reply := transport.Reply{Header: a.header, Body: bodyOf(a.body, m.form.inner)}
	if a.err != nil {
		reply.Body = transport.Body{}
		if a.end {
			return reply, false, errors.NewCode(clientId, errors.CodeUnimplemented, "%s answered a call with the end of a stream: use Stream, not Call", m.method.Endpoint)
		}
		return reply, false, a.err
	}
	good = !a.last
	return reply, false, nil
}

// watch ends the use of conn when ctx ends, until the function that it returns
// is called, which reports whether conn can still be used.
func watch(ctx context.Context, conn net.Conn) func() bool {
	var once sync.Once
	stop := context.AfterFunc(ctx, func() { once.Do(func() { conn.Close() }) })
	return func() bool {
		stop()
		good := false
		once.Do(func() { good = true })
		return good
	}
}

// lost is the error of a call whose answer could not be read.
func (c *client) lost(ctx context.Context, err error) error {
	if cerr := ctx.Err(); cerr != nil {
		return contextError(clientId, cerr)
	}
	var e *errors.Error
	if stderrors.As(err, &e) {
		return e
	}
	if d, ok := ctx.Deadline(); ok && !time.Now().Before(d) {
		return contextError(clientId, context.DeadlineExceeded)
	}
	if stderrors.Is(err, errBody) || stderrors.Is(err, errHeader) {
		return errors.Wrap(clientId, errors.CodeResourceExhausted, fmt.Errorf("%w: the answer of %s: %w", transport.ErrTooLarge, c.addr, err))
	}
	return errors.Wrap(clientId, errors.CodeUnavailable, fmt.Errorf("%w: %s: %w", transport.ErrLost, c.addr, err))
}

// answer is what a server has sent.
type answer struct {
	header metadata.Header
	body   []byte
	err    *errors.Error
	end    bool // err is the end of a stream
	last   bool // the connection cannot be used any more
}

// answer reads one answer. Its error is one of the connection.
func (c *client) answer(cc *clientConn, m *message) (answer, error) {
	r, err := cc.in.response(http.MethodPost)
	if err != nil {
		return answer{}, err
	}
	cc.used = true
	size := r.ContentLength
	body, err := readBody(r.Body, size, c.cfg.MaxMessage, nil)
	if err != nil {
		return answer{}, err
	}
	r.Header.Del("User-Agent") // go-micro repeats what the request had
	a := answer{header: fields(r.Header), last: r.Close || cc.in.r.Buffered() > 0}
	text := either(r.Header, "Micro-Error")
	if r.StatusCode != http.StatusOK {
		if text == "" {
			a.err = errors.From("", errors.New(clientId, fmt.Sprintf("%s answered %s: %s", c.addr, r.Status, clean(head(string(body)))), int32(r.StatusCode)))
			return a, nil
		}
	}
	if text == "" && strings.HasPrefix(strings.ToLower(string(body[:min(len(body), len(unsupported))])), strings.ToLower(unsupported)) &&
		base(r.Header.Get("Content-Type")) == "text/plain" {
		a.err = errors.NewCode(clientId, errors.CodeInvalidArgument, "%s", head(string(body)))
		return a, nil
	}
	if text == "" {
		var env envelope
		if env, a.body, err = m.form.unwrap(body, true); err != nil {
			a.err = errors.NewCode(clientId, errors.CodeInternal, "the answer of %s to %s is not of %s: %v", c.addr, m.method.Endpoint, m.form.ctype, err)
			return a, nil
		}
		text = env.err
	}
	if text != "" {
		a.end = text == endOfStream
		refused := *parseError(text)
		refused.Refused = r.Header.Get(refusedKey) == "true"
		a.err = &refused
	}
	return a, nil
}

// head returns the beginning of a text.
func head(s string) string {
	if len(s) <= 1024 {
		return s
	}
	return strings.ToValidUTF8(s[:1024], "")
}
