// Package transporttest checks that a transport keeps the contract of package
// transport.
package transporttest

import (
	"context"
	stderrors "errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-9a4e2794/micro/codec"
	"github.com/seed-9a4e2794/micro/codec/bytes"
	"github.com/seed-9a4e2794/micro/codec/json"
	"github.com/seed-9a4e2794/micro/errors"
	"github.com/seed-9a4e2794/micro/internal/leaktest"
	"github.com/seed-9a4e2794/micro/metadata"
	"github.com/seed-9a4e2794/micro/transport"
)

// Config says how to make the transport under test.
type Config struct {
	// New returns a transport whose messages may have at most 1 MiB; what
	// listens on it must be reachable through it.
	New func(t *testing.T) transport.Transport
	// Addr is the address to listen on.
	Addr string
}

// maxMessage is the limit that Config.New sets.
const maxMessage = 1 << 20

// wait bounds everything that should happen at once.
const wait = 10 * time.Second

// Run checks the transport, a subtest a rule.
func Run(t *testing.T, cfg Config) {
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			leaktest.Check(t)
			c.test(t, start(t, cfg))
			if t.Failed() {
				t.Logf("the rule: %s", c.rule)
			}
		})
	}
}

var cases = []struct {
	name, rule string
	test       func(*testing.T, *env)
}{
	{"UnaryEcho", "a unary call brings back what the Unary function returned", testEcho},
	{"UnarySizes", "messages of every size up to the limit travel whole", testSizes},
	{"UnaryMany", "many calls at once on one connection each get their own answer", testMany},
	{"UnaryError", "an error of the function comes back with code, text, details and id", testError},
	{"UnaryMetadata", "request metadata reaches the context, reply header and trailer come back, repeated and binary values included", testMetadata},
	{"UnaryContentType", "the content type of the message arrives with it, also one the wire has no number for", testContentType},
	{"UnaryDeadline", "a call ends at its deadline with DeadlineExceeded, and the function's context has that deadline", testDeadline},
	{"UnaryCancel", "cancelling the caller's context ends the call and the function's context", testCancel},
	{"UnaryTooLarge", "a request or reply over the limit is ErrTooLarge or ResourceExhausted, and the connection lives on", testTooLarge},
	{"LookupError", "an error of Lookup answers the call", testLookupError},
	{"UnaryAsSocket", "without a Unary function a unary call comes as a Socket with one message", testUnaryAsSocket},
	{"Peer", "the context knows the peer's addresses", testPeer},
	{"StreamEcho", "messages travel both ways in order until both sides end well", testStreamEcho},
	{"StreamLarge", "stream messages larger than the window travel whole", testStreamLarge},
	{"StreamBackPressure", "a sender waits for a receiver that does not take, and others are not held up", testStreamBackPressure},
	{"StreamError", "the listener's error ends the stream at the caller, after the messages sent before", testStreamError},
	{"StreamLast", "a last message and the status travel together", testStreamLast},
	{"StreamMetadata", "request metadata, reply header and trailer travel on streams", testStreamMetadata},
	{"StreamCancel", "cancelling ends the stream on both sides", testStreamCancel},
	{"StreamReset", "Reset ends the stream on both sides", testStreamReset},
	{"StreamDeadline", "a stream ends at its deadline", testStreamDeadline},
	{"ShutdownWaits", "Shutdown waits for calls under way, and they end well", testShutdownWaits},
	{"ShutdownRefuses", "after Shutdown has begun new calls are refused as not executed", testShutdownRefuses},
	{"CloseEndsCalls", "Close ends the calls under way with ErrLost and the functions' contexts", testClose},
	{"CallerCloses", "closing the caller's side ends the functions' contexts", testCallerCloses},
	{"DialNothing", "dialling where nothing listens is ErrUnreachable", testDialNothing},
	{"AcceptEnds", "Accept returns nil after Close", testAcceptEnds},
}

// env is a listener with a caller.
type env struct {
	t    *testing.T
	tr   transport.Transport
	ln   transport.Listener
	conn transport.Conn

	mu     sync.Mutex
	unary  map[string]transport.Unary
	socket func(transport.Socket)
	done   chan error
}

