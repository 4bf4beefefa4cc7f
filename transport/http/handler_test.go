package http_test

import (
	"context"
	"encoding/base64"
	stderrors "errors"
	"fmt"
	"io"
	nethttp "net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/seed-9a4e2794/micro/errors"
	"github.com/seed-9a4e2794/micro/internal/leaktest"
	"github.com/seed-9a4e2794/micro/transport"
	"github.com/seed-9a4e2794/micro/transport/http"
)

func TestEndpointIsCalledWithJSONByAnyPackage(t *testing.T) {
	leaktest.Check(t)
	h := newHouse(t, http.Config{})
	h.answer("Greeter.Hello", echo)
	h.answer("Plain", echo)
	h.answer("a.b.Deep", echo)
	h.open()
	for _, path := range []string{"/Greeter/Hello", "/pkg.Greeter/Hello", "/a.b.Greeter/Hello", "/go.micro.srv.house.Greeter/Hello", "/Plain", "/any.Thing/Plain", "/a.b/Deep"} {
		for _, ct := range []string{"application/json", "application/json; charset=utf-8", "application/json;charset=UTF-8", "Application/JSON"} {
			got := h.ask("POST", path, `{"name":"Ann"}`, "Content-Type", ct)
			if got.status != 200 || got.body != `{"name":"Ann"}` || !strings.HasPrefix(got.header.Get("Content-Type"), "application/json") {
				t.Errorf("%s as %q: %+v", path, ct, got)
			}
		}
	}
}

func TestRequestInAnotherFormIsToldWhichIsTaken(t *testing.T) {
	leaktest.Check(t)
	h := newHouse(t, http.Config{})
	h.answer("Greeter.Hello", echo)
	h.open()
	for _, ct := range []string{"", "text/plain", "application/x-www-form-urlencoded", "application/xml", "application/jsonx", "json"} {
		var header []string
		if ct != "" {
			header = []string{"Content-Type", ct}
		}
		got := h.ask("POST", "/Greeter/Hello", "{}", header...)
		e := got.wrong(t)
		if got.status != 415 || e.Code != "" || !strings.Contains(e.Message, "Content-Type: application/json") || !strings.Contains(got.header.Get("Accept-Post"), "application/json") {
			t.Errorf("%q: %+v", ct, got)
		}
	}
	for _, ct := range []string{"application/x-test", "application/octet-stream", "application/proto", "application/protobuf"} {
		if got := h.ask("POST", "/Greeter/Hello", "abc", "Content-Type", ct); got.status != 200 || got.body != "abc" {
			t.Errorf("%q is not taken: %+v", ct, got)
		}
	}
}

func TestUnknownEndpointIsAnsweredWithThoseThereAre(t *testing.T) {
	leaktest.Check(t)
	h := newHouse(t, http.Config{})
	h.answer("Greeter.Hello", echo)
	h.answer("Greeter.Bye", echo)
	h.open()
	got := h.json("/Greeter/Nothing", "{}")
	e := got.wrong(t)
	if got.status != 404 || e.Code != "unimplemented" || !strings.Contains(e.Message, "Greeter.Bye, Greeter.Hello") {
		t.Errorf("got %+v", got)
	}
	for _, path := range []string{"/a/b/c", "/Greeter/", "//", "/Greeter/Hello/"} {
		got := h.json(path, "{}")
		if e := got.wrong(t); got.status != 404 || !strings.Contains(e.Message, "/Greeter/Hello") {
			t.Errorf("%s: %+v", path, got)
		}
	}
	// gRPC has a code for it, and no status of HTTP's.
	got = h.askBy(h.two, "POST", "/Greeter/Nothing", strings.NewReader(frame(0, "")), "Content-Type", "application/grpc")
	if got.status != 200 || got.trailer.Get("Grpc-Status") != "12" || !strings.Contains(got.trailer.Get("Grpc-Message"), "Greeter.Hello") {
		t.Errorf("by gRPC: %+v", got)
	}
}

