package http_test

import (
	"bufio"
	"context"
	"encoding/base64"
	"fmt"
	nethttp "net/http"
	"slices"
	"strings"
	"testing"

	"github.com/seed-9a4e2794/micro/errors"
	"github.com/seed-9a4e2794/micro/internal/leaktest"
	"github.com/seed-9a4e2794/micro/metadata"
	"github.com/seed-9a4e2794/micro/transport"
	"github.com/seed-9a4e2794/micro/transport/http"
)

// told answers with the metadata of the request, a field a line.
func told(ctx context.Context, _ transport.Body) (transport.Message, error) {
	md, _ := metadata.HeaderFromContext(ctx)
	var b strings.Builder
	for _, f := range md {
		fmt.Fprintf(&b, "%s=%q\n", f.Key, f.Value)
	}
	return raw(b.String()), nil
}

func TestMetadataOfARequestIsWhatBelongsToNoProtocol(t *testing.T) {
	leaktest.Check(t)
	h := newHouse(t, http.Config{})
	h.answer("Greeter.Hello", told)
	h.open()
	bin := func(s string) string { return base64.RawStdEncoding.EncodeToString([]byte(s)) }
	send := []string{"X-User", "ann", "X-Many", "one", "X-Many", "two", "Data-Bin", bin("\x00\xff"), "Two-Bin", bin("a") + ", " + bin("b"), "Padded-Bin", "YQ==", "Bad-Bin", "%%%",
		"Grpc-Timeout", "1H", "Connect-Timeout-Ms", "100000", "Connect-Protocol-Version", "1", "Micro-Error-Bin", "AA", "User-Agent", "test"}
	want := []string{`bad-bin="%%%"`, `data-bin="\x00\xff"`, `padded-bin="a"`, `two-bin="a"`, `two-bin="b"`, `user-agent="test"`, `x-many="one"`, `x-many="two"`, `x-user="ann"`}
	check := func(how, body string) {
		t.Helper()
		if got := strings.Split(strings.TrimSpace(body), "\n"); !slices.Equal(got, want) {
			t.Errorf("%s: got\n%s\nwant\n%s", how, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
	check("JSON", h.json("/Greeter/Hello", "{}", send...).body)
	got := h.askBy(h.two, "POST", "/Greeter/Hello", strings.NewReader(frame(0, "")), append([]string{"Content-Type", "application/grpc", "Te", "trailers"}, send...)...)
	_, m := unframe(t, got.body)
	check("gRPC", strings.Join(m, ""))
}

func TestMetadataOfAReplyComesAsHeaderAndTrailer(t *testing.T) {
	leaktest.Check(t)
	h := newHouse(t, http.Config{})
	set := func(ctx context.Context) {
		metadata.SetHeader(ctx, "x-head", "one", "two")
		metadata.SetHeader(ctx, "x-head-bin", "\x00\xff")
		metadata.SetTrailer(ctx, "x-trail", "end")
		metadata.SetTrailer(ctx, "x-trail-bin", "\xff")
	}
	h.answer("Greeter.Hello", func(ctx context.Context, _ transport.Body) (transport.Message, error) {
		set(ctx)
		return raw("{}"), nil
	})
	h.answer("Greeter.Fail", func(ctx context.Context, _ transport.Body) (transport.Message, error) {
		set(ctx)
		return transport.Message{}, errors.NewCode("house", errors.CodeAborted, "as asked")
	})
	h.stream("Greeter.Chat", func(s transport.Socket) error {
		set(s.Context())
		return s.Send(raw("{}"))
	})
	h.open()
	is := func(how string, in nethttp.Header, key string, want ...string) {
		t.Helper()
		var got []string
		for _, v := range in.Values(key) {
			got = append(got, strings.TrimRight(v, "="))
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %s is %q, want %q", how, key, got, want)
		}
	}
	head := func(how string, in nethttp.Header) {
		t.Helper()
		is(how, in, "X-Head", "one", "two")
		is(how, in, "X-Head-Bin", "AP8")
	}
	got := h.json("/Greeter/Hello", "{}")
	head("JSON", got.header)
	is("JSON", got.header, "Trailer-X-Trail", "end")
	is("JSON", got.header, "Trailer-X-Trail-Bin", "/w")
	head("an error in JSON", h.json("/Greeter/Fail", "{}").header)
	got = h.grpc("/Greeter/Hello", "")
	head("gRPC", got.header)
	is("gRPC", got.trailer, "X-Trail", "end")
	is("gRPC", got.trailer, "X-Trail-Bin", "/w")
	got = h.grpc("/Greeter/Chat", "")
	head("a stream of gRPC", got.header)
	is("a stream of gRPC", got.trailer, "X-Trail", "end")
	got = h.askBy(h.one, "POST", "/Greeter/Chat", strings.NewReader(frame(0, "{}")), "Content-Type", "application/connect+json")
	head("a stream of Connect", got.header)
	if !strings.Contains(got.body, `"X-Trail":["end"]`) && !strings.Contains(got.body, `"x-trail":["end"]`) {
		t.Errorf("a stream of Connect ends with %q", got.body)
	}
}

func TestMetadataCannotForgeWhatProtocolsSay(t *testing.T) {
	leaktest.Check(t)
	h := newHouse(t, http.Config{})
	h.answer("Greeter.Hello", func(ctx context.Context, _ transport.Body) (transport.Message, error) {
		for _, set := range []func(context.Context, string, string){
			func(ctx context.Context, k, v string) { metadata.SetHeader(ctx, k, v) },
			func(ctx context.Context, k, v string) { metadata.SetTrailer(ctx, k, v) },
		} {
			set(ctx, "x-split", "a\r\nInjected: 1")
			set(ctx, "x-split", "a\nInjected: 1")
			set(ctx, "x-nul", "a\x00b")
			set(ctx, "bad key", "v")
			set(ctx, "bad\r\ninjected", "v")
			set(ctx, "", "v")
			set(ctx, "content-type", "text/html")
			set(ctx, "content-length", "3")
			set(ctx, "transfer-encoding", "chunked")
			set(ctx, "connection", "close")
			set(ctx, "grpc-status", "7")
			set(ctx, "grpc-message", "forged")
			set(ctx, "trailer", "X-A")
			set(ctx, ":status", "500")
			set(ctx, "x-good", "yes")
		}
		return raw("{}"), nil
	})
	h.open()
	// As bytes, because a client would hide what is wrong.
	c := h.dial()
	fmt.Fprint(c, "POST /Greeter/Hello HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")
	r := bufio.NewReader(c)
	var head []string
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if line = strings.TrimRight(line, "\r\n"); line == "" {
			break
		}
		head = append(head, strings.ToLower(line))
	}
	for _, want := range []string{"http/1.1 200 ok", "content-type: application/json", "x-good: yes", "trailer-x-good: yes", "content-length: 2"} {
		if !slices.Contains(head, want) {
			t.Errorf("%q is missing in %q", want, head)
		}
	}
	for _, line := range head {
		for _, bad := range []string{"injected", "split", "nul", "bad", "text/html", "grpc", "chunked", "connection", ":status", "forged", "trailer:"} {
			if strings.Contains(line, bad) {
				t.Errorf("%q has come", line)
			}
		}
	}
	got := h.grpc("/Greeter/Hello", "")
	if got.trailer.Get("Grpc-Status") != "0" || got.trailer.Get("Grpc-Message") != "" || len(got.trailer.Values("Grpc-Status")) != 1 || got.header.Get("X-Good") != "yes" {
		t.Errorf("by gRPC: %+v", got)
	}
}

func TestCallersAndProtocolsAreKnown(t *testing.T) {
	leaktest.Check(t)
	h := newHouse(t, http.Config{})
	h.answer("Greeter.Hello", func(ctx context.Context, _ transport.Body) (transport.Message, error) {
		p, ok := transport.PeerFromContext(ctx)
		if !ok || p.Local != h.addr || !strings.HasPrefix(p.Remote, "127.0.0.1:") || p.Secure || p.Identity != nil {
			return transport.Message{}, fmt.Errorf("the peer is %+v, %v", p, ok)
		}
		return raw(p.Protocol), nil
	})
	h.open()
	for ct, want := range map[string]http.Protocol{"application/json": http.Connect, "application/grpc": http.GRPC, "application/grpc-web": http.GRPCWeb} {
		got := h.askBy(h.two, "POST", "/Greeter/Hello", strings.NewReader(map[bool]string{true: frame(0, ""), false: ""}[strings.Contains(ct, "grpc")]), "Content-Type", ct)
		if !strings.Contains(got.body, string(want)) {
			t.Errorf("%s: %+v", ct, got)
		}
	}
}
