package http_test

import (
	"context"
	"io"
	nethttp "net/http"
	"strings"
	"testing"
	"time"

	"github.com/seed-9a4e2794/micro/internal/leaktest"
	"github.com/seed-9a4e2794/micro/transport"
	"github.com/seed-9a4e2794/micro/transport/http"
)

// half makes a call whose body has a part that comes at once and one that never
// does, and returns how it is answered.
func (h *house) half(c *nethttp.Client, ct, body string) (answer chan got) {
	h.t.Helper()
	r, w := io.Pipe()
	h.t.Cleanup(func() { w.Close() })
	answer = make(chan got, 1)
	sent := struct {
		io.Reader
		io.Closer // net/http waits for who reads
	}{io.MultiReader(strings.NewReader(body), r), r}
	go func() { answer <- h.askBy(c, "POST", "/House/Echo", sent, "Content-Type", ct) }()
	return answer
}

// reading returns how many requests are being waited for.
func reading() int { return strings.Count(stacks(), "http.(*requestBody).Read(") }

func TestShutdownDoesNotWaitForRequestsThatAreNotSentWhole(t *testing.T) {
	leaktest.Check(t)
	h := newHouse(t, http.Config{})
	h.answer("House.Echo", echo)
	h.open()
	answers := map[string]chan got{
		"HTTP/1.1, nothing": h.half(h.one, "application/json", ""),
		"HTTP/1.1, a part":  h.half(h.one, "application/json", "{"),
		"gRPC-Web":          h.half(h.one, "application/grpc-web+json", frame(0, "{}")[:6]),
		"HTTP/2, nothing":   h.half(h.two, "application/json", ""),
		"HTTP/2, a part":    h.half(h.two, "application/json", "{"),
		"gRPC":              h.half(h.two, "application/grpc+json", frame(0, "{}")[:6]),
	}
	until(t, func() bool { return reading() == len(answers) })
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	begun := time.Now()
	err := h.ln.Shutdown(ctx)
	if took := time.Since(begun); err != nil || took > patience/2 {
		t.Errorf("shutdown took %v: %v", took, err)
	}
	for name, answer := range answers {
		got := within(t, answer)
		status := got.header.Get("Grpc-Status") + got.trailer.Get("Grpc-Status")
		if strings.HasPrefix(name, "HTTP") && (got.status != 503 || got.wrong(t).Code != "unavailable") ||
			name == "gRPC" && status != "14" || name == "gRPC-Web" && status != "14" && !strings.Contains(strings.ToLower(got.body), "grpc-status: 14") {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestShutdownLetsCallsFinishWhoseRequestsHaveCome(t *testing.T) {
	leaktest.Check(t)
	h := newHouse(t, http.Config{})
	begun, finish := h.slow()
	h.answer("House.Echo", echo)
	h.open()
	n, ends := h.calls()
	for range n {
		within(t, begun)
	}
	half := h.half(h.two, "application/json", "{")
	until(t, func() bool { return reading() == 1 })
	stopped := make(chan error, 1)
	go func() { stopped <- h.ln.Shutdown(context.Background()) }()
	if got := within(t, half); got.status != 503 {
		t.Errorf("the request that has not come: %+v", got)
	}
	close(finish)
	for range n {
		if end := within(t, ends); !strings.Contains(end, "done") || !strings.HasSuffix(end, "<nil>") {
			t.Errorf("a call ended with %q", end)
		}
	}
	if err := within(t, stopped); err != nil {
		t.Errorf("shutdown: %v", err)
	}
}

func TestBodyThatDoesNotComeOverHTTP2IsGivenUp(t *testing.T) {
	leaktest.Check(t)
	const stall = 100 * time.Millisecond
	h := newHouse(t, http.Config{StallTimeout: stall})
	h.answer("House.Echo", echo)
	h.answer("House.Slow", func(ctx context.Context, b transport.Body) (transport.Message, error) {
		timer := time.NewTimer(3 * stall)
		defer timer.Stop()
		select {
		case <-ctx.Done():
			return transport.Message{}, ctx.Err()
		case <-timer.C:
			return raw(string(b.Data)), nil
		}
	})
	h.open()
	for range 2 { // the second when the timer has run
		begun := time.Now()
		half := h.half(h.two, "application/json", "{")
		if got := h.askBy(h.two, "POST", "/House/Slow", strings.NewReader("{}"), "Content-Type", "application/json"); got.status != 200 {
			t.Errorf("a slow call whose request has come: %+v", got)
		}
		got := within(t, half)
		if got.status != 504 || got.wrong(t).Code != "deadline_exceeded" {
			t.Errorf("got %+v", got)
		}
		if took := time.Since(begun); took < stall {
			t.Errorf("it was given up after %v", took)
		}
	}
}