func TestOnlySafeEndpointsAreCalledByGET(t *testing.T) {
	leaktest.Check(t)
	h := newHouse(t, http.Config{})
	h.answer("Greeter.Hello", echo)
	h.safe("Greeter.Show", echo)
	h.stream("Greeter.Chat", func(transport.Socket) error { return nil })
	h.open()
	got := h.ask("GET", "/Greeter/Hello", "")
	if e := got.wrong(t); got.status != 405 || got.header.Get("Allow") != "POST" || !strings.Contains(e.Message, "safe") {
		t.Errorf("an unsafe one: %+v", got)
	}
	got = h.ask("GET", "/Greeter/Chat", "")
	if got.wrong(t); got.status != 405 || got.header.Get("Allow") != "POST" {
		t.Errorf("a stream: %+v", got)
	}
	for _, method := range []string{"PUT", "DELETE", "PATCH", "OPTIONS"} {
		got := h.ask(method, "/Greeter/Show", "{}", "Content-Type", "application/json")
		if got.wrong(t); got.status != 405 || !strings.Contains(got.header.Get("Allow"), "POST") {
			t.Errorf("%s: %+v", method, got)
		}
	}
	const message = `{"name":"Ann & Bob"}`
	for query, want := range map[string]string{
		"":                                     "{}",
		"?message=" + url.QueryEscape(message): message,
		"?encoding=json&message=" + url.QueryEscape(message):                                                             message,
		"?base64=1&message=" + base64.RawURLEncoding.EncodeToString([]byte(message)):                                     message,
		"?connect=v1&base64=1&encoding=proto&message=" + base64.RawURLEncoding.EncodeToString([]byte("\x00\x01\xffabc")): "\x00\x01\xffabc",
	} {
		if got := h.ask("GET", "/Greeter/Show"+query, ""); got.status != 200 || got.body != want {
			t.Errorf("%q: %+v", query, got)
		}
	}
	for _, query := range []string{"?name=Ann", "?message=%7B%7D&name=Ann"} {
		got = h.ask("GET", "/Greeter/Show"+query, "")
		if e := got.wrong(t); got.status != 400 || !strings.Contains(e.Message, `"name"`) || !strings.Contains(e.Message, "?message=") {
			t.Errorf("%q: %+v", query, got)
		}
	}
}

func TestStreamCalledAsUnaryAndTheOtherWayRoundIsTold(t *testing.T) {
	leaktest.Check(t)
	h := newHouse(t, http.Config{})
	h.answer("Greeter.Hello", echo)
	h.stream("Greeter.Chat", func(transport.Socket) error { return nil })
	h.open()
	got := h.json("/Greeter/Chat", "{}")
	if e := got.wrong(t); got.status != 415 || !strings.Contains(e.Message, "application/connect+json") {
		t.Errorf("a stream by plain JSON: %+v", got)
	}
	got = h.ask("POST", "/Greeter/Hello", frame(0, "{}"), "Content-Type", "application/connect+json")
	_, messages := unframe(t, got.body)
	if got.status != 200 || len(messages) != 1 || !strings.Contains(messages[0], `"unimplemented"`) || !strings.Contains(messages[0], "not a stream") {
		t.Errorf("a unary one as a stream: %+v", got)
	}
}

func TestCodesHaveTheirStatusInHTTP(t *testing.T) {
	leaktest.Check(t)
	h := newHouse(t, http.Config{})
	h.answer("Greeter.Fail", func(_ context.Context, b transport.Body) (transport.Message, error) {
		var c errors.Code
		fmt.Sscanf(string(b.Data), "%d", &c)
		e := errors.NewCode("house", c, "failed as %s", c)
		e.Details = []errors.Detail{{Type: "a.Detail", Value: []byte("why")}}
		return transport.Message{}, e
	})
	h.answer("Greeter.Plain", func(context.Context, transport.Body) (transport.Message, error) {
		return transport.Message{}, stderrors.New("it is broken")
	})
	h.open()
	want := []int{0, 499, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 501, 500, 503, 500, 401}
	for c := errors.CodeCanceled; c <= errors.CodeUnauthenticated; c++ {
		got := h.json("/Greeter/Fail", fmt.Sprint(uint32(c)))
		e := got.wrong(t)
		if got.status != want[c] || e.Code != c.String() || e.Message != "failed as "+c.String() || len(e.Details) != 1 || e.Details[0].Type != "a.Detail" || e.Details[0].Value != base64.RawStdEncoding.EncodeToString([]byte("why")) {
			t.Errorf("%s: %+v", c, got)
		}
	}
	got := h.json("/Greeter/Plain", "{}")
	if e := got.wrong(t); got.status != 500 || e.Code != "unknown" || e.Message != "it is broken" {
		t.Errorf("an error without a code: %+v", got)
	}
}

func TestRouterAnswersUnaryCallsAndStreams(t *testing.T) {
	leaktest.Check(t)
	h := newHouse(t, http.Config{})
	h.unknown = true
	h.stream("*", func(s transport.Socket) error {
		b, err := s.Recv()
		if err != nil {
			return err
		}
		text := string(b.Data)
		b.Release()
		if _, err := s.Recv(); !stderrors.Is(err, io.EOF) {
			return fmt.Errorf("after the last message: %w", err)
		}
		if text == "fail" {
			return errors.NewCode("house", errors.CodeAborted, "as asked")
		}
		return s.Send(raw(fmt.Sprint(s.Method().Endpoint, " ", s.Unary(), " ", text)))
	})
	h.open()
	if got := h.json("/x.y.Any/Thing", "text"); got.status != 200 || got.body != "Any.Thing true text" {
		t.Errorf("unary: %+v", got)
	}
	if got := h.json("/Any/Thing", "fail"); got.status != 409 || got.wrong(t).Message != "as asked" {
		t.Errorf("unary that fails: %+v", got)
	}
	got := h.ask("POST", "/Any/Thing", frame(0, "text"), "Content-Type", "application/connect+json")
	if flags, messages := unframe(t, got.body); len(messages) != 2 || messages[0] != "Any.Thing false text" || flags[1] != 2 || messages[1] != "{}" {
		t.Errorf("stream: %+v", got)
	}
	got = h.grpc("/Any/Thing", "text")
	if _, messages := unframe(t, got.body); len(messages) != 1 || !strings.HasSuffix(messages[0], " text") || got.trailer.Get("Grpc-Status") != "0" {
		t.Errorf("by gRPC: %+v", got)
	}
}

