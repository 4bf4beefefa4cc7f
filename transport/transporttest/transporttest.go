// Package transporttest checks that a transport keeps the contract of package
// transport.
package transporttest

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-9a4e2794/micro/codec/bytes"
	"github.com/seed-9a4e2794/micro/errors"
	"github.com/seed-9a4e2794/micro/internal/leaktest"
	"github.com/seed-9a4e2794/micro/transport"
)

// Config says how to make the transport under test.
type Config struct {
	// New returns a transport whose messages may have at most 1 MiB; what
	// listens on it must be reachable through it.
	New func(t *testing.T) transport.Transport
	// Addr is the address to listen on.
	Addr string
	// Without names rules that the protocol itself cannot keep, each with the
	// reason. They are skipped; a name that is no rule fails.
	Without map[string]string
}

// maxMessage is the limit that Config.New sets.
const maxMessage = 1 << 20

// wait bounds everything that should happen at once.
const wait = 10 * time.Second

// Run checks the transport, a subtest a rule.
func Run(t *testing.T, cfg Config) {
	for name := range cfg.Without {
		if !slices.ContainsFunc(cases, func(c rule) bool { return c.name == name }) {
			t.Errorf("Without names %s, which is no rule", name)
		}
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if reason := cfg.Without[c.name]; reason != "" {
				t.Skipf("left out: %s. The rule: %s", reason, c.rule)
			}
			leaktest.Check(t)
			c.test(t, start(t, cfg))
			if t.Failed() {
				t.Logf("the rule: %s", c.rule)
			}
		})
	}
}

type rule struct {
	name, rule string
	test       func(*testing.T, *env)
}

var cases = []rule{
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
