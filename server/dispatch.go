package server

import (
	"context"
	stderrors "errors"
	"fmt"
	"io"
	"sort"
	"strings"
	"time"

	"github.com/seed-9a4e2794/micro/codec"
	"github.com/seed-9a4e2794/micro/codec/bytes"
	"github.com/seed-9a4e2794/micro/errors"
	"github.com/seed-9a4e2794/micro/internal/codecs"
	"github.com/seed-9a4e2794/micro/internal/stats"
	"github.com/seed-9a4e2794/micro/metadata"
	"github.com/seed-9a4e2794/micro/transport"
)

// serverId is the Id of errors that the server makes.
const serverId = "go.micro.server"

// route is an endpoint that can be called.
type route struct {
	*endpoint
	calls stats.Calls
}

// lookup finds the function that answers a unary method; see
// transport.AcceptOptions.
func (s *server) lookup(run *running, m transport.Method) (transport.Unary, error) {
	r, err := s.find(run, m)
	if err != nil && run.opts.guard != nil && !errors.From(serverId, err).Refused {
		return nil, nil // as a Socket: who may not call must not learn what there is not either
	}
	if err != nil {
		return nil, err
	}
	if r == nil || r.invoke == nil { // a Router, or a stream
		return nil, nil
	}
	return s.guarded(run, r, s.unary(run, r)), nil
}

// find returns the route of a method, nil when a Router serves everything.
func (s *server) find(run *running, m transport.Method) (*route, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if m.Strict && m.Service != run.name && !s.also[m.Service] {
		return nil, errors.Refuse(serverId, errors.CodeUnavailable, "this is a node of %q, not of %q: the address has changed hands", run.name, m.Service)
	}
	r := s.routes[m.Endpoint]
	if r != nil && (r.internal || run.router == nil) {
		return r, nil
	}
	if run.router != nil {
		return nil, nil
	}
	return nil, s.unknown(run, m.Endpoint)
}

// unknown says that there is no such endpoint, and which there are. The lock
// is held.
func (s *server) unknown(run *running, endpoint string) error {
	if run.opts.guard != nil { // who asks may not be allowed to know
		return errors.NewCode(serverId, errors.CodeNotFound, "%s has no endpoint %q", run.name, endpoint)
	}
	var have []string
	for name, r := range s.routes {
		if !r.internal {
			have = append(have, name)
		}
	}
	sort.Strings(have)
	if len(have) > 20 {
		have = append(have[:20], "...")
	}
	return errors.NewCode(serverId, errors.CodeNotFound, "%s has no endpoint %q (available: %s)", run.name, endpoint, strings.Join(have, ", "))
}

// unary returns the function that answers a route's unary calls.
func (s *server) unary(run *running, r *route) transport.Unary {
	call := s.wrapped(run, r)
	if call == nil {
		call = func(ctx context.Context, _ transport.Body, _ codec.Codec, req any) (any, error) {
			var rsp any
			if r.fill == nil {
				rsp = r.newRsp()
			}
			return r.invoke(ctx, req, rsp)
		}
	}
	table := run.codecs
	return func(ctx context.Context, body transport.Body) (m transport.Message, err error) {
		began := time.Now()
		r.calls.Begin()
		defer func() {
			if p := recover(); p != nil {
				err = s.panicked(run, r.name, p)
			}
			r.calls.End(time.Since(began), err != nil)
		}()
		req := r.newReq()
		c, err := r.codec(&table, body.ContentType, req)
		if err != nil && codecs.IsMismatch(err) {
			return m, err
		}
		if err != nil {
			return m, errors.NewCode(serverId, errors.CodeInvalidArgument, "%s: %v", r.name, err)
		}
		if err := c.Unmarshal(body.Data, req); err != nil {
			return m, errors.NewCode(serverId, errors.CodeInvalidArgument, "%s: the request is not what the endpoint takes: %v", r.name, err)
		}
		err = errEnded // stays when the handler does not return
		rsp, err := call(ctx, body, c, req)
		if err != nil && r.bare {
			return m, err
		}
		if err != nil {
			return m, run.handlerError(err)
		}
		return transport.Message{Value: rsp, Codec: c}, nil
	}
}

