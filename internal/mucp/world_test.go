package mucp

import (
	"bufio"
	"context"
	stderrors "errors"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/seed-9a4e2794/micro/codec"
	"github.com/seed-9a4e2794/micro/codec/bytes"
	"github.com/seed-9a4e2794/micro/errors"
	"github.com/seed-9a4e2794/micro/metadata"
	"github.com/seed-9a4e2794/micro/transport"
)

// wait bounds everything that should happen at once.
const wait = 10 * time.Second

// named is raw bytes under the name of another encoding.
type named struct {
	bytes.Codec
	name string
}

func (n named) Name() string { return n.name }

func value(ctype, body string) transport.Message {
	return transport.Message{Value: []byte(body), Codec: named{name: ctype}}
}

func raw(body string) transport.Message { return value(codec.Bytes, body) }

type unaries map[string]transport.Unary

func (u unaries) lookup(m transport.Method) (transport.Unary, error) {
	if f := u[m.Endpoint]; f != nil {
		return f, nil
	}
	if strings.Contains(m.Endpoint, "Stream") || strings.Contains(m.Endpoint, "Socket") {
		return nil, nil
	}
	return nil, errors.NotFound("greeter", "no endpoint %q", m.Endpoint)
}

func echo(_ context.Context, body transport.Body) (transport.Message, error) {
	return value(body.ContentType, string(body.Data)), nil
}

// greeter is the service of the captured examples. Its JSON and protobuf are
// made by hand, so that this package needs neither.
func greeter() unaries {
	return unaries{
		"Echo.Echo": echo,
		"Greeter.Hello": func(ctx context.Context, body transport.Body) (transport.Message, error) {
			text := string(body.Data)
			if strings.Contains(text, `"bad"`) {
				return transport.Message{}, errors.BadRequest("greeter", "bad name")
			}
			if strings.Contains(text, `"plain"`) {
				return transport.Message{}, stderrors.New("plain\r\nerror")
			}
			_, name, _ := strings.Cut(text, `"name":"`)
			name, _, _ = strings.Cut(name, `"`)
			return value(body.ContentType, `{"msg":"Hello `+name+`"}`+"\n"), nil
		},
		"Greeter.PB": func(_ context.Context, body transport.Body) (transport.Message, error) {
			_, _, n := protowire.ConsumeTag(body.Data)
			if n < 0 {
				return transport.Message{}, errors.BadRequest("greeter", "bad name")
			}
			name, _ := protowire.ConsumeString(body.Data[n:])
			return value(body.ContentType, string(protowire.AppendString([]byte{0x0a}, "Hello "+name))), nil
		},
		"Greeter.Meta": func(ctx context.Context, body transport.Body) (transport.Message, error) {
			h, _ := metadata.HeaderFromContext(ctx)
			var out []string
			for _, f := range h {
				out = append(out, f.Key+"="+f.Value)
			}
			if err := metadata.SetHeader(ctx, "x-reply", "r1", "r2"); err != nil {
				return transport.Message{}, err
			}
			if err := metadata.SetTrailer(ctx, "x-trail", "t"); err != nil {
				return transport.Message{}, err
			}
			return value(body.ContentType, strings.Join(out, " ")), nil
		},
		"Greeter.Large": func(_ context.Context, body transport.Body) (transport.Message, error) {
			return value(body.ContentType, strings.Repeat("x", 1<<20)), nil
		},
		"Greeter.Exit": func(context.Context, transport.Body) (transport.Message, error) {
			runtime.Goexit()
			panic("unreachable")
		},
	}
}

// greetStream answers "S " and the message's own name until the caller ends.
func greetStream(s transport.Socket) {
	if s.Unary() {
		_ = s.Finish(nil, errors.NewCode("greeter", errors.CodeUnimplemented, "%s is a stream: use Stream, not Call", s.Method().Endpoint))
		return
	}
	h, _ := s.Header()
	ctype, _ := h.Get("accept")
	for {
		body, err := s.Recv()
		if err == io.EOF {
			err = nil
		}
		if err != nil || body.Data == nil {
			_ = s.Finish(nil, err) // fails when the caller has gone
			return
		}
		_, name, _ := strings.Cut(string(body.Data), `"name":"`)
		name, _, _ = strings.Cut(name, `"`)
		if name == "bad" {
			_ = s.Finish(nil, errors.BadRequest("greeter", "bad name"))
			return
		}
		if err := s.Send(value(ctype, `{"msg":"S `+name+`"}`+"\n")); err != nil {
			_ = s.Finish(nil, err) // likewise
			return
		}
		if name == "two" && strings.HasSuffix(s.Method().Endpoint, "ToTwo") {
			_ = s.Finish(nil, nil)
			return
		}
	}
}

// serve starts a server on a loopback port.
func serve(t testing.TB, cfg Config, u unaries, sock func(transport.Socket)) (*Server, string) {
	t.Helper()
	if sock == nil {
		sock = greetStream
	}
	srv := NewServer(cfg, sock, transport.AcceptOptions{Lookup: u.lookup})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := &http.Server{Handler: takeOver(srv)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = h.Serve(ln) // ends with an error that says that it was closed
	}()
	t.Cleanup(func() {
		h.Close()
		srv.Close()
		<-done
	})
	return srv, ln.Addr().String()
}

func dial(t testing.TB, addr string, cfg Config) transport.Conn {
	t.Helper()
	c, err := Dial(context.Background(), addr, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func request1(endpoint, ctype, body string) transport.Request {
	return transport.Request{Method: transport.Method{Service: "greeter", Endpoint: endpoint}, Message: value(ctype, body), Deadline: time.Now().Add(wait)}
}

// ask makes a call and returns the answer's text.
func ask(c transport.Conn, endpoint, ctype, body string) (string, error) {
	rsp, err := c.Call(context.Background(), request1(endpoint, ctype, body))
	return string(rsp.Body.Data), err
}

func within[T any](t testing.TB, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(wait):
		t.Fatal("it did not happen in time")
		panic("unreachable")
	}
}

// open opens a raw connection to addr.
func open(t testing.TB, addr string) (net.Conn, *bufio.Reader) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(wait)); err != nil {
		t.Fatal(err)
	}
	return conn, bufio.NewReader(conn)
}

func send(t testing.TB, conn net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
}

// response reads a response and its body.
func response(t testing.TB, r *bufio.Reader) (*http.Response, string) {
	t.Helper()
	rsp, err := http.ReadResponse(r, &http.Request{Method: "POST"})
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(rsp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return rsp, string(b)
}
