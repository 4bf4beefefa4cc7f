package transporttest

import (
	"context"
	stderrors "errors"
	"fmt"
	"io"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-9a4e2794/micro/errors"
	"github.com/seed-9a4e2794/micro/metadata"
	"github.com/seed-9a4e2794/micro/transport"
)

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
