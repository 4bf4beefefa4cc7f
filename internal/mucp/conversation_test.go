package mucp

import (
	"bufio"
	"flag"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-9a4e2794/micro/transport"
)

var update = flag.Bool("update", false, "write the conversations under testdata anew")

const (
	v6Head = "POST / HTTP/1.1\r\nHost: 127.0.0.1:32959\r\nUser-Agent: Go-http-client/1.1\r\n"
	// v6Stream are the headers that each message of the captured stream has.
	v6Stream = "Accept: application/json\r\nContent-Type: application/json\r\nMicro-Endpoint: Greeter.Stream\r\nMicro-Id: 5\r\n" +
		"Micro-Method: Greeter.Stream\r\nMicro-Service: greeter\r\nMicro-Stream: 5\r\n"
	end = "Transfer-Encoding: chunked\r\n" + v6Stream + "Micro-Error: EOS\r\n\r\n0\r\n\r\n"
)

func v6Call(id, body string) string {
	return v6Head + "Content-Length: " + itoa(len(body)) + "\r\nAccept: application/json\r\nContent-Type: application/json\r\n" +
		"Micro-Endpoint: Greeter.Hello\r\nMicro-Id: " + id + "\r\nMicro-Method: Greeter.Hello\r\nMicro-Service: greeter\r\n" +
		"Timeout: 5000000000\r\n\r\n" + body
}

func v6Message(body string) string {
	return v6Head + "Content-Length: " + itoa(len(body)) + "\r\n" + v6Stream + "\r\n" + body
}

// v1Call is as clients up to 1.17 send it: each Micro header twice.
func v1Call(ctype, endpoint, body string) string {
	return v6Head + "Content-Length: " + itoa(len(body)) + "\r\nAccept: " + ctype + "\r\nContent-Type: " + ctype + "\r\n" +
		"Micro-Endpoint: " + endpoint + "\r\nMicro-Id: 6\r\nMicro-Method: " + endpoint + "\r\nMicro-Service: greeter\r\n" +
		"Timeout: 5000000000\r\nX-Micro-Endpoint: " + endpoint + "\r\nX-Micro-Id: 6\r\nX-Micro-Method: " + endpoint +
		"\r\nX-Micro-Service: greeter\r\n\r\n" + body
}

func curl(header, body string) string {
	return "POST /any/path?q=1 HTTP/1.1\r\nHost: h\r\nUser-Agent: curl/8.0\r\nAccept: */*\r\n" + header + "Content-Length: " + itoa(len(body)) + "\r\n\r\n" + body
}

