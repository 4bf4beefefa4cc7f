package http_test

import (
	"bufio"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	nethttp "net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/seed-9a4e2794/micro/internal/leaktest"
	"github.com/seed-9a4e2794/micro/transport"
	"github.com/seed-9a4e2794/micro/transport/http"
)

// dial connects to a house without a client.
func (h *house) dial() net.Conn {
	h.t.Helper()
	c, err := net.Dial("tcp", h.addr)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	return c
}

func TestBodyThatDoesNotComeIsGivenUp(t *testing.T) {
	leaktest.Check(t)
	h := newHouse(t, http.Config{StallTimeout: 100 * time.Millisecond})
	h.answer("Greeter.Hello", echo)
	h.open()
	for _, framing := range []string{"Content-Length: 10", "Transfer-Encoding: chunked"} {
		c := h.dial()
		begun := time.Now()
		fmt.Fprintf(c, "POST /Greeter/Hello HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n%s\r\n\r\n", framing)
		if strings.HasPrefix(framing, "T") {
			io.WriteString(c, "2\r\n{}\r\n")
		}
		r := bufio.NewReader(c)
		res, err := nethttp.ReadResponse(r, nil)
		if err != nil {
			t.Fatalf("%s: %v", framing, err)
		}
		b, _ := io.ReadAll(res.Body)
		if res.StatusCode != 504 || !strings.Contains(string(b), "deadline_exceeded") {
			t.Errorf("%s: %d %s", framing, res.StatusCode, b)
		}
		if _, err := r.ReadByte(); err == nil {
			t.Errorf("%s: the connection goes on", framing)
		}
		if took := time.Since(begun); took < 100*time.Millisecond {
			t.Errorf("%s: it was given up after %v", framing, took)
		}
	}
	c := h.dial() // that says nothing at all
	fmt.Fprint(c, "POST /Gree")
	c.(*net.TCPConn).CloseWrite() // half of it is open
	if b, err := io.ReadAll(c); err != nil {
		t.Errorf("half a request: %q, %v", b, err)
	}
}

func TestHandlerMayTakeLongerThanTheBodyOfItsRequest(t *testing.T) {
	leaktest.Check(t)
	const stall = 50 * time.Millisecond
	h := newHouse(t, http.Config{StallTimeout: stall})
	h.answer("Greeter.Slow", func(ctx context.Context, b transport.Body) (transport.Message, error) {
		timer := time.NewTimer(4 * stall)
		defer timer.Stop()
		select {
		case <-ctx.Done():
			return transport.Message{}, fmt.Errorf("it was ended: %w", ctx.Err())
		case <-timer.C:
			return raw(string(b.Data)), nil
		}
	})
	h.open()
	for range 2 { // the second on the connection of the first
		if got := h.json("/Greeter/Slow", "text"); got.status != 200 || got.body != "text" {
			t.Errorf("got %+v", got)
		}
	}
}

