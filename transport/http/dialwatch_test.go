package http

import (
	"strings"
	"testing"

	"github.com/seed-9a4e2794/micro/transport"
)

// However the bytes are portioned, the frames in them are the same.
func FuzzFramesAreFoundInAnyPortions(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00\x08\x07\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00"), byte(3))
	f.Add([]byte("\x00\x00\x0c\x07\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x0bcalm"), byte(1))
	f.Add([]byte("\x00\x00\x02\x07\x00\x00\x00\x00\x00\x00\x00"), byte(5))
	f.Add([]byte("\x00\xff\xff\x07\x00\x00\x00\x00\x00"+strings.Repeat("x", 300)), byte(100))
	f.Fuzz(func(t *testing.T, p []byte, step byte) {
		var whole, parts frames
		whole.next(p)
		for rest := p; len(rest) > 0; {
			n := min(int(step)+1, len(rest))
			parts.next(rest[:n])
			rest = rest[n:]
		}
		text, away := whole.goAway()
		text2, away2 := parts.goAway()
		if text != text2 || away != away2 || whole.settled != parts.settled || whole.first != parts.first || whole.left != parts.left || whole.got != parts.got {
			t.Errorf("whole %+v, in parts %+v", whole, parts)
		}
		if len(whole.last) > maxGoAway {
			t.Errorf("%d bytes are kept", len(whole.last))
		}
		if settled := len(p) >= frameHead; whole.settled != settled {
			t.Errorf("settled is %v after %d bytes", whole.settled, len(p))
		}
	})
}

func TestGoAwayIsFoundBehindOtherFrames(t *testing.T) {
	const before = "\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x64" + "\x00\x00\x03\x00\x00\x00\x00\x00\x01abc"
	for _, tt := range []struct{ in, want string }{
		{before, ""},
		{before + "\x00\x00\x08\x07\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00", ""}, // its last byte has not come
		{before + "\x00\x00\x08\x07\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00", "the peer is going away"},
		{before + "\x00\x00\x0d\x07\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x0bcal\nm", "the peer is going away: code 11 calm"},
	} {
		var f frames
		f.next([]byte(tt.in))
		if got, ok := f.goAway(); got != tt.want || ok != (tt.want != "") {
			t.Errorf("%q: %q, %v", tt.in, got, ok)
		}
	}
}

func TestMethodsHaveTheirPaths(t *testing.T) {
	for _, tt := range []struct{ service, endpoint, want string }{
		{"greeter", "Greeter.Hello", "/greeter.Greeter/Hello"},
		{"go.micro.srv.greeter", "Greeter.Hello", "/go.micro.srv.greeter.Greeter/Hello"},
		{"", "Greeter.Hello", "/Greeter/Hello"},
		{"greeter", "helloworld.Greeter.Hello", "/helloworld.Greeter/Hello"},
		{"greeter", "a.b.c.Greeter.Hello", "/a.b.c.Greeter/Hello"},
		{"greeter", "/helloworld.Greeter/Hello", "/helloworld.Greeter/Hello"},
		{"greeter", "/any/path", "/any/path"},
		{"greeter", "Hello", "/greeter/Hello"},
		{"", "Hello", "/Hello"},
		{"greeter", ".Hello", "/greeter/Hello"},
		{"a b", "G/H.x?y", "/a%20b.G%2FH/x%3Fy"},
		{"", "/a b?c#d%41\n", "/a%20b%3Fc%23d%2541%0A"},
		{"größe", "G.H", "/gr%C3%B6%C3%9Fe.G/H"},
	} {
		if got := methodPath(transport.Method{Service: tt.service, Endpoint: tt.endpoint}); got != tt.want {
			t.Errorf("%q of %q is at %q, want %q", tt.endpoint, tt.service, got, tt.want)
		}
	}
}

func TestClientsAreRememberedWithinTheirBound(t *testing.T) {
	c := &caller{cfg: Config{}.withDefaults(), base: "http://127.0.0.1:1", clients: make(map[clientKey]*client)}
	ask := func(endpoint string) *client {
		return c.client(transport.Request{Method: transport.Method{Endpoint: endpoint}})
	}
	if first := ask("A.B"); first != ask("A.B") || first == ask("A.C") {
		t.Error("a method has no client of its own")
	}
	for i := range 3 * maxClients {
		ask("X." + strings.Repeat("x", i%2000) + string(rune('a'+i/2000)))
		if len(c.clients) > maxClients {
			t.Fatalf("%d clients", len(c.clients))
		}
	}
}