func start(t *testing.T, cfg Config) *env {
	t.Helper()
	e := &env{t: t, tr: cfg.New(t), unary: make(map[string]transport.Unary), done: make(chan error, 1)}
	ctx := context.Background()
	var err error
	if e.ln, err = e.tr.Listen(ctx, cfg.Addr); err != nil {
		t.Fatal(err)
	}
	go func() {
		e.done <- e.ln.Accept(func(s transport.Socket) {
			e.mu.Lock()
			f := e.socket
			e.mu.Unlock()
			if f == nil {
				_ = s.Finish(nil, errors.NewCode("test", errors.CodeUnimplemented, "no socket handler"))
				return
			}
			f(s)
		}, transport.WithUnary(e.lookup))
	}()
	if e.conn, err = e.tr.Dial(ctx, e.ln.Addr()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		e.conn.Close()
		e.ln.Close()
		if err := <-e.done; err != nil {
			t.Errorf("Accept returned %v", err)
		}
	})
	return e
}

var errUnknown = errors.NewCode("test", errors.CodeUnimplemented, "no such endpoint")

func (e *env) lookup(m transport.Method) (transport.Unary, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if f := e.unary[m.Endpoint]; f != nil {
		return f, nil
	}
	if strings.HasPrefix(m.Endpoint, "Unknown") {
		return nil, errUnknown
	}
	return nil, nil
}

func (e *env) handle(endpoint string, f transport.Unary) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.unary[endpoint] = f
}

func (e *env) handleSocket(f func(transport.Socket)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.socket = f
}

func raw(b []byte) transport.Message {
	return transport.Message{Value: b, Codec: bytes.Codec{}}
}

func request(endpoint string, body []byte) transport.Request {
	return transport.Request{Method: transport.Method{Service: "test", Endpoint: endpoint}, Message: raw(body), Deadline: time.Now().Add(wait)}
}

// call makes a unary call and returns a copy of the reply.
func (e *env) call(ctx context.Context, r transport.Request) (string, error) {
	rsp, err := e.conn.Call(ctx, r)
	if err != nil {
		return "", err
	}
	defer rsp.Body.Release()
	return string(rsp.Body.Data), nil
}

func echo(_ context.Context, body transport.Body) (transport.Message, error) {
	return raw(body.Data), nil
}

func testEcho(t *testing.T, e *env) {
	e.handle("Echo", echo)
	for _, body := range []string{"hello", "", "again"} {
		got, err := e.call(context.Background(), request("Echo", []byte(body)))
		if err != nil || got != body {
			t.Fatalf("echo of %q: %q, %v", body, got, err)
		}
	}
}

func testSizes(t *testing.T, e *env) {
	e.handle("Echo", echo)
	for _, n := range []int{1, 255, 256, 4095, 16<<10 - 16, 16 << 10, 16<<10 + 1, 100_000, 1<<20 - 1, 1 << 20} {
		body := pattern(n)
		got, err := e.call(context.Background(), request("Echo", body))
		if err != nil || got != string(body) {
			t.Fatalf("echo of %d bytes: %d bytes, %v", n, len(got), err)
		}
	}
}

func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i * 31)
	}
	return b
}

func testMany(t *testing.T, e *env) {
	e.handle("Echo", echo)
	var group sync.WaitGroup
	for i := range 64 {
		group.Go(func() {
			for j := range 50 {
				body := fmt.Sprintf("%d/%d %s", i, j, strings.Repeat("x", i*j))
				got, err := e.call(context.Background(), request("Echo", []byte(body)))
				if err != nil || got != body {
					t.Errorf("call %d/%d: %.20q, %v", i, j, got, err)
					return
				}
			}
		})
	}
	group.Wait()
}

func testError(t *testing.T, e *env) {
	want := &errors.Error{Id: "greeter", Code: 409, Detail: "taken", Status: "Conflict", Exact: errors.CodeAborted,
		Details: []errors.Detail{{Type: "type.googleapis.com/x.Y", Value: []byte{1, 2, 3}}}}
	e.handle("Fail", func(context.Context, transport.Body) (transport.Message, error) { return transport.Message{}, want })
	e.handle("Plain", func(context.Context, transport.Body) (transport.Message, error) {
		return transport.Message{}, stderrors.New("plain text")
	})
	_, err := e.call(context.Background(), request("Fail", nil))
	var got *errors.Error
	if !stderrors.As(err, &got) {
		t.Fatalf("got %v, not an *errors.Error", err)
	}
	if got.Id != want.Id || got.Code != want.Code || got.Detail != want.Detail || got.Status != want.Status || got.GRPCCode() != want.Exact ||
		len(got.Details) != 1 || got.Details[0].Type != want.Details[0].Type || string(got.Details[0].Value) != "\x01\x02\x03" || got.Refused {
		t.Errorf("got %+v", got)
	}
	_, err = e.call(context.Background(), request("Plain", nil))
	if got := errors.From("", err); got.Detail != "plain text" || got.GRPCCode() != errors.CodeUnknown {
		t.Errorf("a plain error came as %+v", got)
	}
}

