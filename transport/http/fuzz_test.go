package http

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	nethttp "net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	codecbytes "github.com/seed-9a4e2794/micro/codec/bytes"
	"github.com/seed-9a4e2794/micro/errors"
	"github.com/seed-9a4e2794/micro/metadata"
	"github.com/seed-9a4e2794/micro/transport"
)

// What is read of an error is written as it was read.
func FuzzParseError(f *testing.F) {
	f.Add(appendError(nil, &errors.Error{Id: "x", Code: 500, Status: "Internal Server Error"}))
	f.Add(appendError(nil, &errors.Error{Id: "x", Code: -1, Status: "odd", Refused: true}))
	f.Add([]byte("\x1a\x06detail"))
	f.Add([]byte("\x0a\xff\xff\xff\xff\x0f"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var e, again errors.Error
		if !parseError(&e, b) {
			return
		}
		again.Detail = e.Detail
		if out := appendError(nil, &e); !parseError(&again, out) {
			t.Fatalf("%q was read as %+v and written as %q, which is none", b, e, out)
		}
		if e.Id != again.Id || e.Code != again.Code || e.Status != again.Status || e.Refused != again.Refused {
			t.Fatalf("%+v came back as %+v", e, again)
		}
	})
}

// Metadata that HTTP can carry comes back, and what it cannot carry, or what is
// the protocols', never becomes a header.
func FuzzHeaders(f *testing.F) {
	f.Add("x-user", "ann", "x-user", "bob")
	f.Add("data-bin", "\x00\xff", "x", "a\r\nInjected: 1")
	f.Add("grpc-status", "7", "bad key", "v")
	f.Add("Content-Length", "1", "trailer", "")
	f.Fuzz(func(t *testing.T, k1, v1, k2, v2 string) {
		h := make(nethttp.Header)
		md := metadata.Header{{Key: k1, Value: v1}, {Key: k2, Value: v2}}
		toHTTP(h, md)
		var want metadata.Header
		for _, f := range md {
			key := nethttp.CanonicalHeaderKey(f.Key)
			if reserved(key) || !token(key) || !strings.HasSuffix(key, "-Bin") && !printable(f.Value) {
				continue
			}
			want = append(want, metadata.Field{Key: strings.ToLower(key), Value: f.Value})
		}
		slices.SortStableFunc(want, func(a, b metadata.Field) int { return strings.Compare(a.Key, b.Key) })
		got := fromHTTP(h)
		slices.SortStableFunc(got, func(a, b metadata.Field) int { return strings.Compare(a.Key, b.Key) })
		if !slices.Equal(got, want) {
			t.Fatalf("%q came as %q, want %q", md, got, want)
		}
		var wire bytes.Buffer
		if err := h.Write(&wire); err != nil {
			t.Fatal(err)
		}
		if n, all := bytes.Count(wire.Bytes(), []byte("\r\n")), len(want); n != all {
			t.Fatalf("%d fields became %d lines: %q", all, n, wire.Bytes())
		}
	})
}

// Whatever the bytes of a request are, there is an answer or the connection
// ends, and nothing panics.
func FuzzHandler(f *testing.F) {
	for _, s := range []string{
		"POST /House/Echo HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
		"GET /House/Echo?message=%7B%7D&encoding=json&base64=1 HTTP/1.1\r\nHost: x\r\n\r\n",
		"POST /House/Stream HTTP/1.1\r\nHost: x\r\nContent-Type: application/connect+json\r\nContent-Length: 7\r\n\r\n\x00\x00\x00\x00\x02{}",
		"POST /House/Echo HTTP/1.1\r\nHost: x\r\nContent-Type: application/grpc-web+proto\r\nContent-Length: 7\r\n\r\n\x01\x00\x00\x00\x02{}",
		"POST /House/Echo HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
		"POST /grpc.health.v1.Health/Check HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 15\r\n\r\n{\"service\":\"x\"}",
		"POST /grpc.health.v1.Health/Watch HTTP/1.1\r\nHost: x\r\nContent-Type: application/grpc-web\r\nContent-Length: 5\r\n\r\n\x00\x00\x00\x00\x00",
		"GET /readyz?verbose HTTP/1.0\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
	} {
		f.Add([]byte(s))
	}
	unary := func(_ context.Context, b transport.Body) (transport.Message, error) {
		return transport.Message{Value: &codecbytes.Frame{Data: bytes.Clone(b.Data)}, Codec: codecbytes.Codec{}}, nil
	}
	serve := func(s transport.Socket) {
		for {
			b, err := s.Recv()
			if err != nil {
				s.Finish(nil, nil)
				return
			}
			err = s.Send(transport.Message{Value: &codecbytes.Frame{Data: b.Data}, Codec: codecbytes.Codec{}})
			b.Release()
			if err != nil {
				s.Finish(nil, err)
				return
			}
		}
	}
	lookup := func(m transport.Method) (transport.Unary, error) {
		switch m.Endpoint {
		case "House.Echo":
			return unary, nil
		case "House.Stream":
			return nil, nil
		}
		return nil, errors.NewCode("house", errors.CodeNotFound, "there is no %q", m.Endpoint)
	}
	cfg := Config{MaxMessage: 1 << 16, Logger: slog.New(slog.DiscardHandler)}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := nethttp.ReadRequest(bufio.NewReader(bytes.NewReader(b)))
		if err != nil {
			return
		}
		h := NewHandler(cfg, serve, transport.WithUnary(lookup))
		defer h.Close()
		ctx, cancel := context.WithCancel(context.Background())
		cancel() // who only watches sees that the caller has gone
		w := &wire{ResponseRecorder: httptest.NewRecorder()}
		h.ServeHTTP(w, r.WithContext(ctx))
		if !w.taken && w.Code < 100 {
			t.Errorf("the status is %d", w.Code)
		}
	})
}

// wire is a connection without a network.
type wire struct {
	*httptest.ResponseRecorder
	taken bool
}

// Hijack implements http.Hijacker. The caller has sent all, and takes nothing.
func (w *wire) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	w.taken = true
	a, b := net.Pipe()
	b.Close()
	return a, bufio.NewReadWriter(bufio.NewReader(io.MultiReader()), bufio.NewWriter(a)), nil
}
