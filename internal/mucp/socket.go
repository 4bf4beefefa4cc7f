package mucp

import (
	"context"
	stderrors "errors"
	"io"
	"slices"
	"sync"

	"github.com/seed-9a4e2794/micro/errors"
	"github.com/seed-9a4e2794/micro/metadata"
	"github.com/seed-9a4e2794/micro/transport"
)

// unarySocket is a unary call as a transport.Socket.
type unarySocket struct {
	*call
	respond func(m transport.Message, err error) error

	mu       sync.Mutex
	read     bool
	finished bool
}

var _ transport.Socket = (*unarySocket)(nil)

func (u *unarySocket) Context() context.Context         { return u.call }
func (u *unarySocket) Method() transport.Method         { return u.method() }
func (u *unarySocket) Unary() bool                      { return true }
func (u *unarySocket) Header() (metadata.Header, error) { return u.header, nil }
func (u *unarySocket) Trailer() metadata.Header         { return nil }
func (u *unarySocket) Local() string                    { return u.peer.Local }
func (u *unarySocket) Remote() string                   { return u.peer.Remote }
func (u *unarySocket) Send(transport.Message) error     { return errFinishIt }
func (u *unarySocket) CloseSend() error                 { return errFinishes }

var (
	errFinishIt  = stderrors.New("stream: a unary call is answered with Finish")
	errFinishes  = stderrors.New("stream: the listener's side ends with Finish")
	errNoFinish  = stderrors.New("stream: only the listener's side finishes a call")
	errNoCodec   = stderrors.New("stream: a message to send needs a codec")
	errSendEnded = stderrors.New("stream: the sending side of the stream is closed")
	errFinished  = stderrors.New("stream: the call has been finished")
)

// Recv implements transport.Socket.
func (u *unarySocket) Recv() (transport.Body, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.finished {
		return transport.Body{}, errFinished
	}
	if u.read {
		return transport.Body{}, io.EOF
	}
	u.read = true
	return bodyOf(u.body, u.req.form.inner), nil
}

// Finish implements transport.Socket.
func (u *unarySocket) Finish(last *transport.Message, err error) error {
	u.mu.Lock()
	done := u.finished
	u.finished = true
	u.mu.Unlock()
	if done {
		return nil
	}
	var m transport.Message
	if last != nil {
		m = *last
	}
	return u.respond(m, err)
}

// Reset implements transport.Socket.
func (u *unarySocket) Reset() {
	_ = u.Finish(nil, errReset()) // nobody waits for more
	u.cancel()
}

func errReset() error {
	return errors.NewCode(serverId, errors.CodeCanceled, "the call was reset")
}

// serverStream is the server's side of a stream.
type serverStream struct {
	*call
	c  *serverConn
	in *inbox

	mu       sync.Mutex
	sentHead bool
	finished bool
}

var _ transport.Socket = (*serverStream)(nil)

func newServerStream(c *serverConn, k *call) *serverStream {
	return &serverStream{call: k, c: c, in: newInbox(c.s.cfg.Window)}
}

func (st *serverStream) Context() context.Context { return st.call }
func (st *serverStream) Method() transport.Method { return st.method() }
func (st *serverStream) Unary() bool              { return false }
func (st *serverStream) Trailer() metadata.Header { return nil }
func (st *serverStream) Local() string            { return st.peer.Local }
func (st *serverStream) Remote() string           { return st.peer.Remote }
func (st *serverStream) CloseSend() error         { return errFinishes }

// Header implements transport.Socket. The encoding that the caller takes
// stands in it, for handlers that send before they receive.
func (st *serverStream) Header() (metadata.Header, error) {
	h := st.header.Clone()
	h.Set("accept", st.req.form.inner)
	return h, nil
}

// serve has the stream served.
func (st *serverStream) serve() {
	// A handler that forgot to finish has finished well; one that ended its
	// goroutine has not.
	err := errEnded()
	defer func() { _ = st.Finish(nil, err) }() // does nothing when it has finished
	switch unknown := st.c.s.known(&st.req); {
	case st.req.endpoint == "":
		err = notWellFormed("")
		return
	case unknown != nil:
		err = unknown
		return
	}
	st.c.s.serve(st)
	err = nil
}