func testMetadata(t *testing.T, e *env) {
	seen := make(chan metadata.Header, 3)
	e.handle("Meta", func(ctx context.Context, _ transport.Body) (transport.Message, error) {
		h, _ := metadata.HeaderFromContext(ctx)
		seen <- h.Clone()
		_ = metadata.SetHeader(ctx, "X-Reply", "one", "two") // inside a call it cannot fail
		_ = metadata.SetTrailer(ctx, "x-end", "last")        // likewise
		return raw(nil), nil
	})
	r := request("Meta", nil)
	r.Header = metadata.Header{{Key: "x-user", Value: "ada"}, {Key: "x-user", Value: "grace"}, {Key: "x-bin", Value: "\x00\xff\n"}}
	for range 3 { // the same metadata again and again may take another path
		rsp, err := e.conn.Call(context.Background(), r)
		if err != nil {
			t.Fatal(err)
		}
		rsp.Body.Release()
		h := <-seen
		if vs := h.Values("X-User"); len(vs) != 2 || vs[0] != "ada" || vs[1] != "grace" {
			t.Errorf("x-user arrived as %q", vs)
		}
		if v, _ := h.Get("x-bin"); v != "\x00\xff\n" {
			t.Errorf("x-bin arrived as %q", v)
		}
		if vs := rsp.Header.Values("x-reply"); len(vs) != 2 || vs[1] != "two" {
			t.Errorf("reply header %q", rsp.Header)
		}
		if v, _ := rsp.Trailer.Get("x-end"); v != "last" {
			t.Errorf("reply trailer %q", rsp.Trailer)
		}
	}
}

// named is raw bytes under another name.
type named struct{ bytes.Codec }

func (named) Name() string { return "application/x-test" }

func testContentType(t *testing.T, e *env) {
	e.handle("Type", func(_ context.Context, body transport.Body) (transport.Message, error) {
		c := codec.Codec(named{})
		if body.ContentType == codec.JSON {
			return transport.Message{Value: body.ContentType, Codec: json.Codec{}}, nil
		}
		return transport.Message{Value: body.ContentType, Codec: c}, nil
	})
	for _, c := range []codec.Codec{json.Codec{}, named{}} {
		r := request("Type", nil)
		r.Message = transport.Message{Value: "x", Codec: c}
		rsp, err := e.conn.Call(context.Background(), r)
		if err != nil {
			t.Fatal(err)
		}
		if rsp.Body.ContentType != c.Name() || !strings.Contains(string(rsp.Body.Data), c.Name()) {
			t.Errorf("%s: the function saw %q, the reply has %q", c.Name(), rsp.Body.Data, rsp.Body.ContentType)
		}
		rsp.Body.Release()
	}
}

func testDeadline(t *testing.T, e *env) {
	ended := make(chan error, 1)
	e.handle("Wait", func(ctx context.Context, _ transport.Body) (transport.Message, error) {
		if _, ok := ctx.Deadline(); !ok {
			ended <- stderrors.New("the function's context has no deadline")
			return raw(nil), nil
		}
		<-ctx.Done()
		ended <- ctx.Err()
		return raw(nil), nil
	})
	r := request("Wait", nil)
	r.Deadline = time.Now().Add(30 * time.Millisecond)
	_, err := e.call(context.Background(), r)
	if !stderrors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %v", err)
	}
	if err := within(t, ended); err == nil || (!stderrors.Is(err, context.DeadlineExceeded) && !stderrors.Is(err, context.Canceled)) {
		t.Errorf("the function's context ended with %v", err)
	}
	// The connection is as good as before.
	e.handle("Echo", echo)
	if _, err := e.call(context.Background(), request("Echo", nil)); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if _, err := e.call(ctx, request("Wait", nil)); !stderrors.Is(err, context.DeadlineExceeded) {
		t.Errorf("with the context's deadline: %v", err)
	}
	within(t, ended)
	r.Deadline = time.Now().Add(-time.Second)
	if _, err := e.call(context.Background(), r); !stderrors.Is(err, context.DeadlineExceeded) {
		t.Errorf("with a deadline that has passed: %v", err)
	}
}

