package http_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	nethttp "net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-9a4e2794/micro/internal/leaktest"
	"github.com/seed-9a4e2794/micro/transport"
	"github.com/seed-9a4e2794/micro/transport/http"
)

func zip(b []byte) string {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	w.Write(b)
	w.Close()
	return out.String()
}

func unzip(t *testing.T, s string) string {
	t.Helper()
	r, err := gzip.NewReader(strings.NewReader(s))
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestLargeAnswersAreCompressedForThoseWhoTakeIt(t *testing.T) {
	leaktest.Check(t)
	for _, tt := range []struct {
		min, size int
		want      bool
	}{{0, 100, false}, {0, 8 << 10, true}, {64, 100, true}, {64, 10, false}, {-1, 8 << 10, false}} {
		h := newHouse(t, http.Config{CompressMin: tt.min})
		h.answer("Greeter.Hello", echo)
		h.open()
		text := strings.Repeat("x", tt.size)
		got := h.json("/Greeter/Hello", text, "Accept-Encoding", "gzip")
		if zipped := got.header.Get("Content-Encoding") == "gzip"; zipped != tt.want {
			t.Errorf("%d bytes from %d on: %v", tt.size, tt.min, got.header)
		} else if zipped {
			got.body = unzip(t, got.body)
		}
		if got.body != text {
			t.Errorf("%d bytes from %d on came as %d others", tt.size, tt.min, len(got.body))
		}
		if got := h.json("/Greeter/Hello", text); got.header.Get("Content-Encoding") != "" || got.body != text {
			t.Errorf("who does not ask for it gets %v", got.header)
		}
	}
}

func TestCompressedRequestsAreTaken(t *testing.T) {
	leaktest.Check(t)
	h := newHouse(t, http.Config{})
	h.answer("Greeter.Hello", echo)
	h.open()
	if got := h.json("/Greeter/Hello", zip([]byte("text")), "Content-Encoding", "gzip"); got.status != 200 || got.body != "text" {
		t.Errorf("gzip: %+v", got)
	}
	got := h.json("/Greeter/Hello", "text", "Content-Encoding", "br")
	if e := got.wrong(t); got.status != 501 || e.Code != "unimplemented" || !strings.Contains(e.Message, `"br"`) || !strings.Contains(e.Message, "gzip") {
		t.Errorf("an encoding that is not known: %+v", got)
	}
	if got := h.json("/Greeter/Hello", "text", "Content-Encoding", "gzip"); got.status != 400 || got.wrong(t).Code != "invalid_argument" {
		t.Errorf("what is not compressed: %+v", got)
	}
}

// allocated returns how many bytes f allocates.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

func TestLittleThatUnpacksToMuchIsRefusedWithoutUnpackingIt(t *testing.T) {
	leaktest.Check(t)
	h := newHouse(t, http.Config{MaxMessage: 1 << 20})
	var calls atomic.Int32
	h.answer("Greeter.Hello", func(context.Context, transport.Body) (transport.Message, error) {
		calls.Add(1)
		return transport.Message{}, nil
	})
	h.open()
	bomb := zip(make([]byte, 24<<20))
	h.json("/Greeter/Hello", zip(nil), "Content-Encoding", "gzip")
	calls.Store(0)
	begun := time.Now()
	spent := allocated(func() {
		got := h.json("/Greeter/Hello", bomb, "Content-Encoding", "gzip")
		if e := got.wrong(t); got.status != 429 || e.Code != "resource_exhausted" || !strings.Contains(e.Message, "not unpacked") {
			t.Errorf("by JSON: %+v", got)
		}
	})
	got := h.askBy(h.two, "POST", "/Greeter/Hello", strings.NewReader(frame(1, bomb)), "Content-Type", "application/grpc", "Grpc-Encoding", "gzip")
	if got.trailer.Get("Grpc-Status") != "8" {
		t.Errorf("by gRPC: %+v", got)
	}
	t.Logf("%d bytes of request, %d allocated, %v for two", len(bomb), spent, time.Since(begun).Round(time.Millisecond))
	if spent > 16<<20 {
		t.Errorf("%d bytes were allocated", spent)
	}
	if calls.Load() != 0 {
		t.Error("it was called")
	}
}

// endless is a body without an end.
type endless struct{ read atomic.Int64 }

func (e *endless) Read(p []byte) (int, error) {
	e.read.Add(int64(len(p)))
	return len(p), nil
}

func TestRequestsOverTheLimitAreRefusedWithoutReadingThem(t *testing.T) {
	leaktest.Check(t)
	const limit = 256 << 10
	h := newHouse(t, http.Config{MaxMessage: limit})
	h.answer("Greeter.Hello", echo)
	h.open()
	if got := h.json("/Greeter/Hello", strings.Repeat("x", limit)); got.status != 200 || len(got.body) != limit {
		t.Errorf("the largest: %d, %d bytes, %.200s", got.status, len(got.body), got.body)
	}
	got := h.json("/Greeter/Hello", strings.Repeat("x", limit+1))
	if e := got.wrong(t); got.status != 413 || e.Code != "resource_exhausted" || !strings.Contains(e.Message, fmt.Sprint(limit+1)) || !strings.Contains(e.Message, fmt.Sprint(limit)) {
		t.Errorf("one byte more: %+v", got)
	}
	for _, two := range []bool{false, true} {
		client := h.one
		if two {
			client = h.two
		}
		body := new(endless)
		spent := allocated(func() {
			got = h.askBy(client, "POST", "/Greeter/Hello", io.NopCloser(body), "Content-Type", "application/json")
		})
		if e := got.wrong(t); got.status != 413 || e.Code != "resource_exhausted" || !strings.Contains(e.Message, fmt.Sprint(limit)) {
			t.Errorf("without an end over HTTP/%d: %+v", got.major, got)
		}
		if n := body.read.Load(); n > 32<<20 || spent > 32<<20 {
			t.Errorf("over HTTP/%d %d bytes were sent and %d allocated", got.major, n, spent)
		}
	}
	// gRPC says before a message how large it is.
	claim := "\x00\x7f\xff\xff\xff"
	body := new(endless)
	spent := allocated(func() {
		got = h.askBy(h.two, "POST", "/Greeter/Hello", io.NopCloser(io.MultiReader(strings.NewReader(claim), body)), "Content-Type", "application/grpc")
	})
	if got.trailer.Get("Grpc-Status") != "8" && got.header.Get("Grpc-Status") != "8" {
		t.Errorf("by gRPC: %+v", got)
	}
	if n := body.read.Load(); n > 32<<20 || spent > 32<<20 {
		t.Errorf("by gRPC %d bytes were sent and %d allocated", n, spent)
	}
}

func TestAnswersOverTheLimitAreErrors(t *testing.T) {
	leaktest.Check(t)
	h := newHouse(t, http.Config{MaxMessage: 1000})
	h.answer("Greeter.Hello", func(context.Context, transport.Body) (transport.Message, error) {
		return raw(strings.Repeat("x", 1001)), nil
	})
	h.open()
	if got := h.json("/Greeter/Hello", ""); got.status != 429 || got.wrong(t).Code != "resource_exhausted" {
		t.Errorf("got %+v", got)
	}
}

func TestHeadersOverTheLimitAreRefused(t *testing.T) {
	leaktest.Check(t)
	h := newHouse(t, http.Config{MaxHeader: 8 << 10})
	h.answer("Greeter.Hello", echo)
	h.open()
	if got := h.json("/Greeter/Hello", "{}", "X-Large", strings.Repeat("x", 4<<10)); got.status != 200 {
		t.Errorf("one within the limit: %+v", got)
	}
	if got := h.json("/Greeter/Hello", "{}", "X-Large", strings.Repeat("x", 64<<10)); got.status != 431 {
		t.Errorf("over HTTP/1.1: %+v", got)
	}
}

func TestCallsOverTheLimitOfAConnectionWait(t *testing.T) {
	leaktest.Check(t)
	h := newHouse(t, http.Config{MaxCalls: 2})
	var now, most atomic.Int32
	begun, finish := make(chan struct{}, 8), make(chan struct{})
	h.answer("Greeter.Wait", func(context.Context, transport.Body) (transport.Message, error) {
		most.Store(max(most.Load(), now.Add(1)))
		begun <- struct{}{}
		<-finish
		now.Add(-1)
		return transport.Message{}, nil
	})
	h.open()
	h.two.Transport.(*nethttp.Transport).MaxConnsPerHost = 1
	answered := make(chan int, 4)
	for range 4 {
		go func() {
			answered <- h.askBy(h.two, "POST", "/Greeter/Wait", strings.NewReader("{}"), "Content-Type", "application/json").status
		}()
	}
	within(t, begun)
	within(t, begun)
	close(finish)
	for range 4 {
		if s := within(t, answered); s != 200 {
			t.Errorf("a call ended with %d", s)
		}
	}
	if n := most.Load(); n > 2 {
		t.Errorf("%d calls at once", n)
	}
}