func TestAnswerThatNobodyTakesIsGivenUp(t *testing.T) {
	leaktest.Check(t)
	h := newHouse(t, http.Config{StallTimeout: 200 * time.Millisecond, MaxMessage: 64 << 20})
	noise := make([]byte, 32<<20)
	rand.Read(noise)
	large := string(noise)
	h.answer("Greeter.Large", func(context.Context, transport.Body) (transport.Message, error) { return raw(large), nil })
	ended := make(chan error, 1)
	h.stream("Greeter.Flood", func(s transport.Socket) error {
		m := raw(large[:1<<20])
		for {
			if err := s.Send(m); err != nil {
				ended <- err
				return err
			}
		}
	})
	h.open()
	c := h.dial()
	fmt.Fprint(c, "POST /Greeter/Large HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")
	f := h.dial()
	body := frame(0, "{}")
	fmt.Fprintf(f, "POST /Greeter/Flood HTTP/1.1\r\nHost: x\r\nContent-Type: application/connect+json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	within(t, ended)
	// Over HTTP/2 the connection lives and says that its window is full.
	res := h.idleReader("/Greeter/Large")
	defer res.Body.Close()
	until(t, func() bool {
		return !strings.Contains(stacks(), "http.(*guard).Write(")
	})
	n, err := io.Copy(io.Discard, res.Body)
	if err == nil {
		t.Errorf("all of %d bytes came over HTTP/2", n)
	}
	n, _ = io.Copy(io.Discard, c)
	if n >= int64(len(large)) {
		t.Errorf("all of %d bytes came over HTTP/1.1", n)
	}
}

// idleReader makes a call over HTTP/2 and reads nothing of its answer.
func (h *house) idleReader(path string) *nethttp.Response {
	h.t.Helper()
	r, _ := nethttp.NewRequest("POST", "http://"+h.addr+path, strings.NewReader("{}"))
	r.Header.Set("Content-Type", "application/json")
	res, err := h.two.Do(r)
	if err != nil {
		h.t.Fatal(err)
	}
	return res
}

func stacks() string {
	b := make([]byte, 4<<20)
	return string(b[:runtime.Stack(b, true)])
}

func TestAnswerThatIsTakenSlowlyComesWhole(t *testing.T) {
	leaktest.Check(t)
	h := newHouse(t, http.Config{StallTimeout: 300 * time.Millisecond, MaxMessage: 64 << 20})
	large := strings.Repeat("0123456789abcdef", 1<<20)
	h.answer("Greeter.Large", func(context.Context, transport.Body) (transport.Message, error) { return raw(large), nil })
	h.stream("Greeter.Seldom", func(s transport.Socket) error {
		for range 3 { // with a longer time between them than any write may take
			timer := time.NewTimer(400 * time.Millisecond)
			<-timer.C
			if err := s.Send(raw("tick")); err != nil {
				return err
			}
		}
		return nil
	})
	h.open()
	for _, client := range []*nethttp.Client{h.one, h.two} {
		r, _ := nethttp.NewRequest("POST", "http://"+h.addr+"/Greeter/Large", strings.NewReader("{}"))
		r.Header.Set("Content-Type", "application/json")
		res, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		tick := time.NewTicker(20 * time.Millisecond)
		total := 0
		for buf := make([]byte, 512<<10); ; <-tick.C {
			n, err := io.ReadFull(res.Body, buf)
			total += n
			if err != nil {
				break
			}
		}
		tick.Stop()
		res.Body.Close()
		if took := time.Since(begun); total != len(large) || took < 300*time.Millisecond {
			t.Errorf("over HTTP/%d %d bytes of %d came in %v", res.ProtoMajor, total, len(large), took)
		}
		got := h.askBy(client, "POST", "/Greeter/Seldom", strings.NewReader(frame(0, "{}")), "Content-Type", "application/connect+json")
		if _, m := unframe(t, got.body); len(m) != 4 || m[2] != "tick" || m[3] != "{}" {
			t.Errorf("messages that come seldom over HTTP/%d: %q", got.major, m)
		}
	}
}

func TestCallerThatDoesNotSayWhatItWantsIsClosed(t *testing.T) {
	leaktest.Check(t)
	h := newHouse(t, http.Config{HelloTimeout: 50 * time.Millisecond}).open()
	for _, start := range []string{"", "POST /House", "PRI * HTTP/2.0\r\n"} {
		c := h.dial()
		io.WriteString(c, start)
		if b, err := io.ReadAll(c); err != nil || len(b) > 0 && !strings.Contains(string(b), "400") {
			t.Errorf("%q: %q, %v", start, b, err)
		}
	}
}

func TestKeptConnectionMayRestLongerThanAnAnswerMayTake(t *testing.T) {
	leaktest.Check(t)
	const stall = 50 * time.Millisecond
	h := newHouse(t, http.Config{StallTimeout: stall})
	h.answer("House.Echo", echo)
	h.open()
	c := h.dial()
	r := bufio.NewReader(c)
	for _, tt := range []struct {
		path   string
		status int
	}{{"/House/Echo", 200}, {"/House/Nothing", 404}, {"/House/Echo", 200}} {
		fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}", tt.path)
		res, err := nethttp.ReadResponse(r, nil)
		if err != nil {
			t.Fatalf("%s: %v", tt.path, err)
		}
		if io.Copy(io.Discard, res.Body); res.StatusCode != tt.status {
			t.Errorf("%s: %d", tt.path, res.StatusCode)
		}
		timer := time.NewTimer(2 * stall)
		<-timer.C
	}
}
