package mucp

import (
	"bytes"
	"context"
	stderrors "errors"
	"io"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/seed-9a4e2794/micro/codec"
	"github.com/seed-9a4e2794/micro/errors"
	"github.com/seed-9a4e2794/micro/internal/leaktest"
	"github.com/seed-9a4e2794/micro/transport"
)

// seeds adds what one side says in the conversations under testdata/dir.
func seeds(f *testing.F, folder string, dir byte) {
	f.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", folder, "*.txt"))
	if err != nil || len(files) == 0 {
		f.Fatal("no conversations", err)
	}
	for _, name := range files {
		var b []byte
		for _, l := range readScript(f, name) {
			if l.dir == dir {
				b = append(b, l.text...)
			}
		}
		f.Add(b)
	}
}

// FuzzServer sends any bytes to a server after a good request: it answers or
// closes, soon after the caller has ended, and leaves nothing behind.
func FuzzServer(f *testing.F) {
	seeds(f, "server", '>')
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 1<<18 {
			return
		}
		leaktest.Check(t)
		srv := NewServer(small(), greetStream, transport.AcceptOptions{Lookup: greeter().lookup, Service: types{}})
		near, far := net.Pipe()
		over := make(chan struct{})
		go func() {
			defer close(over)
			serveParsed(srv, &halfPipe{Conn: far})
		}()
		go func() {
			_, _ = near.Write(append([]byte(plainCall("Echo.Echo", "0", "x")), b...)) // it may be closed before all is taken
			_, _ = near.Write([]byte{endOfPipe})                                      // likewise
		}()
		if err := near.SetDeadline(time.Now().Add(wait)); err != nil {
			t.Fatal(err)
		}
		heard, err := io.ReadAll(near)
		if err != nil {
			t.Fatalf("%v after the last byte the connection has not been closed: %v", wait, err)
		}
		near.Close()
		<-over
		if !bytes.HasPrefix(heard, []byte("HTTP/1.")) { // what is not answered as a call is as a bad request
			t.Errorf("answered %.60q", heard)
		}
		if err := srv.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
}

// endOfPipe is written last by a side that reads on: a pipe has no other way to
// say that. It stands alone in a read.
const endOfPipe = 0xff

// halfPipe takes a read of endOfPipe alone for the end.
type halfPipe struct {
	net.Conn
	over bool
}

func (h *halfPipe) Read(p []byte) (int, error) {
	if h.over {
		return 0, io.EOF
	}
	n, err := h.Conn.Read(p)
	if n == 1 && p[0] == endOfPipe {
		h.over = true
		return 0, io.EOF
	}
	return n, err
}

// FuzzClient answers a call and a stream with any bytes: both end, the call
// with an answer or with an error of a known kind.
func FuzzClient(f *testing.F) {
	seeds(f, "client", '<')
	seeds(f, "server", '<')
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 1<<18 {
			return
		}
		for _, ctype := range []string{codec.JSON, jsonRPC, protoRPC, grpc} {
			answerFuzzed(t, ctype, b)
		}
	})
}

func answerFuzzed(t *testing.T, ctype string, b []byte) {
	cfg := small().withDefaults(clientIdle)
	c := newClient(cfg, "fuzz")
	connect := func() *clientConn {
		near, far := net.Pipe()
		cc := &clientConn{conn: near, raw: near, in: newInbound(near, near, &c.cfg)}
		c.slots <- struct{}{}
		c.busy[cc] = struct{}{}
		go func() {
			go func() { _, _ = io.Copy(io.Discard, far) }() // until it is closed
			_, _ = far.Write(b)                             // it may be closed before all is taken
			far.Close()
		}()
		return cc
	}
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	m, err := c.head(request1("A.B", ctype, ""), ctype, false)
	if err != nil {
		t.Fatal(err)
	}
	reply, _, err := c.exchange(ctx, connect(), &m, m.append(nil, "fuzz", nil))
	var e *errors.Error
	switch {
	case err == nil && len(reply.Body.Data) > cfg.MaxMessage:
		t.Errorf("a body of %d bytes", len(reply.Body.Data))
	case err != nil && (!stderrors.As(err, &e) || ctx.Err() != nil):
		t.Errorf("the call ended with %v", err)
	}
	sctx, scancel := context.WithCancel(ctx)
	cc := connect()
	s := &clientStream{c: c, cc: cc, ctx: sctx, cancel: scancel, in: newInbox(cfg.Window), m: m, headed: make(chan struct{})}
	s.release = watch(sctx, cc.conn)
	var group sync.WaitGroup
	group.Go(func() { c.group.Add(1); s.read() })
	for {
		if _, err := s.Recv(); err != nil {
			if ctx.Err() != nil {
				t.Errorf("the stream did not end: %v", err)
			}
			break
		}
	}
	group.Wait()
	c.Close()
}

// FuzzEnvelope takes any body for each form, and puts what it finds into an
// envelope again.
func FuzzEnvelope(f *testing.F) {
	for _, s := range []string{`{"method":"Greeter.Hello","params":[{"name":"John"}],"id":"2"}`, `{"id":"2","result":{"msg":"x"},"error":null}`,
		`{"id":"","result":null,"error":"{\"id\":\"greeter\"}"}`, protoRequest, "\x00\x00\x00\x0d\x0a\x00\x11\x06\x00\x00\x00\x00\x00\x00\x00\x1a\x00\x00\x00\x00\x00",
		"\xff\xff\xff\xff", "\x00\x00\x00\x00\x06\x0a\x04John", `{"params":[null]}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, ctype := range []string{jsonRPC, protoRPC, grpc} {
			form := formOf(ctype, false)
			for _, reply := range []bool{false, true} {
				env, m, err := form.unwrap(b, reply)
				if err != nil {
					continue
				}
				if len(m) > len(b) {
					t.Fatalf("%s: a message of %d bytes in a body of %d", ctype, len(m), len(b))
				}
				out, err := form.wrap(nil, env, reply, m)
				if err != nil {
					t.Fatalf("%s: %q cannot be sent again: %v", ctype, m, err)
				}
				env2, m2, err := form.unwrap(out, reply)
				if err != nil {
					t.Fatalf("%s: %q was written as %q: %v", ctype, b, out, err)
				}
				if ctype == jsonRPC {
					m, m2 = plainJSON(m), plainJSON(m2)
					if reply {
						env.method, env2.method = "", ""
					} else {
						env.err, env2.err = "", ""
					}
					if env.err != "" {
						m, m2 = nil, nil // an error has no result
					}
				}
				if env != env2 || !bytes.Equal(m, m2) {
					t.Fatalf("%s: %+v %q came back as %+v %q", ctype, env, m, env2, m2)
				}
			}
		}
	})
}

// plainJSON has nothing for null, and no space around.
func plainJSON(b []byte) []byte {
	if b = bytes.TrimSpace(b); string(b) == "null" {
		return nil
	}
	return b
}
