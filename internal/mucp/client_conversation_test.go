package mucp

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/seed-9a4e2794/micro/codec"
	"github.com/seed-9a4e2794/micro/errors"
	"github.com/seed-9a4e2794/micro/internal/leaktest"
	"github.com/seed-9a4e2794/micro/metadata"
	"github.com/seed-9a4e2794/micro/transport"
)

// echoed is what servers repeat of the first request of a connection.
const echoed = "Accept: application/json\r\nContent-Type: application/json\r\nMicro-Endpoint: Greeter.Hello\r\nMicro-Id: 0\r\n" +
	"Micro-Method: Greeter.Hello\r\nMicro-Service: greeter\r\nTimeout: 5000000000\r\nUser-Agent: Go-http-client/1.1\r\n"

func ok(header, body string) string {
	return "HTTP/1.1 200 OK\r\nContent-Length: " + itoa(len(body)) + "\r\n" + header + "\r\n" + body
}

const badName = `{"id":"greeter","code":400,"detail":"bad name","status":"Bad Request"}`

func failing(text string) string {
	return ok(echoed+"Micro-Error: "+text+"\r\nX-Micro-Error: "+text+"\r\n", "")
}

// outcome tells how a call ended.
func outcome(r transport.Reply, err error) string {
	if err != nil {
		e := errors.From("", err)
		return strings.TrimSpace(fmt.Sprintf("error %s: %s", e.GRPCCode(), e.Detail))
	}
	return fmt.Sprintf("%s %q header %q", r.Body.ContentType, r.Body.Data, r.Header)
}

func callOf(ctype, endpoint, body string, h ...metadata.Field) func(*testing.T, transport.Conn) []string {
	return func(t *testing.T, c transport.Conn) []string {
		return []string{outcome(c.Call(context.Background(), transport.Request{
			Method: transport.Method{Service: "greeter", Endpoint: endpoint}, Message: value(ctype, body), Header: h}))}
	}
}

func twice(f func(*testing.T, transport.Conn) []string) func(*testing.T, transport.Conn) []string {
	return func(t *testing.T, c transport.Conn) []string { return append(f(t, c), f(t, c)...) }
}

// clientConversations are what the client does, and what go-micro servers
// answer to each of its requests: an entry a TCP connection, a part a request.
var clientConversations = []struct {
	name, pins string
	legacy     bool
	do         func(*testing.T, transport.Conn) []string
	replies    [][]string
}{
	{"unary-v6", "Two calls on one connection. A v6 server repeats all headers of the first request.", false,
		twice(callOf(codec.JSON, "Greeter.Hello", `{"name":"John"}`)),
		[][]string{{ok(echoed, `{"msg":"Hello John"}`+"\n"), ok(echoed, `{"msg":"Hello John"}`+"\n")}}},
	{"metadata", "Metadata goes as headers, what is the protocol's own is left out.", false,
		callOf(codec.JSON, "Greeter.Hello", `{}`, metadata.Field{Key: "x-token", Value: "t1"}, metadata.Field{Key: "micro-from-service", Value: "web"},
			metadata.Field{Key: "micro-error", Value: "EOS"}, metadata.Field{Key: "content-length", Value: "7"}, metadata.Field{Key: "host", Value: "h"}),
		[][]string{{ok(echoed+"X-Token: t1\r\nX-Reply: r\r\n", `{}`)}}},
	{"error", "After any error the connection is given up. Errors are JSON, or text.", false,
		twice(callOf(codec.JSON, "Greeter.Hello", `{"name":"bad"}`)),
		[][]string{{failing(badName)}, {failing("plain error")}}},
	{"error-texts", "go-micro's own words get the code that they mean.", false,
		twice(callOf(codec.JSON, "Foo.Bar", `{}`)),
		[][]string{{failing("rpc: can't find service Foo")}, {failing("rpc: service/endpoint request ill-formed: Foo")}}},
	{"codec", "An unknown content type is answered in plain text without an error, v1 then v6.", false,
		twice(callOf("application/x-odd", "Greeter.Hello", ``)),
		[][]string{{ok("Content-Type: text/plain\r\n", "Unsupported Content-Type: application/x-odd")},
			{ok("Content-Type: text/plain\r\n", "unsupported content-type: application/x-odd")}}},
	{"status", "A status that is none of this protocol.", false, callOf(codec.JSON, "Greeter.Hello", `{}`),
		[][]string{{"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 7\r\n\r\nno node"}}},
	{"until-eof", "An answer of no stated length, and one in chunks behind an interim one.", false,
		twice(callOf(codec.JSON, "Greeter.Hello", `{}`)),
		[][]string{{"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n{\"a\"\r\n3\r\n:1}\r\n0\r\n\r\n",
			"HTTP/1.0 200 OK\r\n\r\n{\"a\":2}"}}},
	{"unary-as-stream", "A call that is answered with the end of a stream.", false, callOf(codec.JSON, "Greeter.Stream", `{}`),
		[][]string{{failing("EOS")}}},
	{"json-rpc", "The legacy envelope, answered by either version; an error, with the header and without.", true,
		func(t *testing.T, c transport.Conn) []string {
			f := callOf(codec.JSON, "Greeter.Hello", `{"name":"John"}`)
			return append(append(f(t, c), f(t, c)...), f(t, c)...)
		},
		[][]string{{ok(echoed, `{"id":"0","result":{"msg":"Hello John"},"error":null}`+"\n"),
			ok(echoed+"Micro-Error: "+badName+"\r\n", `{"id":"","result":null,"error":"{\"id\":\"greeter\",\"code\":400,\"detail\":\"bad name\",\"status\":\"Bad Request\"}"}`)},
			{ok(echoed, `{"id":"","result":null,"error":"{\"id\":\"greeter\",\"code\":400,\"detail\":\"bad name\",\"status\":\"Bad Request\"}"}`)}}},
	{"proto-rpc", "The legacy envelope of protobuf, as v1 and v6 answer it.", true,
		func(t *testing.T, c transport.Conn) []string {
			f := callOf(codec.Proto, "Greeter.PB", "\x0a\x04John")
			return append(append(f(t, c), f(t, c)...), f(t, c)...)
		},
		[][]string{{ok(echoed, "\x00\x00\x00\x0d\x0a\x00\x11\x06\x00\x00\x00\x00\x00\x00\x00\x1a\x00\x00\x00\x00\x0c\x0a\x0aHello John"),
			ok(echoed, "\x00\x00\x00\x09\x11\x06\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x0c\x0a\x0aHello John"),
			ok(echoed+"Micro-Error: "+badName+"\r\n", "\x00\x00\x00\x48\x1a\x46"+badName+"\x00\x00\x00\x00")}}},
	{"stream", "A stream has a connection of its own. The opening message says nothing; the caller ends; the server ends.", false,
		func(t *testing.T, c transport.Conn) []string {
			s, err := c.Open(context.Background(), transport.Request{Method: transport.Method{Service: "greeter", Endpoint: "Greeter.Stream"},
				Header: metadata.Header{{Key: "accept", Value: codec.JSON}, {Key: "x-token", Value: "t1"}}})
			if err != nil {
				t.Fatal(err)
			}
			var out []string
			for _, name := range []string{"one", "two"} {
				if err := s.Send(value(codec.JSON, `{"name":"`+name+`"}`)); err != nil {
					t.Fatal(err)
				}
				b, err := s.Recv()
				out = append(out, outcome(transport.Reply{Body: b}, err))
			}
			if err := s.CloseSend(); err != nil {
				t.Fatal(err)
			}
			b, err := s.Recv()
			return append(out, outcome(transport.Reply{Body: b}, err), fmt.Sprintf("trailer %q", s.Trailer()))
		},
		[][]string{{}, {"", ok(echoed, `{"msg":"S one"}`+"\n"), ok(echoed, `{"msg":"S two"}`+"\n"), failing("EOS")}}},
}

