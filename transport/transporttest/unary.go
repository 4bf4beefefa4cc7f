package transporttest

import (
	"context"
	stderrors "errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-9a4e2794/micro/codec"
	"github.com/seed-9a4e2794/micro/codec/bytes"
	"github.com/seed-9a4e2794/micro/codec/json"
	"github.com/seed-9a4e2794/micro/errors"
	"github.com/seed-9a4e2794/micro/metadata"
	"github.com/seed-9a4e2794/micro/transport"
)

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
