package http_test

import (
	"bufio"
	"context"
	stderrors "errors"
	"fmt"
	"io"
	nethttp "net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/seed-9a4e2794/micro/errors"
	"github.com/seed-9a4e2794/micro/internal/leaktest"
	"github.com/seed-9a4e2794/micro/transport"
	"github.com/seed-9a4e2794/micro/transport/http"
)

// slow adds a unary endpoint and a stream that end when they may.
func (h *house) slow() (begun chan struct{}, finish chan struct{}) {
	begun, finish = make(chan struct{}, 16), make(chan struct{})
	wait := func(ctx context.Context) error {
		begun <- struct{}{}
		select {
		case <-finish:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	h.answer("House.Slow", func(ctx context.Context, _ transport.Body) (transport.Message, error) {
		return raw("done"), wait(ctx)
	})
	h.stream("House.Stream", func(s transport.Socket) error {
		b, err := s.Recv()
		if err != nil {
			return err
		}
		b.Release()
		if err := wait(s.Context()); err != nil {
			return err
		}
		return s.Send(raw("done"))
	})
	return begun, finish
}

// calls makes a unary call and a stream over both versions of HTTP.
func (h *house) calls() (n int, ends chan string) {
	ends = make(chan string, 4)
	for _, client := range []*nethttp.Client{h.one, h.two} {
		for path, ct := range map[string]string{"/House/Slow": "application/json", "/House/Stream": "application/connect+json"} {
			go func() {
				body := "{}"
				if strings.Contains(ct, "connect") {
					body = frame(0, body)
				}
				res, err := client.Post("http://"+h.addr+path, ct, strings.NewReader(body))
				if err != nil {
					ends <- "cut off: " + err.Error()
					return
				}
				b, err := io.ReadAll(res.Body)
				res.Body.Close()
				ends <- fmt.Sprint(res.ProtoMajor, " ", path, " ", string(b), " ", err)
			}()
			n++
		}
	}
	return n, ends
}

func TestShutdownLetsCallsUnderWayFinish(t *testing.T) {
	leaktest.Check(t)
	h := newHouse(t, http.Config{})
	begun, finish := h.slow()
	h.open()
	n, ends := h.calls()
	for range n {
		within(t, begun)
	}
	stopped := make(chan error, 1)
	go func() { stopped <- h.ln.Shutdown(context.Background()) }()
	until(t, func() bool {
		c, err := netDial(h.addr)
		if err == nil {
			c.Close()
		}
		return err != nil
	})
	select {
	case err := <-stopped:
		t.Fatalf("shutdown did not wait: %v", err)
	default:
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

func TestShutdownCutsCallsOffWhenItsTimeIsOver(t *testing.T) {
	leaktest.Check(t)
	h := newHouse(t, http.Config{})
	begun, _ := h.slow() // they end with their contexts
	h.open()
	n, ends := h.calls()
	for range n {
		within(t, begun)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if err := h.ln.Shutdown(ctx); !stderrors.Is(err, context.DeadlineExceeded) {
		t.Errorf("shutdown: %v", err)
	}
	for range n {
		if end := within(t, ends); strings.Contains(end, "done") {
			t.Errorf("a call ended with %q", end)
		}
	}
}

func TestCloseEndsTheContextsOfCalls(t *testing.T) {
	leaktest.Check(t)
	h := newHouse(t, http.Config{})
	begun, _ := h.slow()
	h.open()
	n, ends := h.calls()
	for range n {
		within(t, begun)
	}
	if err := h.ln.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	for range n {
		within(t, ends)
	}
	if err := h.ln.Close(); err != nil {
		t.Errorf("the second close: %v", err)
	}
	if err := h.ln.Shutdown(context.Background()); err != nil {
		t.Errorf("shutdown after close: %v", err)
	}
}

func TestShutdownWithoutCallsIsPrompt(t *testing.T) {
	for name, use := range map[string]func(h *house){
		"no connection": func(*house) {},
		"HTTP/1.1":      func(h *house) { h.json("/House/Echo", "{}") },
		"HTTP/2":        func(h *house) { h.grpc("/House/Echo", "") },
	} {
		t.Run(name, func(t *testing.T) {
			leaktest.Check(t)
			h := newHouse(t, http.Config{})
			h.answer("House.Echo", echo)
			h.open()
			use(h)
			begun := time.Now()
			if err := h.ln.Shutdown(context.Background()); err != nil {
				t.Error(err)
			}
			took := time.Since(begun)
			if t.Logf("it took %v", took.Round(time.Millisecond)); took > 3*time.Second {
				t.Error("that is too long")
			}
		})
	}
}

func TestKeptConnectionsAreClosedByShutdown(t *testing.T) {
	leaktest.Check(t)
	h := newHouse(t, http.Config{})
	h.answer("House.Echo", echo)
	h.open()
	c := h.dial()
	fmt.Fprint(c, "POST /House/Echo HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")
	r := bufio.NewReader(c)
	res, err := nethttp.ReadResponse(r, nil)
	if err != nil || res.Close {
		t.Fatalf("%+v, %v", res, err)
	}
	io.Copy(io.Discard, res.Body)
	stopped := make(chan error, 1)
	go func() { stopped <- h.ln.Shutdown(context.Background()) }()
	if _, err := r.ReadByte(); err != io.EOF {
		t.Errorf("the connection ended with %v", err)
	}
	if err := within(t, stopped); err != nil {
		t.Error(err)
	}
}

// The moment is between the stop of the handler and the GOAWAY of net/http, so
// the handler is stopped alone.
func TestCallsToAStoppingServiceAreRefusedAsNotExecuted(t *testing.T) {
	for _, p := range []http.Protocol{http.GRPC, http.GRPCWeb, http.Connect} {
		t.Run(string(p), func(t *testing.T) {
			leaktest.Check(t)
			h := newHouse(t, http.Config{})
			h.answer("House.Echo", echo)
			h.stream("House.Stream", func(transport.Socket) error { return nil })
			handler := http.NewHandler(h.cfg, h.serve, transport.WithService(h), transport.WithUnary(h.lookup))
			s := newSite(t, p, false, func(server *nethttp.Server) { server.Handler = handler })
			conn := s.dial()
			request := transport.Request{Method: transport.Method{Endpoint: "House.Echo"}, Message: raw("x")}
			if rsp, err := conn.Call(context.Background(), request); err != nil {
				t.Fatal(err)
			} else {
				rsp.Body.Release()
			}
			if err := handler.Shutdown(context.Background()); err != nil {
				t.Fatal(err)
			}
			_, err := conn.Call(context.Background(), request)
			if !stderrors.Is(err, errors.ErrRefused) || code(err) != errors.CodeUnavailable {
				t.Errorf("a call: %v", err)
			}
			request.Method.Endpoint = "House.Stream"
			socket, err := conn.Open(context.Background(), request)
			if err == nil {
				_, err = socket.Recv()
			}
			if !stderrors.Is(err, errors.ErrRefused) || code(err) != errors.CodeUnavailable {
				t.Errorf("a stream: %v", err)
			}
		})
	}
}

func TestHandlersThatDoNotReturnLeaveTheServerAlive(t *testing.T) {
	leaktest.Check(t)
	h := newHouse(t, http.Config{})
	h.answer("House.Echo", echo)
	for name, end := range map[string]func(){"Panic": func() { panic("as asked") }, "Exit": runtime.Goexit} {
		h.answer("House."+name, func(context.Context, transport.Body) (transport.Message, error) {
			end()
			return transport.Message{}, nil
		})
		h.stream("House.Stream"+name, func(transport.Socket) error {
			end()
			return nil
		})
	}
	h.open()
	for _, client := range []*nethttp.Client{h.one, h.two} {
		for _, name := range []string{"Panic", "Exit", "StreamPanic", "StreamExit"} {
			ct, body := "application/json", "{}"
			if strings.HasPrefix(name, "Stream") {
				ct, body = "application/connect+json", frame(0, "{}")
			}
			res, err := client.Post("http://"+h.addr+"/House/"+name, ct, strings.NewReader(body))
			if err == nil {
				var b []byte
				b, err = io.ReadAll(res.Body)
				res.Body.Close()
				if err == nil && res.StatusCode == 200 {
					t.Errorf("%s: the call ended well with %q", name, b)
				}
			}
			if got := h.askBy(client, "POST", "/House/Echo", strings.NewReader("{}"), "Content-Type", "application/json"); got.body != "{}" {
				t.Errorf("after %s: %+v", name, got)
			}
		}
	}
}
