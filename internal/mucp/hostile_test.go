package mucp

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-9a4e2794/micro/errors"
	"github.com/seed-9a4e2794/micro/internal/leaktest"
	"github.com/seed-9a4e2794/micro/transport"
)

func longText(n int) string { return strings.Repeat("y", n) }

// small is a Config under which little is much.
func small() Config {
	return Config{MaxMessage: 16 << 10, MaxHeader: 8 << 10, MaxCalls: 4, MaxHeld: 20 << 10, Window: 4 << 10,
		IdleTimeout: time.Minute, ReadTimeout: time.Second, StallTimeout: time.Second}
}

func TestWhatIsTooLargeOrNoRequestIsAnsweredAndTheConnectionClosed(t *testing.T) {
	leaktest.Check(t)
	head := "POST / HTTP/1.1\r\nHost: h\r\nMicro-Endpoint: Echo.Echo\r\nContent-Type: application/octet-stream\r\n"
	for _, tt := range []struct {
		name, text string
		status     int
		detail     string
	}{
		{"a long header", "POST / HTTP/1.1\r\nHost: h\r\nX: " + longText(20<<10) + "\r\n\r\n", 431, ""},
		{"a header without an end", "POST / HTTP/1.1\r\n" + strings.Repeat("X: y\r\n", 4<<10), 431, ""},
		{"a long body", head + "Content-Length: 20000\r\n\r\n" + longText(20000), 200, "20000 bytes, the limit is 16384"},
		{"an announced body", head + "Content-Length: 9223372036854775807\r\n\r\n", 200, "the limit is 16384"},
		{"long chunks", head + "Transfer-Encoding: chunked\r\n\r\n5000\r\n" + longText(0x5000) + "\r\n0\r\n\r\n", 200, "more than 16384 bytes"},
		{"a stream's long message", head + "Micro-Stream: 1\r\nContent-Length: 20000\r\n\r\n" + longText(20000), 200, "the limit is 16384"},
		{"a stream's long id", head + "Micro-Stream: " + longText(200) + "\r\nContent-Length: 0\r\n\r\n", 200, "200 bytes, the limit is 128"},
		{"no request", "\x00\x01\x02\r\n\r\n", 400, ""},
		{"two lengths", head + "Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx", 400, ""},
		{"a length that is none", head + "Content-Length: -1\r\n\r\n", 400, ""},
		{"no chunk", head + "Transfer-Encoding: chunked\r\n\r\nxyz\r\n", 400, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, addr := serve(t, small(), greeter(), nil)
			conn, r := open(t, addr)
			send(t, conn, plainCall("Echo.Echo", "0", "x")) // net/http answers what is wrong with the first one
			if _, body := response(t, r); body != "x" {
				t.Fatal(body)
			}
			send(t, conn, tt.text)
			rsp, _ := response(t, r)
			code := int32(0)
			switch {
			case strings.Contains(tt.detail, "128"):
				code = http.StatusBadRequest
			case tt.detail != "":
				code = http.StatusRequestEntityTooLarge
			}
			if e := errors.Parse(rsp.Header.Get("Micro-Error")); rsp.StatusCode != tt.status || !strings.Contains(e.Detail, tt.detail) || e.Code != code {
				t.Errorf("answered %s, %v", rsp.Status, e)
			}
			if !rsp.Close {
				t.Error("the answer does not say that the connection ends")
			}
			if _, err := r.ReadByte(); err != io.EOF {
				t.Errorf("afterwards: %v", err)
			}
		})
	}
}

// piped is a server and the other end of a connection to it, in a bubble.
func piped(t *testing.T, cfg Config, u unaries, sock func(transport.Socket)) (*Server, net.Conn, *bufio.Reader, <-chan struct{}) {
	srv := NewServer(cfg, sock, transport.AcceptOptions{Lookup: u.lookup})
	near, far := net.Pipe()
	over := make(chan struct{})
	go func() {
		defer close(over)
		serveParsed(srv, far)
	}()
	return srv, near, bufio.NewReader(near), over
}

func TestSlowPeersAreGivenUp(t *testing.T) {
	head := "POST / HTTP/1.1\r\nHost: h\r\nMicro-Endpoint: Greeter.Large\r\n"
	for _, tt := range []struct {
		name, text string
		after      time.Duration
		status     int // 0: there is nobody to answer
	}{
		{"idle", "", time.Minute, 0},
		{"in a header", "POST / HTTP/1.1\r\nX", time.Second, 408},
		{"in a body", head + "Content-Length: 10\r\n\r\nx", time.Second, 408},
		{"in chunks", head + "Transfer-Encoding: chunked\r\n\r\n5\r\nx", time.Second, 408},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, conn, r, over := piped(t, small(), greeter(), nil)
				send(t, conn, plainCall("Echo.Echo", "0", "x"))
				response(t, r)
				send(t, conn, tt.text)
				began := time.Now()
				if tt.status != 0 {
					if rsp, _ := response(t, r); rsp.StatusCode != tt.status {
						t.Errorf("answered %s", rsp.Status)
					}
				}
				<-over
				if took := time.Since(began); took < tt.after || took > tt.after+lingerTime {
					t.Errorf("given up after %v", took)
				}
				conn.Close()
			})
		})
	}
}

