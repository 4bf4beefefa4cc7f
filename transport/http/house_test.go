package http_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	nethttp "net/http"
	"net/http/httptest"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-9a4e2794/micro/codec"
	codecbytes "github.com/seed-9a4e2794/micro/codec/bytes"
	"github.com/seed-9a4e2794/micro/errors"
	"github.com/seed-9a4e2794/micro/transport"
	"github.com/seed-9a4e2794/micro/transport/http"
)

// house is a service behind a listener of this package, and a caller of it by
// net/http.
type house struct {
	t    *testing.T
	cfg  http.Config
	addr string
	ln   *http.Listener
	log  *logs

	mu        sync.Mutex
	endpoints map[string]transport.Endpoint
	unary     map[string]transport.Unary
	streams   map[string]func(transport.Socket) error
	health    transport.Health
	changed   chan struct{}
	unknown   bool // the listener is told no Service and no Lookup

	one, two *nethttp.Client // HTTP/1.1, and HTTP/2 without TLS
	done     chan error      // what Accept has returned
}

var _ transport.Service = (*house)(nil)

// newHouse returns a house that serves nothing yet.
func newHouse(t *testing.T, cfg http.Config) *house {
	h := &house{t: t, cfg: cfg, log: new(logs), endpoints: make(map[string]transport.Endpoint), unary: make(map[string]transport.Unary),
		streams: make(map[string]func(transport.Socket) error), health: transport.Health{Serving: true}, changed: make(chan struct{}), done: make(chan error, 1)}
	if h.cfg.Logger == nil {
		h.cfg.Logger = slog.New(slog.NewTextHandler(h.log, &slog.HandlerOptions{Level: slog.LevelInfo}))
	}
	return h
}

// open begins to serve. The house is closed with the test.
func (h *house) open(more ...transport.AcceptOption) *house {
	h.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		h.t.Fatal(err)
	}
	h.ln, h.addr = http.NewListener(h.cfg, l), l.Addr().String()
	var opts []transport.AcceptOption
	if !h.unknown {
		opts = append(opts, transport.WithService(h), transport.WithUnary(h.lookup))
	}
	opts = append(opts, more...)
	go func() { h.done <- h.ln.Accept(h.serve, opts...) }()
	h.one, h.two = netClient(false), netClient(true)
	h.t.Cleanup(func() {
		h.one.CloseIdleConnections()
		h.two.CloseIdleConnections()
		if err := h.ln.Close(); err != nil {
			h.t.Errorf("close: %v", err)
		}
		if err := within(h.t, h.done); err != nil {
			h.t.Errorf("accept: %v", err)
		}
	})
	return h
}

// netClient returns a client of one version of HTTP without TLS.
func netClient(two bool) *nethttp.Client {
	p := new(nethttp.Protocols)
	p.SetHTTP1(!two)
	p.SetUnencryptedHTTP2(two)
	return &nethttp.Client{Timeout: 3 * patience, Transport: &nethttp.Transport{Protocols: p, DisableCompression: true, TLSClientConfig: &tls.Config{}}}
}

// netDial connects.
func netDial(addr string) (net.Conn, error) { return net.Dial("tcp", addr) }

// answer adds a unary endpoint.
func (h *house) answer(name string, f transport.Unary) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.endpoints[name], h.unary[name] = transport.Endpoint{Name: name}, f
}

// typed adds a unary endpoint of types that answers the zero value.
func (h *house) typed(name string, req, rsp any) {
	h.answer(name, func(context.Context, transport.Body) (transport.Message, error) { return transport.Message{}, nil })
	h.mu.Lock()
	defer h.mu.Unlock()
	h.endpoints[name] = transport.Endpoint{Name: name, Request: reflect.TypeOf(req), Response: reflect.TypeOf(rsp)}
}

// safe adds a unary endpoint that may be called by GET.
func (h *house) safe(name string, f transport.Unary) {
	h.answer(name, f)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.endpoints[name] = transport.Endpoint{Name: name, Safe: true}
}

// stream adds a stream both ways.
func (h *house) stream(name string, f func(transport.Socket) error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.endpoints[name], h.streams[name] = transport.Endpoint{Name: name, Kind: transport.KindBidi}, f
}

// is makes the house's health this one.
func (h *house) is(now transport.Health) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.health = now
	close(h.changed)
	h.changed = make(chan struct{})
}

func (h *house) lookup(m transport.Method) (transport.Unary, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, known := h.endpoints[m.Endpoint]; !known {
		names := make([]string, 0, len(h.endpoints))
		for n := range h.endpoints {
			names = append(names, n)
		}
		slices.Sort(names)
		return nil, errors.NewCode("house", errors.CodeNotFound, "no endpoint %q (available: %s)", m.Endpoint, strings.Join(names, ", "))
	}
	return h.unary[m.Endpoint], nil
}

