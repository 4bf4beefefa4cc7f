package wire

import (
	"bufio"
	"context"
	stderrors "errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/seed-9a4e2794/micro/codec/bytes"
	"github.com/seed-9a4e2794/micro/errors"
	"github.com/seed-9a4e2794/micro/transport"
)

// wait bounds everything in these tests that should happen at once.
const wait = 20 * time.Second

// hall is a net.Listener whose connections are pipes.
type hall struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func newHall() *hall { return &hall{conns: make(chan net.Conn), done: make(chan struct{})} }

func (h *hall) Accept() (net.Conn, error) {
	select {
	case c := <-h.conns:
		return c, nil
	case <-h.done:
		return nil, net.ErrClosed
	}
}

func (h *hall) Close() error {
	h.once.Do(func() { close(h.done) })
	return nil
}

func (h *hall) Addr() net.Addr { return &net.UnixAddr{Name: "hall", Net: "pipe"} }

// dial returns the other end of a connection that the hall accepts.
func (h *hall) dial(t testing.TB) net.Conn {
	near, far := net.Pipe()
	select {
	case h.conns <- far:
	case <-time.After(wait):
		t.Fatal("the listener does not accept")
	}
	return near
}

// unaries are the endpoints that the tests' listeners answer.
type unaries map[string]transport.Unary

func (u unaries) lookup(m transport.Method) (transport.Unary, error) {
	if m.Strict && m.Service != "test" {
		return nil, errors.Refuse("test", errors.CodeUnavailable, "this is test, not %s", m.Service)
	}
	if f := u[m.Endpoint]; f != nil {
		return f, nil
	}
	if m.Endpoint == "Unknown" {
		return nil, errors.NewCode("test", errors.CodeUnimplemented, "no such endpoint")
	}
	return nil, nil
}

func echoUnary(_ context.Context, body transport.Body) (transport.Message, error) {
	return raw(body.Data), nil
}

func raw(b []byte) transport.Message { return transport.Message{Value: b, Codec: bytes.Codec{}} }

// echoStream sends back every message until the caller ends.
func echoStream(s transport.Socket) {
	for {
		body, err := s.Recv()
		if err != nil {
			if err == io.EOF {
				err = nil
			}
			_ = s.Finish(nil, err) // the caller may be gone
			return
		}
		err = s.Send(raw(body.Data))
		body.Release()
		if err != nil {
			_ = s.Finish(nil, err)
			return
		}
	}
}

// listen serves on ln until the test ends.
func listen(t testing.TB, ln net.Listener, cfg Config, u unaries, serve func(transport.Socket)) *Listener {
	t.Helper()
	l := NewListener(ln, cfg)
	if serve == nil {
		serve = echoStream
	}
	done := make(chan error, 1)
	go func() { done <- l.Accept(serve, transport.WithUnary(u.lookup)) }()
	t.Cleanup(func() {
		l.Close()
		if err := <-done; err != nil {
			t.Errorf("Accept: %v", err)
		}
	})
	return l
}

// listenTCP serves on a socket of the loopback interface.
func listenTCP(t testing.TB, cfg Config, u unaries, serve func(transport.Socket)) *Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return listen(t, ln, cfg, u, serve)
}

// call dials l and returns its caller.
func callerOf(t testing.TB, l *Listener, cfg Config) *Caller {
	t.Helper()
	conn, err := net.Dial("tcp", l.Addr())
	if err != nil {
		t.Fatal(err)
	}
	return newCaller(t, conn, cfg)
}