// conversations are what callers send, step by step: after each the server
// answers what it has to answer. What differs in the captured answers is what
// they repeat of the request besides (Accept, Timeout, User-Agent, X-Micro-*),
// and is said where there is more.
var conversations = []struct {
	name, pins string
	steps      []string
}{
	{"unary-v6", "A call of a go-micro v6 client, and another on the same connection.",
		[]string{v6Call("0", `{"name":"John"}`+"\n"), v6Call("1", `{"name":"Jane"}`+"\n")}},
	{"unary-v1", "A call of a go-micro v1.14 client: every Micro header stands twice.",
		[]string{v1Call("application/json", "Greeter.Hello", `{"name":"John"}`+"\n")}},
	{"unary-x-only", "A call with X-Micro headers alone, which v1 servers take.",
		[]string{curl("Content-Type: application/json\r\nX-Micro-Method: Greeter.Hello\r\n", `{"name":"John"}`)}},
	{"protobuf-v1", "A protobuf call of a v1.14 client. v1 names the type; without a name it is protobuf too.",
		[]string{v1Call("application/protobuf", "Greeter.PB", "\x0a\x04John"),
			curl("Micro-Endpoint: Greeter.PB\r\n", "\x0a\x04John")}},
	{"error", "An error of the handler: status 200, no body, Micro-Error and its copy. An error without code is\n" +
		"sent with one; go-micro sends its text alone. CR and LF cannot be in a header.",
		[]string{v6Call("1", `{"name":"bad"}`+"\n"), v6Call("2", `{"name":"plain"}`+"\n"), v6Call("3", `{"name":"John"}`+"\n")}},
	{"names", "Names that are none, in go-micro's words, and one that nobody has.",
		[]string{curl("Content-Type: application/json\r\nMicro-Service: greeter\r\n", `{}`),
			curl("Content-Type: application/json\r\nMicro-Endpoint: Hello\r\n", `{}`),
			curl("Content-Type: application/json\r\nMicro-Endpoint: a.b.c\r\n", `{}`),
			curl("Content-Type: application/json\r\nMicro-Endpoint: Foo.Bar\r\n", `{}`)}},
	{"curl", "The smallest request; any path, any method, a wrong service, parameters of the content type, HTTP/1.0.",
		[]string{curl("Content-Type: application/json\r\nMicro-Endpoint: Greeter.Hello\r\n", `{"name":"A"}`),
			curl("content-type: application/json; charset=utf-8\r\nmicro-endpoint: Greeter.Hello\r\nMicro-Service: other\r\n", `{"name":"A"}`),
			"GET / HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nMicro-Endpoint: Greeter.Hello\r\n\r\n",
			"POST / HTTP/1.0\r\nContent-Type: application/json\r\nMicro-Endpoint: Greeter.Hello\r\nContent-Length: 12\r\n\r\n" + `{"name":"A"}`}},
	{"close", "Connection: close is heeded, as v4 and later do.",
		[]string{curl("Connection: close\r\nContent-Type: application/json\r\nMicro-Endpoint: Greeter.Hello\r\n", `{"name":"A"}`)}},
	{"continue", "A caller that asks whether to send its body, in chunks.",
		[]string{"POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\nContent-Type: application/json\r\nMicro-Endpoint: Greeter.Hello\r\n\r\n",
			"8\r\n{\"name\":\r\n4\r\n\"A\"}\r\n0\r\n\r\n"}},
	{"codec", "A content type that is not known: text, as go-micro says it, and a Micro-Error with it.",
		[]string{curl("Content-Type: application/x-odd\r\nMicro-Endpoint: Greeter.Hello\r\n", `{"name":"A"}`)}},
	{"json-rpc", "The legacy envelope of JSON, and its errors. go-micro gives the id of an error as \"\".",
		[]string{curl("Content-Type: application/json-rpc\r\nMicro-Endpoint: Greeter.Hello\r\n", `{"method":"Greeter.Hello","params":[{"name":"John"}],"id":"2"}`+"\n"),
			curl("Content-Type: application/json-rpc\r\n", `{"method":"Greeter.Hello","params":[{"name":"John"}],"id":2}`+"\n"),
			curl("Content-Type: application/json\r\n", `{"method":"Greeter.Hello","params":[{"name":"John"}],"id":"3"}`+"\n"),
			curl("Content-Type: application/json-rpc\r\n", `{"method":"Greeter.Hello","params":[{"name":"bad"}],"id":"4"}`+"\n"),
			curl("Content-Type: application/json-rpc\r\n", `[1]`)}},
	{"proto-rpc", "The legacy envelope of protobuf. Empty fields are left out, as v6 does.",
		[]string{curl("Content-Type: application/proto-rpc\r\n", protoRequest),
			curl("Content-Type: application/octet-stream\r\n", protoRequest),
			curl("Content-Type: application/proto-rpc\r\n", "\x00\x00\x00\x15\x0a\x0aGreeter.PB\x11\x06\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"),
			curl("Content-Type: application/proto-rpc\r\n", "\xff\xff\xff\xff")}},
	{"grpc", "The content types of gRPC: a frame of five bytes, status and message as headers.",
		[]string{curl("Content-Type: application/grpc\r\nTe: trailers\r\nMicro-Endpoint: Greeter.PB\r\n", "\x00\x00\x00\x00\x06\x0a\x04John"),
			curl("Content-Type: application/grpc+proto\r\nMicro-Endpoint: Greeter.PB\r\n", "\x00\x00\x00\x00\x00"),
			curl("Content-Type: application/grpc+json\r\nMicro-Endpoint: Greeter.Hello\r\n", "\x00\x00\x00\x00\x0c"+`{"name":"A"}`),
			curl("Content-Type: application/grpc\r\nMicro-Endpoint: Greeter.PB\r\n", "\x01\x00\x00\x00\x00")}},
	{"metadata", "What is metadata of a call and what is the protocol's, and what a handler answers.",
		[]string{curl("Content-Type: application/octet-stream\r\nMicro-Endpoint: Greeter.Meta\r\nMicro-From-Service: go.micro.web\r\nX-Token: t1\r\nX-Token: t2\r\n"+
			"X-Micro-From-Service: x\r\nTimeout: 0\r\nMicro-Trace-Id: abc\r\nMicro-Protocol: mucp\r\n", "")}},
	{"stream-v6", "The captured stream: the opening message is not handed on, the second comes with it. The server ends.",
		[]string{strings.ReplaceAll(v6Message(`{"name":"","Age":0}`+"\n")+v6Message(`{"name":"one","Age":0}`+"\n"), "Greeter.Stream\r", "Greeter.StreamToTwo\r"),
			strings.ReplaceAll(v6Message(`{"name":"two","Age":0}`+"\n"), "Greeter.Stream\r", "Greeter.StreamToTwo\r"),
			v6Head + strings.ReplaceAll(end, "Greeter.Stream\r", "Greeter.StreamToTwo\r")}},
	{"stream-caller-ends", "The caller ends: the handler's Recv is io.EOF, and it ends too.",
		[]string{v6Message(`{"name":""}` + "\n"), v6Message(`{"name":"one"}` + "\n"), v6Head + end}},
	{"stream-error", "A handler ends a stream with an error; what the caller sent meanwhile opens nothing.",
		[]string{v6Message(`{}`), v6Message(`{"name":"bad"}`) + v6Message(`{"name":"late"}`), v6Head + end, v6Call("7", `{"name":"John"}`+"\n")}},
	{"stream-called", "A call of a stream endpoint that opens no stream.",
		[]string{curl("Content-Type: application/json\r\nMicro-Endpoint: Greeter.Stream\r\n", `{}`)}},
	{"event", "An event of v4 and later, which has a topic and no endpoint.",
		[]string{curl("Content-Type: application/json\r\nMicro-Topic: topic.a\r\n", `{"name":"pub"}`)}},
	{"garbage", "What is no HTTP is answered once.", []string{v6Call("0", `{}`), "\x16\x03\x01\x02\x00\r\n\r\n"}},
}

