package wire

import (
	"bytes"
	"context"
	stderrors "errors"
	"flag"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-9a4e2794/micro/errors"
	"github.com/seed-9a4e2794/micro/metadata"
	"github.com/seed-9a4e2794/micro/transport"
)

var update = flag.Bool("update", false, "write the conversations under testdata anew")

// conversation is what a file under testdata pins. Either a caller has it by
// itself, or the caller's bytes are made by hand.
type conversation struct {
	name, pins string
	cfg        Config // of the caller
	call       func(t *testing.T, c *Caller, act func(string))
	hand       []line // '<' lines stand for one frame each, whatever it is
}

// TestConversations checks both sides byte for byte against the files under
// testdata: what the listener answers, and what the caller sends.
func TestConversations(t *testing.T) {
	seen := make(map[string]bool)
	for _, c := range conversations {
		path := filepath.Join("testdata", c.name+".txt")
		seen[path] = true
		t.Run(c.name, func(t *testing.T) {
			if *update {
				var lines []line
				synctest.Test(t, func(t *testing.T) { lines = record(t, c) })
				writeScript(t, path, c.pins, lines)
			}
			lines := readScript(t, path)
			t.Run("Listener", func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { replayToListener(t, lines) })
			})
			if c.call != nil {
				t.Run("Caller", func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) { replayToCaller(t, c, lines) })
				})
			}
		})
	}
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if !seen[f] {
			t.Errorf("%s belongs to no conversation", f)
		}
	}
}

// server is the listener of the conversations.
func server(t *testing.T) (*Listener, *hall) {
	h := newHall()
	return listen(t, h, Config{}, unaries{
		"Echo": echoUnary,
		"Slow": func(ctx context.Context, _ transport.Body) (transport.Message, error) {
			<-time.After(15 * time.Second)
			return raw([]byte("at last")), nil
		},
		"Wait": func(ctx context.Context, _ transport.Body) (transport.Message, error) {
			<-ctx.Done()
			return raw(nil), ctx.Err()
		},
		"Fail": func(context.Context, transport.Body) (transport.Message, error) {
			return transport.Message{}, &errors.Error{Id: "greeter", Code: 409, Detail: "taken", Status: "Conflict", Exact: errors.CodeAborted,
				Details: []errors.Detail{{Type: "type.googleapis.com/x.Y", Value: []byte{1, 2, 3}}}}
		},
		"Meta": func(ctx context.Context, _ transport.Body) (transport.Message, error) {
			v, _ := metadata.Get(ctx, "x-user")
			_ = metadata.SetHeader(ctx, "x-reply", v, "two") // inside a call it cannot fail
			_ = metadata.SetTrailer(ctx, "x-end-bin", "\x00\xff")
			return raw([]byte("ok")), nil
		},
		"Type": func(_ context.Context, body transport.Body) (transport.Message, error) {
			return transport.Message{Value: []byte(body.ContentType), Codec: named{}}, nil
		},
	}, func(s transport.Socket) {
		_ = metadata.SetHeader(s.Context(), "x-head", "h") // inside a call it cannot fail
		_ = metadata.SetTrailer(s.Context(), "x-trail", "t")
		echoStream(s)
	}), h
}

// taken is a connection that keeps what is written to it.
type taken struct {
	net.Conn
	log *recorder
	dir byte
}

func (c *taken) Write(b []byte) (int, error) {
	c.log.add(c.dir, b) // before the other side can answer it
	return c.Conn.Write(b)
}

type recorder struct {
	mu    sync.Mutex
	lines []line
	rest  map[byte][]byte
	begun map[byte]bool
}

func (r *recorder) add(dir byte, b []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	lines, rest := cut(append(r.rest[dir], b...), r.begun[dir])
	r.rest[dir] = rest
	for _, l := range lines {
		r.begun[dir] = true
		l.dir, l.bytes = dir, bytes.Clone(l.bytes)
		r.lines = append(r.lines, l)
	}
}

func (r *recorder) note(s string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, line{dir: '!', note: s})
}

// do has the listener do of itself what a '!' line says.
func do(l *Listener, what string, group *sync.WaitGroup) {
	if what != "shutdown" {
		panic(what)
	}
	synctest.Wait() // what was sent before has come
	group.Go(func() { l.Shutdown(context.Background()) })
	synctest.Wait()
}

