package interop

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	stderrors "errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/seed-9a4e2794/micro/errors"
)

// goMicro is a client of go-micro's wire: messages in HTTP/1.1 requests to "/"
// and in responses, with a connection for each call. It knows nothing of ours.
type goMicro struct {
	t           *testing.T
	n           *node
	contentType string
}

// goMicroConn is a connection that carries one call.
type goMicroConn struct {
	net.Conn
	in     *bufio.Reader
	header http.Header // of each message
	stop   func() bool
}

// errEnd is what go-micro sends as the error of a stream that has ended well.
const errEnd = "EOS"

// open dials for a call and ends it when ctx is cancelled: go-micro closes the
// connection then. The deadline of a unary call travels, and the answer to it
// is waited for. That of a stream ends the connection too: what go-micro sends
// with a stream is the time for opening it.
func (g *goMicro) open(ctx context.Context, endpoint string, stream bool) *goMicroConn {
	c := &goMicroConn{Conn: g.n.dial(g.t), header: make(http.Header)}
	c.in = bufio.NewReader(c.Conn)
	c.stop = context.AfterFunc(ctx, func() {
		if stream || ctx.Err() == context.Canceled {
			c.Close()
		}
	})
	for k, v := range map[string]string{"Content-Type": g.contentType, "Accept": g.contentType, "Micro-Id": "7",
		"Micro-Service": "interop", "Micro-Method": endpoint, "Micro-Endpoint": endpoint} {
		c.header.Set(k, v)
	}
	if end, ok := ctx.Deadline(); ok {
		c.header.Set("Timeout", strconv.FormatInt(int64(time.Until(end)), 10))
	}
	if stream {
		c.header.Set("Micro-Stream", "7")
	}
	return c
}

func (c *goMicroConn) end() {
	c.stop()
	c.Close()
}

// send sends a message; what, if it is not empty, is its error.
func (c *goMicroConn) send(body []byte, what string) error {
	req, err := http.NewRequest(http.MethodPost, "http://"+c.RemoteAddr().String()+"/", bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header = c.header.Clone()
	if what != "" {
		req.Header.Set("Micro-Error", what)
	}
	return req.Write(c.Conn)
}

// recv receives a message, io.EOF at the end of a stream.
func (c *goMicroConn) recv() ([]byte, error) {
	rsp, err := http.ReadResponse(c.in, nil)
	if err != nil {
		return nil, err
	}
	defer rsp.Body.Close()
	body, err := io.ReadAll(rsp.Body)
	if err != nil {
		return nil, err
	}
	if rsp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", rsp.Status, body)
	}
	switch what := rsp.Header.Get("Micro-Error"); {
	case what != rsp.Header.Get("X-Micro-Error"):
		return nil, fmt.Errorf("Micro-Error is %q and X-Micro-Error is %q", what, rsp.Header.Get("X-Micro-Error"))
	case what == errEnd:
		return nil, io.EOF
	case what != "":
		e := new(goMicroError)
		if json.Unmarshal([]byte(what), e) != nil {
			return nil, stderrors.New(what)
		}
		return nil, e
	}
	return body, nil
}

// goMicroError is an error as go-micro sends it.
type goMicroError struct {
	Id     string
	Code   int32
	Detail string
	Status string
}

func (e *goMicroError) Error() string { return fmt.Sprintf("%+v", *e) }

func (g *goMicro) encode(what string) []byte {
	var b []byte
	var err error
	if g.contentType == "application/json" {
		b, err = json.Marshal(what)
	} else {
		b, err = proto.Marshal(wrapperspb.String(what))
	}
	if err != nil {
		g.t.Error(err)
	}
	return b
}

func (g *goMicro) decode(b []byte) (*text, error) {
	m := new(text)
	if g.contentType == "application/json" {
		return m, json.Unmarshal(b, &m.Value)
	}
	return m, proto.Unmarshal(b, m)
}

func goMicroCaller(t *testing.T, n *node) *caller {
	return (&goMicro{t, n, "application/protobuf"}).caller()
}
func goMicroJSONCaller(t *testing.T, n *node) *caller {
	return (&goMicro{t, n, "application/json"}).caller()
}

func (g *goMicro) caller() *caller {
	recv := func(c *goMicroConn) func() (*text, error) {
		return func() (*text, error) {
			b, err := c.recv()
			if err != nil {
				return nil, err
			}
			return g.decode(b)
		}
	}
	// ended tells what ended a stream. When it was closed here, an answer to
	// that may come all the same.
	ended := func(ctx context.Context, err error) error {
		if err != nil && ctx.Err() != nil {
			return ctx.Err()
		}
		return err
	}
	// cut does that for a unary call, which waits for the answer to a deadline.
	cut := func(ctx context.Context, err error) error {
		if ctx.Err() == context.Canceled {
			return ended(ctx, err)
		}
		return err
	}
	return &caller{
		unary: func(ctx context.Context, what string) (string, error) {
			c := g.open(ctx, "Echo.Unary", false)
			defer c.end()
			if err := c.send(g.encode(what), ""); err != nil {
				return "", cut(ctx, err)
			}
			m, err := recv(c)()
			return m.GetValue(), cut(ctx, err)
		},
		server: func(ctx context.Context, what string) ([]string, error) {
			c := g.open(ctx, "Echo.Server", true)
			defer c.end()
			// What opens a stream is not a message: the request is sent again.
			if err := stderrors.Join(c.send(g.encode(what), ""), c.send(g.encode(what), "")); err != nil {
				return nil, ended(ctx, err)
			}
			got, err := all(recv(c))
			return got, ended(ctx, err)
		},
		bidi: func(ctx context.Context, what ...string) ([]string, error) {
			c := g.open(ctx, "Echo.Bidi", true)
			defer c.end()
			if err := c.send(nil, ""); err != nil {
				return nil, ended(ctx, err)
			}
			got, err := turns(what, func(m *text) error { return c.send(g.encode(m.Value), "") }, recv(c),
				func() error { return c.send(nil, errEnd) })
			return got, ended(ctx, err)
		},
		code: func(err error) (errors.Code, string) {
			var e *goMicroError
			if stderrors.As(err, &e) {
				return errors.CodeFromHTTP(e.Code), e.Detail
			}
			c := errors.From("", err)
			return c.GRPCCode(), err.Error()
		},
	}
}