// serve answers what has no Unary function.
func (h *house) serve(s transport.Socket) {
	h.mu.Lock()
	f := h.streams[s.Method().Endpoint]
	if f == nil {
		f = h.streams["*"]
	}
	h.mu.Unlock()
	if f == nil {
		s.Finish(nil, errors.NewCode("house", errors.CodeUnimplemented, "nothing serves %s", s.Method().Endpoint))
		return
	}
	s.Finish(nil, f(s))
}

func (h *house) Name() string { return "go.micro.srv.house" }
func (h *house) ContentTypes() []string {
	return []string{codec.JSON, codec.Proto, codec.Bytes, "application/x-test"}
}

func (h *house) Endpoint(name string) (transport.Endpoint, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	e, ok := h.endpoints[name]
	return e, ok
}

func (h *house) Endpoints() []transport.Endpoint {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := make([]transport.Endpoint, 0, len(h.endpoints))
	for _, e := range h.endpoints {
		out = append(out, e)
	}
	slices.SortFunc(out, func(a, b transport.Endpoint) int { return strings.Compare(a.Name, b.Name) })
	return out
}

func (h *house) Health() (transport.Health, <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.health, h.changed
}

// logs keeps what is logged.
type logs struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// count returns how many lines have a text.
func (l *logs) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for line := range strings.Lines(l.b.String()) {
		if strings.Contains(line, text) {
			n++
		}
	}
	return n
}

// got is an answer of HTTP.
type got struct {
	status  int
	header  nethttp.Header
	trailer nethttp.Header
	body    string
	major   int
}

// ask makes a request over HTTP/1.1. header is pairs of key and value.
func (h *house) ask(method, path, body string, header ...string) got {
	h.t.Helper()
	return h.askBy(h.one, method, path, strings.NewReader(body), header...)
}

// askBy makes a request by a client.
func (h *house) askBy(c *nethttp.Client, method, path string, body io.Reader, header ...string) got {
	h.t.Helper()
	r, err := nethttp.NewRequest(method, "http://"+h.addr+path, body)
	if err != nil {
		h.t.Fatal(err)
	}
	r.Header.Set("Accept", "*/*") // as curl does
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	res, err := c.Do(r)
	if err != nil {
		h.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		h.t.Fatalf("%s %s: body: %v", method, path, err)
	}
	return got{res.StatusCode, res.Header, res.Trailer, string(b), res.ProtoMajor}
}

// json makes a call as a person would by curl.
func (h *house) json(path, body string, header ...string) got {
	h.t.Helper()
	return h.ask("POST", path, body, append([]string{"Content-Type", "application/json"}, header...)...)
}

// wrong is the JSON of an error.
type wrong struct {
	Code    string
	Message string
	Details []struct{ Type, Value string }
}

// wrong returns the error of an answer that is JSON and has one.
func (g got) wrong(t *testing.T) wrong {
	t.Helper()
	var e wrong
	if ct := g.header.Get("Content-Type"); ct != "application/json" {
		t.Errorf("an error came as %q: %s", ct, g.body)
	}
	if err := json.Unmarshal([]byte(g.body), &e); err != nil || e.Message == "" {
		t.Errorf("the answer %d %q is no error in JSON: %v", g.status, g.body, err)
	}
	return e
}

// raw returns a message of these bytes.
func raw(s string) transport.Message {
	return transport.Message{Value: &codecbytes.Frame{Data: []byte(s)}, Codec: codecbytes.Codec{}}
}

// echo answers what was sent.
func echo(_ context.Context, b transport.Body) (transport.Message, error) {
	return raw(string(b.Data)), nil
}

// frame returns a message as gRPC and the streams of Connect have it.
func frame(flags byte, s string) string {
	return string([]byte{flags, byte(len(s) >> 24), byte(len(s) >> 16), byte(len(s) >> 8), byte(len(s))}) + s
}

// unframe returns the messages of a body, and their flags.
func unframe(t *testing.T, body string) (flags []byte, messages []string) {
	t.Helper()
	for len(body) >= 5 {
		n := int(body[1])<<24 | int(body[2])<<16 | int(body[3])<<8 | int(body[4])
		if len(body) < 5+n {
			break
		}
		flags, messages, body = append(flags, body[0]), append(messages, body[5:5+n]), body[5+n:]
	}
	if body != "" {
		t.Fatalf("%d bytes follow the messages: %q", len(body), body)
	}
	return flags, messages
}

// until waits for something that no channel tells of.
func until(t *testing.T, is func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !is(); runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatal("it did not happen in time")
		}
	}
}

// record asks a handler without a connection, in JSON.
func record(handler nethttp.Handler, path, body string) string {
	r := httptest.NewRequest("POST", path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	return w.Body.String()
}