// record has a conversation and returns it.
func record(t *testing.T, c conversation) []line {
	l, h := server(t)
	var group sync.WaitGroup
	defer group.Wait()
	log := &recorder{rest: make(map[byte][]byte), begun: make(map[byte]bool)}
	near, far := net.Pipe()
	h.conns <- &taken{far, log, '<'}
	if c.call == nil {
		p := newPeer(t, &taken{near, log, '>'})
		for i, s := range c.hand {
			switch {
			case s.dir == '!':
				log.note(s.note)
				do(l, s.note, &group)
			case s.dir == '>':
				p.bytes(s.bytes)
			case i == 1:
				p.greeted()
			default:
				p.frame()
			}
			synctest.Wait()
		}
		near.Close()
		return log.lines
	}
	caller := newCaller(t, &taken{near, log, '>'}, c.cfg)
	c.call(t, caller, func(what string) {
		log.note(what)
		do(l, what, &group)
	})
	synctest.Wait()
	log.mu.Lock()
	lines := log.lines
	log.mu.Unlock()
	caller.Close()
	return lines
}

// expect reads exactly want.
func expect(t *testing.T, conn net.Conn, i int, want line) bool {
	t.Helper()
	conn.SetReadDeadline(time.Now().Add(time.Minute))
	got := make([]byte, len(want.bytes))
	n, err := io.ReadFull(conn, got)
	if err != nil || !bytes.Equal(got, want.bytes) {
		t.Errorf("line %d, %s: got\n% x, %v\nwant\n% x", i, want.note, got[:n], err, want.bytes)
		return false
	}
	return true
}

// silent checks that nothing more comes.
func silent(t *testing.T, conn net.Conn) {
	t.Helper()
	conn.SetReadDeadline(time.Now().Add(time.Second))
	b := make([]byte, 1024)
	if n, _ := conn.Read(b); n > 0 {
		t.Errorf("more came: % x", b[:n])
	}
}

func replayToListener(t *testing.T, lines []line) {
	l, h := server(t)
	var group sync.WaitGroup
	defer group.Wait()
	conn := h.dial(t)
	defer conn.Close()
	for i, s := range lines {
		switch s.dir {
		case '>':
			conn.SetWriteDeadline(time.Now().Add(time.Minute))
			if _, err := conn.Write(s.bytes); err != nil {
				t.Fatalf("line %d, %s: %v", i, s.note, err)
			}
		case '<':
			if !expect(t, conn, i, s) {
				return
			}
		case '!':
			do(l, s.note, &group)
		}
	}
	silent(t, conn)
}

func replayToCaller(t *testing.T, c conversation, lines []line) {
	near, far := net.Pipe()
	played := make(chan struct{})
	go func() {
		defer close(played)
		for i, s := range lines {
			switch s.dir {
			case '>':
				if !expect(t, far, i, s) {
					far.Close()
					return
				}
			case '<':
				far.SetWriteDeadline(time.Now().Add(time.Minute))
				if _, err := far.Write(s.bytes); err != nil {
					t.Errorf("line %d, %s: %v", i, s.note, err)
					return
				}
			}
		}
	}()
	caller := newCaller(t, near, c.cfg)
	c.call(t, caller, func(string) { synctest.Wait() })
	<-played
	silent(t, far)
	caller.Close()
	far.Close()
}

func get(t *testing.T, c *Caller, r transport.Request, want string) transport.Reply {
	t.Helper()
	rsp, err := c.Call(context.Background(), r)
	if err != nil || string(rsp.Body.Data) != want {
		t.Errorf("%s: %q, %v, want %q", r.Method.Endpoint, rsp.Body.Data, err, want)
	}
	return rsp
}

func out(h header, payload string) line {
	return line{dir: '>', bytes: appendFrame(nil, h, payload)}
}

var in = line{dir: '<'}

// hello is how a conversation by hand begins.
var hello = []line{{dir: '>', bytes: greetingOf(Config{})}, in}