func TestDeadlineOfTheCallerIsThatOfTheContext(t *testing.T) {
	leaktest.Check(t)
	h := newHouse(t, http.Config{})
	h.answer("Time.Left", func(ctx context.Context, _ transport.Body) (transport.Message, error) {
		d, ok := ctx.Deadline()
		if !ok {
			return raw("none"), nil
		}
		return raw(fmt.Sprint(time.Until(d).Round(time.Hour))), nil
	})
	h.answer("Time.Waste", func(ctx context.Context, _ transport.Body) (transport.Message, error) {
		<-ctx.Done()
		return transport.Message{}, ctx.Err()
	})
	h.answer("Time.Ignored", func(ctx context.Context, _ transport.Body) (transport.Message, error) {
		<-ctx.Done()
		return raw("late"), nil
	})
	h.open()
	if got := h.json("/Time/Ignored", "", "Connect-Timeout-Ms", "1"); got.status != 504 {
		t.Errorf("an answer after the deadline: %+v", got)
	}
	if got := h.json("/Time/Left", ""); got.body != "none" {
		t.Errorf("without a deadline: %q", got.body)
	}
	if got := h.json("/Time/Left", "", "Connect-Timeout-Ms", "7200000"); got.body != "2h0m0s" {
		t.Errorf("by Connect: %q", got.body)
	}
	got := h.askBy(h.two, "POST", "/Time/Left", strings.NewReader(frame(0, "")), "Content-Type", "application/grpc+json", "Grpc-Timeout", "3H")
	if _, m := unframe(t, got.body); len(m) != 1 || m[0] != "3h0m0s" {
		t.Errorf("by gRPC: %+v", got)
	}
	if got := h.json("/Time/Waste", "", "Connect-Timeout-Ms", "1"); got.status != 504 || got.wrong(t).Code != "deadline_exceeded" {
		t.Errorf("a deadline that passes: %+v", got)
	}
	for _, bad := range []string{"-1", "x", "99999999999"} {
		if got := h.json("/Time/Left", "", "Connect-Timeout-Ms", bad); got.status != 400 || got.wrong(t).Code != "invalid_argument" {
			t.Errorf("timeout %q: %+v", bad, got)
		}
	}
}

func TestContextEndsWhenTheCallerGoesAway(t *testing.T) {
	for _, two := range []bool{false, true} {
		t.Run(map[bool]string{false: "http1", true: "h2c"}[two], func(t *testing.T) {
			leaktest.Check(t)
			h := newHouse(t, http.Config{})
			begun, ended := make(chan struct{}, 2), make(chan error, 2)
			h.answer("Greeter.Wait", func(ctx context.Context, _ transport.Body) (transport.Message, error) {
				begun <- struct{}{}
				<-ctx.Done()
				ended <- ctx.Err()
				return transport.Message{}, ctx.Err()
			})
			h.stream("Greeter.Chat", func(s transport.Socket) error {
				b, err := s.Recv()
				if err != nil {
					return err
				}
				b.Release()
				begun <- struct{}{}
				<-s.Context().Done()
				ended <- s.Context().Err()
				return s.Context().Err()
			})
			h.open()
			client := h.one
			if two {
				client = h.two
			}
			for path, ct := range map[string]string{"/Greeter/Wait": "application/json", "/Greeter/Chat": "application/connect+json"} {
				body := "{}"
				if path == "/Greeter/Chat" {
					body = frame(0, body)
				}
				ctx, cancel := context.WithCancel(context.Background())
				r, _ := nethttp.NewRequestWithContext(ctx, "POST", "http://"+h.addr+path, strings.NewReader(body))
				r.Header.Set("Content-Type", ct)
				gone := make(chan error, 1)
				go func() {
					res, err := client.Do(r)
					if err == nil {
						res.Body.Close()
					}
					gone <- err
				}()
				within(t, begun)
				cancel()
				if err := within(t, ended); !stderrors.Is(err, context.Canceled) {
					t.Errorf("%s: the context ended with %v", path, err)
				}
				within(t, gone)
			}
		})
	}
}