// TestClientConversations checks the client byte for byte against the files
// under testdata/client, with a server that answers by them. HOST stands for
// the server's address.
func TestClientConversations(t *testing.T) {
	seen := make(map[string]bool)
	for _, c := range clientConversations {
		path := filepath.Join("testdata", "client", c.name+".txt")
		seen[path] = true
		t.Run(c.name, func(t *testing.T) {
			leaktest.Check(t)
			got := play(t, c.legacy, c.do, c.replies)
			if *update {
				writeScript(t, path, c.pins, got)
			}
			compare(t, got, readScript(t, path))
		})
	}
	onlyThese(t, filepath.Join("testdata", "client", "*.txt"), seen)
}

// play has a client talk to a server that answers with replies.
func play(t *testing.T, legacy bool, do func(*testing.T, transport.Conn) []string, replies [][]string) []line {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	parts := make([][]line, len(replies))
	done := make(chan struct{})
	go func() {
		defer close(done)
		var group sync.WaitGroup
		defer group.Wait()
		for i := range replies {
			conn, err := ln.Accept()
			if err != nil {
				t.Errorf("connection %d was not made: %v", i, err)
				return
			}
			group.Go(func() { parts[i] = answer1(t, conn, replies[i]) })
		}
	}()
	c, err := Dial(context.Background(), ln.Addr().String(), Config{Legacy: legacy})
	if err != nil {
		t.Fatal(err)
	}
	out := do(t, c)
	c.Close()
	<-done
	ln.Close()
	lines := parts[0]
	for _, p := range parts[1:] {
		lines = append(append(lines, line{'!', "another connection"}), p...)
	}
	host := regexp.MustCompile(regexp.QuoteMeta(ln.Addr().String()))
	for i := range lines {
		lines[i].text = host.ReplaceAllString(lines[i].text, "HOST")
	}
	for _, o := range out {
		lines = append(lines, line{'!', "the client got " + host.ReplaceAllString(o, "HOST")})
	}
	return merge(lines)
}

// answer1 answers the requests of one connection, and reads to its end.
func answer1(t *testing.T, conn net.Conn, parts []string) []line {
	var lines []line
	var heard strings.Builder
	defer conn.Close()
	r := bufio.NewReader(io.TeeReader(oneByte{conn}, &heard))
	for _, part := range parts {
		req, err := http.ReadRequest(r)
		if err == nil {
			_, err = io.Copy(io.Discard, req.Body)
		}
		if err != nil {
			break // the client has closed
		}
		lines = append(lines, line{'>', heard.String()})
		heard.Reset()
		if part == "" {
			continue
		}
		lines = append(lines, line{'<', part})
		if _, err := io.WriteString(conn, part); err != nil {
			t.Errorf("answering: %v", err)
		}
		if strings.HasPrefix(part, "HTTP/1.0") {
			return lines
		}
	}
	if rest, _ := io.ReadAll(r); len(rest) > 0 {
		lines = append(lines, line{'>', string(rest)})
	}
	return lines
}

// oneByte reads a byte at a time, so that nothing is read ahead.
type oneByte struct{ io.Reader }

func (o oneByte) Read(p []byte) (int, error) { return o.Reader.Read(p[:1]) }