const protoRequest = "\x00\x00\x00\x15\x0a\x0aGreeter.PB\x11\x06\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x06\x0a\x04John"

// TestServerConversations checks the server byte for byte against the files
// under testdata/server.
func TestServerConversations(t *testing.T) {
	seen := make(map[string]bool)
	for _, c := range conversations {
		path := filepath.Join("testdata", "server", c.name+".txt")
		seen[path] = true
		t.Run(c.name, func(t *testing.T) {
			var got []line
			synctest.Test(t, func(t *testing.T) { got = converse(t, c.steps) })
			if *update {
				writeScript(t, path, c.pins, got)
			}
			compare(t, got, readScript(t, path))
		})
	}
	onlyThese(t, filepath.Join("testdata", "server", "*.txt"), seen)
}

func onlyThese(t *testing.T, pattern string, seen map[string]bool) {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if !seen[f] {
			t.Errorf("%s belongs to no conversation", f)
		}
	}
}

// types is a service that knows three encodings.
type types struct{ transport.Service }

func (types) ContentTypes() []string {
	return []string{"application/json", "application/protobuf", "application/octet-stream"}
}

// converse has a caller send steps to a server over a pipe.
func converse(t *testing.T, steps []string) []line {
	srv := NewServer(Config{}, greetStream, transport.AcceptOptions{Lookup: greeter().lookup, Service: types{}})
	near, far := net.Pipe()
	var mu sync.Mutex
	var heard strings.Builder
	over, read := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(read)
		buf := make([]byte, 4096)
		for {
			n, err := near.Read(buf)
			mu.Lock()
			heard.Write(buf[:n])
			mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	go func() {
		defer close(over)
		serveParsed(srv, far)
	}()
	var lines []line
	for _, step := range steps {
		if _, err := near.Write([]byte(step)); err != nil {
			t.Errorf("the server has closed before %.60q: %v", step, err)
		}
		synctest.Wait()
		mu.Lock()
		lines = append(lines, line{'>', step}, line{'<', heard.String()})
		heard.Reset()
		mu.Unlock()
	}
	<-time.After(lingerTime) // a connection that is being closed is closed by then
	synctest.Wait()
	select {
	case <-over:
		lines = append(lines, line{'!', "the server has closed the connection"})
	default:
	}
	near.Close()
	<-over
	<-read
	if err := srv.Shutdown(t.Context()); err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	return merge(lines)
}

// serveParsed does what net/http does before a connection is taken over.
func serveParsed(srv *Server, conn net.Conn) {
	br := bufio.NewReader(conn)
	r, err := http.ReadRequest(br)
	if err != nil { // net/http answers this itself
		_, _ = conn.Write([]byte("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"))
		conn.Close()
		return
	}
	srv.ServeConn(conn, br, r, transport.Peer{Local: "server", Remote: "caller"})
}

func itoa(n int) string {
	if n >= 10 {
		return itoa(n/10) + itoa(n%10)
	}
	return string(rune('0' + n))
}