func within[T any](t *testing.T, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(wait):
		t.Fatal("it did not happen in time")
		panic("unreachable")
	}
}

func testCancel(t *testing.T, e *env) {
	begun, ended := make(chan struct{}), make(chan error, 1)
	e.handle("Wait", func(ctx context.Context, _ transport.Body) (transport.Message, error) {
		derived, cancel := context.WithCancel(ctx)
		defer cancel()
		close(begun)
		<-derived.Done()
		ended <- derived.Err()
		return raw(nil), nil
	})
	ctx, cancel := context.WithCancel(context.Background())
	go func() { <-begun; cancel() }()
	_, err := e.call(ctx, request("Wait", nil))
	if !stderrors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	if err := within(t, ended); !stderrors.Is(err, context.Canceled) {
		t.Errorf("the function's context ended with %v", err)
	}
	if _, err := e.call(ctx, request("Wait", nil)); !stderrors.Is(err, context.Canceled) {
		t.Errorf("a call with an ended context: %v", err)
	}
}

func testTooLarge(t *testing.T, e *env) {
	e.handle("Echo", echo)
	e.handle("Large", func(context.Context, transport.Body) (transport.Message, error) {
		return raw(make([]byte, maxMessage+1)), nil
	})
	_, err := e.call(context.Background(), request("Echo", make([]byte, maxMessage+1)))
	if errors.From("", err).GRPCCode() != errors.CodeResourceExhausted {
		t.Errorf("request over the limit: %v", err)
	}
	_, err = e.call(context.Background(), request("Large", nil))
	if errors.From("", err).GRPCCode() != errors.CodeResourceExhausted {
		t.Errorf("reply over the limit: %v", err)
	}
	if got, err := e.call(context.Background(), request("Echo", []byte("alive"))); err != nil || got != "alive" {
		t.Errorf("afterwards: %q, %v", got, err)
	}
}

func testLookupError(t *testing.T, e *env) {
	for range 2 {
		_, err := e.call(context.Background(), request("Unknown.X", nil))
		if errors.From("", err).GRPCCode() != errors.CodeUnimplemented {
			t.Fatalf("got %v", err)
		}
	}
	e.handle("Unknown.X", echo) // endpoints may come later
	if _, err := e.call(context.Background(), request("Unknown.X", nil)); err != nil {
		t.Errorf("after the endpoint came: %v", err)
	}
}

func testUnaryAsSocket(t *testing.T, e *env) {
	e.handleSocket(func(s transport.Socket) {
		body, err := s.Recv()
		if err != nil {
			_ = s.Finish(nil, err)
			return
		}
		text := fmt.Sprint(s.Unary(), s.Method().Endpoint, string(body.Data))
		body.Release()
		if _, err := s.Recv(); err != io.EOF {
			text = fmt.Sprintf("a second message or %v", err)
		}
		if string(body.ContentType) != codec.Bytes {
			text = body.ContentType
		}
		m := raw([]byte(text))
		_ = s.Finish(&m, nil)
	})
	got, err := e.call(context.Background(), request("Any", []byte("body")))
	if err != nil || got != "true Any body" && got != "trueAnybody" && got != "true Anybody" {
		t.Fatalf("got %q, %v", got, err)
	}
	e.handleSocket(func(s transport.Socket) { _ = s.Finish(nil, errors.NotFound("x", "nope")) })
	if _, err := e.call(context.Background(), request("Any", []byte("body"))); errors.From("", err).Code != 404 {
		t.Errorf("an error by Finish: %v", err)
	}
}

func testPeer(t *testing.T, e *env) {
	e.handle("Peer", func(ctx context.Context, _ transport.Body) (transport.Message, error) {
		p, ok := transport.PeerFromContext(ctx)
		if !ok {
			return transport.Message{}, stderrors.New("no peer")
		}
		return raw([]byte(p.Local + " " + p.Remote)), nil
	})
	got, err := e.call(context.Background(), request("Peer", nil))
	if err != nil || got != e.conn.Remote()+" "+e.conn.Local() {
		t.Errorf("the function sees %q, the caller %q, %v", got, e.conn.Remote()+" "+e.conn.Local(), err)
	}
}