// codec returns the codec of a request.
func (r *route) codec(table *codecs.Table, ctype string, req any) (codec.Codec, error) {
	if r.pair != nil && ctype == r.pair.Name() && table.Pairs() {
		return r.pair, nil
	}
	c, err := table.Find(ctype, req)
	if err != nil && strings.HasPrefix(ctype, codecs.PairPrefix) {
		return nil, codecs.Mismatch(serverId, r.name, ctype)
	}
	return c, err
}

// callFunc calls a route's function with a decoded request.
type callFunc func(ctx context.Context, body transport.Body, c codec.Codec, req any) (any, error)

// wrapped returns the call of a route through the handler wrappers, nil when
// there are none.
func (s *server) wrapped(run *running, r *route) callFunc {
	wrappers := run.wrappers
	if len(wrappers) == 0 || r.bare {
		return nil
	}
	f := HandlerFunc(func(ctx context.Context, req Request, rsp any) error {
		out, err := r.invoke(ctx, req.Body(), rsp)
		if err == nil && r.fill != nil && out != rsp {
			r.fill(rsp, out)
		}
		return err
	})
	for i := len(wrappers) - 1; i >= 0; i-- {
		f = wrappers[i](f)
	}
	name := run.name
	return func(ctx context.Context, body transport.Body, c codec.Codec, req any) (any, error) {
		rsp := r.newRsp()
		q := &request{ctx: ctx, service: name, endpoint: r.name, contentType: body.ContentType, codec: c, body: req, raw: body.Data}
		return rsp, f(ctx, q, rsp)
	}
}

// handlerError turns what a handler returned into what the caller gets. That
// the handler's own call elsewhere was refused does not mean that this one was
// not executed.
func (run *running) handlerError(err error) error {
	e := errors.From(run.name, err)
	if e.Refused {
		clean := *e
		clean.Refused = false
		return &clean
	}
	return e
}

// socket serves every call that has no Unary function: streams, and everything
// when there is a Router.
func (s *server) socket(run *running, sock transport.Socket) {
	m := sock.Method()
	r, err := s.find(run, m)
	switch {
	case err != nil:
		if denied := s.authorize(sock.Context(), run, m.Endpoint, &run.routed); denied != nil {
			err = denied
		}
	case r == nil:
		err = s.routed(run, sock)
	case r.serve == nil:
		err = errors.NewCode(serverId, errors.CodeUnimplemented, "%s is not a stream: use Call, not Stream", m.Endpoint)
	case sock.Unary():
		err = errors.NewCode(serverId, errors.CodeUnimplemented, "%s is a stream: use Stream, not Call", m.Endpoint)
	default:
		err = s.stream(run, sock, r)
	}
	// It fails when the caller has gone, who then does not want to know.
	_ = sock.Finish(nil, err)
}

// stream serves a stream endpoint.
func (s *server) stream(run *running, sock transport.Socket, r *route) (err error) {
	if err := s.authorize(sock.Context(), run, r.name, &r.calls); err != nil {
		return err
	}
	began := time.Now()
	r.calls.Begin()
	defer func() {
		if p := recover(); p != nil {
			err = s.panicked(run, r.name, p)
		}
		r.calls.End(time.Since(began), err != nil)
	}()
	st := &serverStream{sock: sock, table: run.codecs}
	st.req = &request{ctx: sock.Context(), service: run.name, endpoint: r.name, stream: true, sock: sock}
	f := HandlerFunc(func(ctx context.Context, _ Request, rsp any) error { return r.serve(ctx, rsp.(Stream)) })
	for i := len(run.wrappers) - 1; i >= 0; i-- {
		f = run.wrappers[i](f)
	}
	err = errEnded // stays when the handler does not return
	if err = f(sock.Context(), st.req, st); err != nil {
		return run.handlerError(err)
	}
	return nil
}