// Recv implements transport.Socket.
func (st *serverStream) Recv() (transport.Body, error) {
	m, err := st.in.take(st.call)
	if err != nil {
		if err == context.Canceled || err == context.DeadlineExceeded {
			err = contextError(serverId, err)
		}
		return transport.Body{}, err
	}
	return bodyOf(m, st.req.form.inner), nil
}

// heading returns the reply's header the first time.
func (st *serverStream) heading() metadata.Header {
	st.mu.Lock()
	sent := st.sentHead
	st.sentHead = true
	st.mu.Unlock()
	if sent {
		return nil
	}
	return st.reply.Header()
}

// Send implements transport.Socket.
func (st *serverStream) Send(m transport.Message) error {
	if m.Codec == nil {
		return errNoCodec
	}
	st.mu.Lock()
	finished := st.finished
	st.mu.Unlock()
	if finished {
		return errSendEnded
	}
	err := st.c.write(st.call, func(dst []byte) ([]byte, error) {
		body, err := st.encode(st.c.body[:0], m, st.c.s.cfg.MaxMessage)
		if err != nil {
			return dst, err
		}
		r := reply{fields: st.head(), body: body}
		st.c.keepBody(body)
		if r.fields, err = r.with(st.heading(), &st.c.s.cfg); err != nil {
			return dst, err
		}
		return r.append(dst, &st.req, false), nil
	})
	return st.sendError(err)
}

func (st *serverStream) sendError(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := err.(*errors.Error); ok {
		return err
	}
	if err == context.Canceled || err == context.DeadlineExceeded {
		return contextError(serverId, err)
	}
	return errors.Wrap(serverId, errors.CodeUnavailable, err)
}

// Finish implements transport.Socket. The trailer goes as headers of the end.
func (st *serverStream) Finish(last *transport.Message, err error) error {
	st.mu.Lock()
	done := st.finished
	st.finished = true
	st.mu.Unlock()
	if done {
		return nil
	}
	st.c.forget(st)
	st.in.drop(errFinished)
	defer st.cancel()
	cfg := &st.c.s.cfg
	return st.sendError(st.c.write(context.Background(), func(dst []byte) ([]byte, error) {
		head := st.heading()
		if err == nil && last != nil && last.Codec != nil {
			var r reply
			if r = st.answer(st.c.body[:0], *last, nil, head, nil, cfg); !r.failed() {
				dst = r.append(dst, &st.req, false)
				head = nil
			} else {
				return r.append(dst, &st.req, false), nil
			}
			st.c.keepBody(r.body)
		}
		r := reply{fields: st.head()}
		extra := append(head[:len(head):len(head)], st.reply.Trailer()...)
		with, tooMuch := r.with(extra, cfg)
		r.fields = with
		if err == nil {
			err = tooMuch
		}
		if err != nil {
			r = st.call.failed(r, nil, err)
		} else {
			r.fields = append(r.fields, field{"Micro-Error", endOfStream}, field{"X-Micro-Error", endOfStream})
		}
		return r.append(dst, &st.req, false), nil
	}))
}

// failed reports whether the reply is an error.
func (r *reply) failed() bool {
	return slices.ContainsFunc(r.fields, func(f field) bool { return f.key == "Micro-Error" })
}

// Reset implements transport.Socket.
func (st *serverStream) Reset() { _ = st.Finish(nil, errReset()) } // nobody waits for more

// stream hands a message to its stream and reports true; false says that it
// opens one.
func (c *serverConn) stream(q *request, body []byte) bool {
	c.mu.Lock()
	st := c.streams[q.stream]
	past := st == nil && slices.Contains(c.past, q.stream)
	c.mu.Unlock()
	switch {
	case st == nil:
		return past || q.err != ""
	case q.err == endOfStream:
		st.in.close(io.EOF)
	case q.err != "":
		st.in.close(parseError(q.err))
	default:
		_, message, err := st.req.form.unwrap(body, false)
		if err != nil {
			st.in.close(errors.NewCode(serverId, errors.CodeInvalidArgument, "%v", err))
			return true
		}
		st.in.put(message)
	}
	return true
}

// forget lets go of a stream. Messages of it may still come.
func (c *serverConn) forget(st *serverStream) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.streams[st.req.stream] != st {
		return
	}
	delete(c.streams, st.req.stream)
	if len(c.past) < maxPast {
		c.past = append(c.past, st.req.stream)
		return
	}
	c.past[c.pastAt] = st.req.stream
	c.pastAt = (c.pastAt + 1) % maxPast
}