func (e *env) open(ctx context.Context, r transport.Request) transport.Socket {
	e.t.Helper()
	s, err := e.conn.Open(ctx, r)
	if err != nil {
		e.t.Fatal(err)
	}
	return s
}

// echoSocket sends back every message until the caller ends.
func echoSocket(s transport.Socket) {
	for {
		body, err := s.Recv()
		if err == io.EOF {
			_ = s.Finish(nil, nil)
			return
		}
		if err != nil {
			_ = s.Finish(nil, err)
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

func testStreamEcho(t *testing.T, e *env) {
	e.handleSocket(echoSocket)
	s := e.open(context.Background(), request("Stream", nil))
	const n = 1000
	sent := make(chan error, 1)
	go func() {
		for i := range n {
			if err := s.Send(raw(fmt.Appendf(nil, "message %d", i))); err != nil {
				sent <- err
				return
			}
		}
		sent <- s.CloseSend()
	}()
	for i := range n {
		body, err := s.Recv()
		if err != nil {
			t.Fatalf("message %d: %v", i, err)
		}
		if want := fmt.Sprintf("message %d", i); string(body.Data) != want {
			t.Fatalf("got %q, want %q", body.Data, want)
		}
		body.Release()
	}
	if _, err := s.Recv(); err != io.EOF {
		t.Errorf("at the end: %v", err)
	}
	if err := <-sent; err != nil {
		t.Errorf("sending: %v", err)
	}
	if err := s.Context().Err(); err == nil {
		t.Error("the stream has ended and its context has not")
	}
}

func testStreamLarge(t *testing.T, e *env) {
	e.handleSocket(echoSocket)
	s := e.open(context.Background(), request("Stream", nil))
	for _, n := range []int{0, 1, 16 << 10, 16<<10 + 1, 64 << 10, 300_000, 1 << 20} {
		body := pattern(n)
		if err := s.Send(raw(body)); err != nil {
			t.Fatal(err)
		}
		got, err := s.Recv()
		if err != nil || string(got.Data) != string(body) {
			t.Fatalf("%d bytes: %d back, %v", n, len(got.Data), err)
		}
		got.Release()
	}
	if err := s.Send(raw(make([]byte, maxMessage+1))); errors.From("", err).GRPCCode() != errors.CodeResourceExhausted {
		t.Errorf("over the limit: %v", err)
	}
	if err := s.CloseSend(); err != nil {
		t.Error(err)
	}
	if _, err := s.Recv(); err != io.EOF {
		t.Errorf("at the end: %v", err)
	}
}

func testStreamBackPressure(t *testing.T, e *env) {
	go_ := make(chan struct{})
	e.handleSocket(func(s transport.Socket) {
		<-go_
		echoNothing(s)
	})
	e.handle("Echo", echo)
	s := e.open(context.Background(), request("Stream", nil))
	var sent atomic.Int64
	done := make(chan error, 1)
	go func() {
		for range 200 {
			if err := s.Send(raw(make([]byte, 10_000))); err != nil {
				done <- err
				return
			}
			sent.Add(1)
		}
		done <- s.CloseSend()
	}()
	for range 200 { // others are not held up meanwhile
		if _, err := e.call(context.Background(), request("Echo", []byte("x"))); err != nil {
			t.Fatal(err)
		}
	}
	if n := sent.Load(); n > 100 {
		t.Errorf("%d messages of 10,000 bytes were sent to a receiver that takes none", n)
	}
	close(go_)
	if err := within(t, done); err != nil {
		t.Error(err)
	}
	if _, err := s.Recv(); err != io.EOF {
		t.Error(err)
	}
}

func echoNothing(s transport.Socket) {
	for {
		body, err := s.Recv()
		if err != nil {
			_ = s.Finish(nil, nil)
			return
		}
		body.Release()
	}
}

func testStreamError(t *testing.T, e *env) {
	e.handleSocket(func(s transport.Socket) {
		_ = s.Send(raw([]byte("before"))) // Finish tells
		_ = s.Finish(nil, errors.Forbidden("srv", "no"))
		_ = s.Finish(nil, nil) // does nothing
	})
	s := e.open(context.Background(), request("Stream", nil))
	body, err := s.Recv()
	if err != nil || string(body.Data) != "before" {
		t.Fatalf("got %q, %v", body.Data, err)
	}
	body.Release()
	for range 2 {
		if _, err = s.Recv(); errors.From("", err).Code != 403 || errors.From("", err).Detail != "no" {
			t.Errorf("got %v", err)
		}
	}
	if err := s.Send(raw(nil)); err != io.EOF {
		t.Errorf("Send after the end: %v, want io.EOF", err)
	}
}

func testStreamLast(t *testing.T, e *env) {
	e.handleSocket(func(s transport.Socket) {
		m := raw([]byte("last"))
		_ = s.Finish(&m, nil)
	})
	s := e.open(context.Background(), request("Stream", nil))
	body, err := s.Recv()
	if err != nil || string(body.Data) != "last" {
		t.Fatalf("got %q, %v", body.Data, err)
	}
	body.Release()
	if _, err := s.Recv(); err != io.EOF {
		t.Errorf("got %v", err)
	}
}

func testStreamMetadata(t *testing.T, e *env) {
	e.handleSocket(func(s transport.Socket) {
		h, _ := s.Header()
		v, _ := h.Get("x-in")
		w, _ := metadata.Get(s.Context(), "X-In")
		_ = metadata.SetHeader(s.Context(), "x-head", v, w) // inside a call
		_ = s.Send(raw([]byte("m")))
		_ = metadata.SetTrailer(s.Context(), "x-trail", "t")
		_ = s.Finish(nil, nil)
	})
	r := request("Stream", nil)
	r.Header = metadata.Header{{Key: "x-in", Value: "v"}}
	s := e.open(context.Background(), r)
	h, err := s.Header()
	if vs := h.Values("x-head"); err != nil || len(vs) != 2 || vs[0] != "v" || vs[1] != "v" {
		t.Errorf("header %q, %v", h, err)
	}
	for {
		body, err := s.Recv()
		if err != nil {
			break
		}
		body.Release()
	}
	if v, _ := s.Trailer().Get("x-trail"); v != "t" {
		t.Errorf("trailer %q", s.Trailer())
	}
}

func testStreamCancel(t *testing.T, e *env) {
	ended := make(chan error, 1)
	e.handleSocket(func(s transport.Socket) {
		_ = s.Send(raw([]byte("m")))
		_, err := s.Recv()
		ended <- err
		_ = s.Finish(nil, err)
	})
	ctx, cancel := context.WithCancel(context.Background())
	s := e.open(ctx, request("Stream", nil))
	body, err := s.Recv()
	if err != nil {
		t.Fatal(err)
	}
	body.Release()
	cancel()
	if _, err := s.Recv(); !stderrors.Is(err, context.Canceled) {
		t.Errorf("Recv: %v", err)
	}
	if err := within(t, ended); !stderrors.Is(err, context.Canceled) {
		t.Errorf("the handler's Recv: %v", err)
	}
}

func testStreamReset(t *testing.T, e *env) {
	begun, ended := make(chan struct{}), make(chan error, 1)
	e.handleSocket(func(s transport.Socket) {
		if s.Method().Endpoint == "ByHandler" {
			s.Reset()
			return
		}
		close(begun)
		<-s.Context().Done()
		ended <- s.Context().Err()
	})
	s := e.open(context.Background(), request("ByCaller", nil))
	within(t, begun)
	s.Reset()
	if _, err := s.Recv(); !stderrors.Is(err, context.Canceled) {
		t.Errorf("Recv after Reset: %v", err)
	}
	within(t, ended)
	s = e.open(context.Background(), request("ByHandler", nil))
	if _, err := s.Recv(); !stderrors.Is(err, context.Canceled) {
		t.Errorf("Recv after the handler's Reset: %v", err)
	}
}

func testStreamDeadline(t *testing.T, e *env) {
	ended := make(chan error, 1)
	e.handleSocket(func(s transport.Socket) {
		_, err := s.Recv()
		ended <- err
	})
	r := request("Stream", nil)
	r.Deadline = time.Now().Add(30 * time.Millisecond)
	s := e.open(context.Background(), r)
	if _, err := s.Recv(); !stderrors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Recv: %v", err)
	}
	if err := within(t, ended); err == nil {
		t.Error("the handler's Recv returned no error")
	}
}

func testShutdownWaits(t *testing.T, e *env) {
	begun, go_ := make(chan struct{}), make(chan struct{})
	e.handle("Slow", func(context.Context, transport.Body) (transport.Message, error) {
		close(begun)
		<-go_
		return raw([]byte("done")), nil
	})
	result := make(chan string, 1)
	go func() {
		got, err := e.call(context.Background(), request("Slow", nil))
		result <- fmt.Sprint(got, err)
	}()
	within(t, begun)
	down := make(chan error, 1)
	go func() { down <- e.ln.Shutdown(context.Background()) }()
	for e.conn.Err() == nil { // until the GOAWAY has come
		time.After(time.Millisecond)
	}
	select {
	case err := <-down:
		t.Fatalf("Shutdown returned %v with a call under way", err)
	default:
	}
	close(go_)
	if err := within(t, down); err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	if got := within(t, result); got != "done<nil>" {
		t.Errorf("the call under way: %s", got)
	}
}

func testShutdownRefuses(t *testing.T, e *env) {
	begun, go_ := make(chan struct{}), make(chan struct{})
	e.handle("Slow", func(context.Context, transport.Body) (transport.Message, error) {
		close(begun)
		<-go_
		return raw(nil), nil
	})
	e.handle("Echo", echo)
	result := make(chan error, 1)
	go func() {
		_, err := e.call(context.Background(), request("Slow", nil))
		result <- err
	}()
	within(t, begun)
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	down := make(chan error, 1)
	go func() { down <- e.ln.Shutdown(ctx) }()
	for {
		_, err := e.call(context.Background(), request("Echo", nil))
		if err == nil {
			continue // Shutdown has not begun
		}
		if !stderrors.Is(err, errors.ErrRefused) {
			t.Errorf("a call after Shutdown: %v", err)
		}
		break
	}
	close(go_)
	if err := within(t, down); err != nil {
		t.Error(err)
	}
	if err := within(t, result); err != nil {
		t.Error(err)
	}
	if _, err := e.tr.Dial(ctx, e.ln.Addr()); !stderrors.Is(err, transport.ErrUnreachable) {
		t.Errorf("dialling afterwards: %v", err)
	}
}

func testClose(t *testing.T, e *env) {
	begun, ended := make(chan struct{}), make(chan error, 1)
	e.handle("Wait", func(ctx context.Context, _ transport.Body) (transport.Message, error) {
		close(begun)
		<-ctx.Done()
		ended <- ctx.Err()
		return raw(nil), nil
	})
	result := make(chan error, 1)
	go func() {
		_, err := e.call(context.Background(), request("Wait", nil))
		result <- err
	}()
	within(t, begun)
	if err := e.ln.Close(); err != nil {
		t.Error(err)
	}
	if err := within(t, result); !stderrors.Is(err, transport.ErrLost) || stderrors.Is(err, errors.ErrRefused) {
		t.Errorf("the call under way: %v", err)
	}
	within(t, ended)
}

func testCallerCloses(t *testing.T, e *env) {
	begun, ended := make(chan struct{}), make(chan error, 1)
	e.handle("Wait", func(ctx context.Context, _ transport.Body) (transport.Message, error) {
		close(begun)
		<-ctx.Done()
		ended <- ctx.Err()
		return raw(nil), nil
	})
	result := make(chan error, 1)
	go func() {
		_, err := e.call(context.Background(), request("Wait", nil))
		result <- err
	}()
	within(t, begun)
	e.conn.Close()
	if err := within(t, result); err == nil {
		t.Error("the call ended well")
	}
	if err := within(t, ended); err == nil {
		t.Error("the function's context has no error")
	}
	if e.conn.Err() == nil {
		t.Error("Err is nil after Close")
	}
	if _, err := e.call(context.Background(), request("Wait", nil)); !stderrors.Is(err, errors.ErrRefused) {
		t.Errorf("a call after Close: %v", err)
	}
}

func testDialNothing(t *testing.T, e *env) {
	ln, err := e.tr.Listen(context.Background(), hostOf(e.ln.Addr())+":0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr()
	ln.Close()
	if _, err := e.tr.Dial(context.Background(), addr); !stderrors.Is(err, transport.ErrUnreachable) {
		t.Errorf("got %v", err)
	}
}

func hostOf(addr string) string { return addr[:strings.LastIndexByte(addr, ':')] }

func testAcceptEnds(t *testing.T, e *env) {
	ln, err := e.tr.Listen(context.Background(), hostOf(e.ln.Addr())+":0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- ln.Accept(func(transport.Socket) {}) }()
	ln.Close()
	if err := within(t, done); err != nil {
		t.Errorf("Accept returned %v", err)
	}
}