var conversations = []conversation{
	{name: "unary", pins: "Preamble and SETTINGS of both sides, then unary calls that end well. The name of the\nmethod goes before the first call of it only. Both calls have the same slot, and another\ngeneration each.",
		call: func(t *testing.T, c *Caller, _ func(string)) {
			get(t, c, ask("Echo", []byte("hello")), "hello")
			get(t, c, ask("Echo", nil), "")
		}},
	{name: "error", pins: "A unary call that fails: status 10 (ABORTED) with an Error that has details.",
		call: func(t *testing.T, c *Caller, _ func(string)) {
			_, err := c.Call(context.Background(), ask("Fail", nil))
			if e := errors.From("", err); e.Code != 409 || e.GRPCCode() != errors.CodeAborted || len(e.Details) != 1 {
				t.Errorf("got %+v", e)
			}
		}},
	{name: "metadata", pins: "Metadata both ways: a repeated key and binary values with the request, a header and a\ntrailer with the reply.",
		call: func(t *testing.T, c *Caller, _ func(string)) {
			r := ask("Meta", nil)
			r.Header = metadata.Header{{Key: "x-user", Value: "ada"}, {Key: "x-user", Value: "grace"}, {Key: "x-bin", Value: "\x00\n"}}
			rsp := get(t, c, r, "ok")
			if v, _ := rsp.Trailer.Get("x-end-bin"); v != "\x00\xff" || len(rsp.Header.Values("x-reply")) != 2 {
				t.Errorf("header %q, trailer %q", rsp.Header, rsp.Trailer)
			}
		}},
	{name: "timeout", pins: "A deadline goes as the milliseconds that are left. When it has passed the caller sends\nCANCEL, and the connection lives on.",
		call: func(t *testing.T, c *Caller, _ func(string)) {
			r := ask("Wait", []byte("x"))
			r.Deadline = time.Now().Add(1500*time.Millisecond + 1)
			if _, err := c.Call(context.Background(), r); !stderrors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v", err)
			}
			get(t, c, ask("Echo", []byte("next")), "next")
		}},
	{name: "names", pins: "Each method is named once, with the next number, before its first call.",
		call: func(t *testing.T, c *Caller, _ func(string)) {
			get(t, c, ask("Echo", []byte("a")), "a")
			get(t, c, ask("Meta", nil), "ok")
			get(t, c, ask("Echo", []byte("b")), "b")
		}},
	{name: "strict", pins: "A strict name of another service: UNAVAILABLE (14) and REFUSED. The listener's own name\nis answered.",
		call: func(t *testing.T, c *Caller, _ func(string)) {
			r := ask("Echo", nil)
			r.Method.Strict, r.Method.Service = true, "other"
			if _, err := c.Call(context.Background(), r); !stderrors.Is(err, errors.ErrRefused) {
				t.Errorf("got %v", err)
			}
			r.Method.Service = "test"
			get(t, c, r, "")
		}},
	{name: "codec", pins: "An encoding without a number is named by the metadata field content-type, both ways.",
		call: func(t *testing.T, c *Caller, _ func(string)) {
			r := ask("Type", nil)
			r.Message = transport.Message{Value: "body", Codec: named{}}
			if rsp := get(t, c, r, "application/x-test"); rsp.Body.ContentType != "application/x-test" {
				t.Errorf("the reply is %q", rsp.Body.ContentType)
			}
		}},
	{name: "stream", pins: "A stream: OPEN, a message each way, the listener's HEAD before its first; END, and RSP with\nthe trailer and no last message.",
		call: func(t *testing.T, c *Caller, _ func(string)) {
			s := open(t, c)
			for _, m := range []string{"one", ""} {
				pass(t, s, m)
			}
			if err := s.CloseSend(); err != nil {
				t.Error(err)
			}
			if _, err := s.Recv(); err != io.EOF {
				t.Errorf("at the end: %v", err)
			}
			if h, _ := s.Header(); len(h) != 1 || len(s.Trailer()) != 1 {
				t.Errorf("header %q, trailer %q", h, s.Trailer())
			}
		}},
	{name: "large", pins: "A message of more than 16 KiB travels as several DATA frames, all but the last with MORE.",
		call: func(t *testing.T, c *Caller, _ func(string)) {
			s := open(t, c)
			if err := s.Send(raw(bytes.Repeat([]byte("a"), 40_000))); err != nil {
				t.Error(err)
			}
			// Not read: the credit that both sides give would cross the messages.
			synctest.Wait()
		}},
	{name: "window", pins: "Credit: a receiver gives back what its program has taken when that is half the window.",
		call: func(t *testing.T, c *Caller, _ func(string)) {
			s := open(t, c)
			for range 4 {
				pass(t, s, string(bytes.Repeat([]byte("a"), 10_000)))
				synctest.Wait()
			}
		}},
	{name: "cancel", pins: "A call that is given up: CANCEL, no RSP. The slot is used again with another generation.",
		call: func(t *testing.T, c *Caller, _ func(string)) {
			ctx, cancel := context.WithCancel(context.Background())
			go func() {
				synctest.Wait()
				cancel()
			}()
			if _, err := c.Call(ctx, ask("Wait", nil)); !stderrors.Is(err, context.Canceled) {
				t.Errorf("got %v", err)
			}
			get(t, c, ask("Echo", []byte("x")), "x")
		}},
	{name: "ping", pins: "A caller that hears nothing for ten seconds while a call is under way asks whether the\nlistener is there.",
		call: func(t *testing.T, c *Caller, _ func(string)) {
			get(t, c, ask("Slow", nil), "at last")
		}},
	{name: "goaway", pins: "GOAWAY with DRAIN: the call under way ends well, one that crosses is refused with\nUNAVAILABLE (14) and REFUSED.",
		hand: append(append([]line(nil), hello...), out(header{typ: typeName, aux: 1}, "\x00\x04testSlow"), out(header{typ: typeReq, codec: 3, call: 0, aux: 1}, ""),
			line{dir: '!', note: "shutdown"}, out(header{typ: typeReq, codec: 3, call: 1, aux: 1}, ""), in, in, in)},
	{name: "drained", pins: "A caller that is told DRAIN finishes what it has and makes no new calls here.",
		call: func(t *testing.T, c *Caller, act func(string)) {
			done := make(chan struct{})
			go func() {
				defer close(done)
				get(t, c, ask("Slow", nil), "at last")
			}()
			synctest.Wait()
			act("shutdown")
			if _, err := c.Call(context.Background(), ask("Echo", nil)); !stderrors.Is(err, errors.ErrRefused) {
				t.Errorf("a new call: %v", err)
			}
			<-done
		}},
	{name: "ignored", pins: "Frames of type 128 and above are ignored, and so are those of calls that the listener does\nnot know.",
		hand: append(append([]line(nil), hello...), out(header{typ: 128, flags: 0xFF, codec: 9, call: 7, aux: 9}, "from the future"), out(header{typ: 255}, ""),
			out(header{typ: typeCancel, call: 5}, ""), out(header{typ: typeData, call: 6}, "x"), out(header{typ: typeEnd, call: 6}, ""), out(header{typ: typeWindow, call: 6, aux: 1}, ""),
			out(header{typ: typeName, aux: 1}, "\x00\x04testEcho"), out(header{typ: typeReq, codec: 3, call: 0, aux: 1}, "alive"), in)},
	{name: "broken", pins: "A protocol error: GOAWAY with PROTOCOL (1) and a text, and the connection is closed.",
		hand: append(append([]line(nil), hello...), out(header{typ: 99}, ""), in)},
	{name: "version", pins: "A version that the listener does not know: its own preamble, SETTINGS, GOAWAY with\nVERSION (2), and the connection is closed.",
		hand: []line{{dir: '>', note: "preamble of version 2", bytes: []byte("\xA7micro\x02\n")}, in, in}},
}

func open(t *testing.T, c *Caller) transport.Socket {
	t.Helper()
	s, err := c.Open(context.Background(), ask("Stream", nil))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// pass sends a message and takes it back.
func pass(t *testing.T, s transport.Socket, m string) {
	t.Helper()
	if err := s.Send(raw([]byte(m))); err != nil {
		t.Fatal(err)
	}
	body, err := s.Recv()
	if err != nil || string(body.Data) != m {
		t.Fatalf("%.20q came back as %.20q, %v", m, body.Data, err)
	}
	body.Release()
}

// named is raw bytes under a name that has no number.
type named struct{}

func (named) Name() string { return "application/x-test" }
func (named) Append(dst []byte, v any) ([]byte, error) {
	return fmt.Appendf(dst, "%s", v), nil
}
func (named) Unmarshal([]byte, any) error { return nil }