// errEnded counts a call whose handler ended its goroutine; the transport
// answers it.
var errEnded = stderrors.New("the handler ended its goroutine")

// routed gives a call to the Router.
func (s *server) routed(run *running, sock transport.Socket) (err error) {
	m := sock.Method()
	if err := s.authorize(sock.Context(), run, m.Endpoint, &run.routed); err != nil {
		return err
	}
	q := &request{ctx: sock.Context(), service: m.Service, endpoint: m.Endpoint, stream: !sock.Unary(), sock: sock}
	if sock.Unary() {
		// Read at once: the answer has the encoding of the request, also when
		// the Router does not look at it.
		body, err := sock.Recv()
		if err != nil {
			return err
		}
		defer body.Release()
		if strings.HasPrefix(body.ContentType, codecs.PairPrefix) { // a Router has no types to read it with
			return codecs.Mismatch(serverId, m.Endpoint, body.ContentType)
		}
		q.contentType, q.raw, q.sock = body.ContentType, body.Data, nil
		defer func() { q.raw, q.read = nil, true }() // it is kept by whoever keeps the request
	}
	began := time.Now()
	run.routed.Begin()
	err = errEnded // stays when the Router does not return
	defer func() {
		if p := recover(); p != nil {
			err = s.panicked(run, m.Endpoint, p)
		}
		run.routed.End(time.Since(began), err != nil)
	}()
	w := &response{sock: sock, req: q}
	if err := run.router.ServeRequest(sock.Context(), q, w); err != nil {
		return run.handlerError(err)
	}
	return nil
}

// request implements Request.
type request struct {
	ctx               context.Context
	service, endpoint string
	contentType       string
	codec             codec.Codec
	body              any
	raw               []byte // the undecoded body of a unary call
	read              bool
	stream            bool
	sock              transport.Socket // nil on the unary path
}

func (r *request) Service() string     { return r.service }
func (r *request) Method() string      { return r.endpoint }
func (r *request) Endpoint() string    { return r.endpoint }
func (r *request) ContentType() string { return r.contentType }
func (r *request) Body() any           { return r.body }
func (r *request) Stream() bool        { return r.stream }

// Codec returns the codec of the request: on a stream and in a Router that of
// raw bytes, under the name of the encoding that Read has last met.
func (r *request) Codec() codec.Codec {
	if r.codec == nil {
		return rawCodec{name: r.contentType}
	}
	return r.codec
}

func (r *request) Header() map[string]string {
	md, _ := metadata.FromContext(r.ctx)
	return md
}

func (r *request) Read() ([]byte, error) {
	if r.sock == nil {
		if r.read {
			return nil, io.EOF
		}
		r.read = true
		return append([]byte(nil), r.raw...), nil
	}
	body, err := r.sock.Recv()
	if err != nil {
		return nil, err
	}
	defer body.Release()
	r.contentType = body.ContentType
	return append([]byte(nil), body.Data...), nil
}

// rawCodec is raw bytes under the name of the call's content type.
type rawCodec struct {
	bytes.Codec
	name string
}

func (c rawCodec) Name() string {
	if c.name == "" {
		return codec.Bytes
	}
	return c.name
}

// response implements Response for a Router.
type response struct {
	sock    transport.Socket
	req     *request
	written bool
}

func (w *response) Codec() codec.Codec { return w.req.Codec() }

func (w *response) WriteHeader(h map[string]string) {
	for k, v := range h {
		_ = metadata.SetHeader(w.sock.Context(), k, v) // fails only after the header has left
	}
}

func (w *response) Write(b []byte) error {
	m := transport.Message{Value: b, Codec: rawCodec{name: w.req.contentType}}
	if !w.sock.Unary() {
		return w.sock.Send(m)
	}
	if w.written {
		return fmt.Errorf("server: %s is a unary call and has been answered", w.req.endpoint)
	}
	w.written = true
	return w.sock.Finish(&m, nil)
}

// headerValue returns the value of key in a map whose keys may be in any case.
func headerValue(h map[string]string, key string) string {
	v, _ := metadata.Metadata(h).Get(key)
	return v
}