func newCaller(t testing.TB, conn net.Conn, cfg Config) *Caller {
	t.Helper()
	c, err := NewCaller(context.Background(), conn, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func ask(endpoint string, body []byte) transport.Request {
	return transport.Request{Method: transport.Method{Service: "test", Endpoint: endpoint}, Message: raw(body)}
}

// mustEcho checks that a connection is as good as ever.
func mustEcho(t testing.TB, c *Caller, body string) {
	t.Helper()
	r := ask("Echo", []byte(body))
	r.Deadline = time.Now().Add(wait)
	rsp, err := c.Call(context.Background(), r)
	if err != nil {
		t.Fatalf("echo: %v", err)
	}
	if string(rsp.Body.Data) != body {
		t.Fatalf("echo of %.40q came back as %.40q", body, rsp.Body.Data)
	}
	rsp.Body.Release()
}

// peer is the other end of a connection, spoken by hand.
type peer struct {
	t    testing.TB
	conn net.Conn
	r    *bufio.Reader
}

func newPeer(t testing.TB, conn net.Conn) *peer {
	t.Cleanup(func() { conn.Close() })
	return &peer{t, conn, bufio.NewReaderSize(conn, 64<<10)}
}

// dialPeer dials l and greets it.
func dialPeer(t testing.TB, l *Listener) *peer {
	t.Helper()
	conn, err := net.Dial("tcp", l.Addr())
	if err != nil {
		t.Fatal(err)
	}
	p := newPeer(t, conn)
	p.greet()
	return p
}

func greeting() []byte { return greetingOf(Config{}) }

func greetingOf(c Config) []byte {
	c = c.withDefaults()
	return c.settings().append([]byte(preamble))
}

// greet sends a greeting and reads the other's.
func (p *peer) greet() {
	p.t.Helper()
	p.bytes(greeting())
	p.greeted()
}

// greeted reads the other's greeting.
func (p *peer) greeted() {
	p.t.Helper()
	p.conn.SetReadDeadline(time.Now().Add(wait))
	got := make([]byte, len(preamble))
	if _, err := io.ReadFull(p.r, got); err != nil || string(got) != preamble {
		p.t.Fatalf("the preamble came as %q, %v", got, err)
	}
	if h, _ := p.frame(); h.typ != typeSettings {
		p.t.Fatalf("the first frame is %+v, not SETTINGS", h)
	}
}

func (p *peer) bytes(b []byte) {
	p.t.Helper()
	p.conn.SetWriteDeadline(time.Now().Add(wait))
	if _, err := p.conn.Write(b); err != nil {
		p.t.Fatalf("write: %v", err)
	}
}

func (p *peer) send(h header, payload string) {
	p.t.Helper()
	p.bytes(appendFrame(nil, h, payload))
}

// name names an endpoint of the service test.
func (p *peer) name(number uint32, endpoint string) {
	p.t.Helper()
	p.send(header{typ: typeName, aux: number}, "\x00\x04test"+endpoint)
}

// frame reads the next frame.
func (p *peer) frame() (header, []byte) {
	p.t.Helper()
	h, payload, err := p.next()
	if err != nil {
		p.t.Fatalf("instead of a frame: %v", err)
	}
	return h, payload
}

func (p *peer) next() (header, []byte, error) {
	p.conn.SetReadDeadline(time.Now().Add(wait))
	var b [headerLen]byte
	if _, err := io.ReadFull(p.r, b[:]); err != nil {
		return header{}, nil, err
	}
	h := parseHeader(b[:])
	payload := make([]byte, h.length)
	_, err := io.ReadFull(p.r, payload)
	return h, payload, err
}

// response reads frames up to the RSP of a call.
func (p *peer) response(id uint32) (header, []byte) {
	p.t.Helper()
	for {
		if h, payload := p.frame(); h.typ == typeRsp && h.call == id {
			return h, payload
		}
	}
}

// closed reads until the other side closes and returns the text of its GOAWAY.
func (p *peer) closed() string {
	p.t.Helper()
	text := ""
	for {
		h, payload, err := p.next()
		switch {
		case err != nil:
			var late net.Error
			if stderrors.As(err, &late) && late.Timeout() {
				p.t.Fatal("the connection lives on")
			}
			return text
		case h.typ == typeGoAway:
			text = fmt.Sprintf("%d %s", h.aux, payload)
		}
	}
}

func within[T any](t testing.TB, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(wait):
		t.Fatal("it did not happen in time")
		panic("unreachable")
	}
}

// eventually polls a condition that real sockets and schedulers bring about.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(wait); !ok(); {
		if time.Now().After(deadline) {
			t.Fatalf("%s did not happen in time", what)
		}
		<-time.After(time.Millisecond)
	}
}