func TestACallerThatReadsNoAnswersIsGivenUpAndOnlyOneAnswerIsMade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var made atomic.Int32
		u := unaries{"A.B": func(context.Context, transport.Body) (transport.Message, error) {
			return transport.Message{Value: &made, Codec: counting{}}, nil
		}}
		_, conn, _, over := piped(t, small(), u, nil)
		began := time.Now()
		for range 3 {
			send(t, conn, plainCall("A.B", "1", ""))
		}
		synctest.Wait()
		if n := made.Load(); n != 1 {
			t.Errorf("%d answers were made for a caller that reads none", n)
		}
		<-over
		if took := time.Since(began); took != time.Second {
			t.Errorf("given up after %v", took)
		}
		conn.Close()
	})
}

// counting counts how often it is asked to encode.
type counting struct{ named }

func (counting) Name() string { return "application/octet-stream" }
func (counting) Append(dst []byte, v any) ([]byte, error) {
	v.(*atomic.Int32).Add(1)
	return append(dst, longText(100)...), nil
}

func TestAStreamsSenderWaitsForItsReaderAsLongAsItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		result := make(chan error, 1)
		srv, conn, _, over := piped(t, small(), nil, func(s transport.Socket) {
			result <- s.Send(raw("x"))
		})
		send(t, conn, streamMessage("A.Stream", "1", "", ""))
		<-time.After(time.Hour)
		select {
		case err := <-result:
			t.Fatalf("Send returned %v though its reader may still come", err)
		default:
		}
		srv.Close()
		if err := <-result; err == nil {
			t.Error("Send returned no error at a closed connection")
		}
		<-over
		conn.Close()
	})
}

func TestCallsBeyondTheLimitsOfAConnectionAreRefused(t *testing.T) {
	leaktest.Check(t)
	u := greeter()
	slow, begun, let := gate()
	u["Slow.Slow"] = slow
	_, addr := serve(t, small(), u, nil)
	t.Run("number", func(t *testing.T) {
		conn, r := open(t, addr)
		for i := range 4 {
			send(t, conn, plainCall("Slow.Slow", itoa(i), ""))
			within(t, begun)
		}
		send(t, conn, plainCall("Echo.Echo", "9", ""))
		rsp, _ := response(t, r)
		if rsp.Header.Get("Micro-Id") != "9" || rsp.Header.Get(refusedKey) != "true" || rsp.Close {
			t.Errorf("answered %v", rsp.Header)
		}
	})
	t.Run("bytes", func(t *testing.T) {
		conn, r := open(t, addr)
		send(t, conn, plainCall("Slow.Slow", "1", longText(15<<10)))
		within(t, begun)
		send(t, conn, plainCall("Echo.Echo", "9", longText(15<<10)))
		rsp, _ := response(t, r)
		if rsp.Header.Get("Micro-Id") != "9" || rsp.Header.Get(refusedKey) != "true" {
			t.Errorf("answered %v", rsp.Header)
		}
	})
	close(let)
}

func TestMemoryIsTakenAsBytesComeNotAsTheyAreAnnounced(t *testing.T) {
	const limit = 1 << 30
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 100 {
		if _, err := readBody(io.MultiReader(strings.NewReader("x"), failing1{}), limit, limit, nil); err != io.ErrUnexpectedEOF {
			t.Fatal(err)
		}
	}
	runtime.ReadMemStats(&after)
	if took := after.TotalAlloc - before.TotalAlloc; took > 100*(step+8<<10) {
		t.Errorf("%d bytes were taken for 100 bodies of one byte that announce 1 GiB", took)
	}
	leaktest.Check(t)
	_, addr := serve(t, Config{}, greeter(), nil)
	runtime.GC()
	runtime.ReadMemStats(&before)
	const conns = 100
	for range conns {
		conn, _ := open(t, addr)
		send(t, conn, "POST / HTTP/1.1\r\nHost: h\r\nMicro-Endpoint: Echo.Echo\r\nContent-Length: 4000000\r\n\r\nx")
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if took := int64(after.HeapAlloc) - int64(before.HeapAlloc); took > conns*200<<10 {
		t.Errorf("%d connections that announce 4 MB take %d bytes", conns, took)
	}
}

// failing1 is a body that breaks off.
type failing1 struct{}

func (failing1) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func TestEventsAreAnsweredAsNotTaken(t *testing.T) {
	leaktest.Check(t)
	_, addr := serve(t, Config{}, greeter(), nil)
	conn, r := open(t, addr)
	send(t, conn, curl("Content-Type: application/json\r\nMicro-Topic: topic.a\r\n", `{"name":"pub"}`))
	rsp, text := response(t, r)
	if e := errors.Parse(rsp.Header.Get("Micro-Error")); rsp.StatusCode != http.StatusOK || e.Code != 501 || text != "" {
		t.Errorf("%s, %v, %q", rsp.Status, e, text)
	}
	// A subscriber that calls on passes the topic on with its call.
	send(t, conn, strings.Replace(plainCall("Echo.Echo", "1", "x"), "Micro-Id", "Micro-Topic: topic.a\r\nMicro-Id", 1))
	if _, body := response(t, r); body != "x" {
		t.Errorf("a call with a topic in its metadata: %q", body)
	}
}
