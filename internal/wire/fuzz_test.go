package wire

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/seed-9a4e2794/micro/errors"
	"github.com/seed-9a4e2794/micro/metadata"
)

func FuzzHeader(f *testing.F) {
	f.Add(appendFrame(nil, header{typ: typeReq, flags: flagMeta, codec: 1, call: 1 << 16, aux: 7}, ""))
	f.Add(bytes.Repeat([]byte{0xFF}, headerLen))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < headerLen {
			return
		}
		h := parseHeader(b)
		_ = h.check() // must not panic
		got := make([]byte, headerLen)
		h.put(got)
		want := bytes.Clone(b[:headerLen])
		want[7] = 0 // reserved
		if !bytes.Equal(got, want) {
			t.Errorf("% x was read and written as % x", want, got)
		}
	})
}

func FuzzSettings(f *testing.F) {
	f.Add(assumed.append(nil)[headerLen:])
	f.Add([]byte("\x02\x00\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := parseSettings(b)
		if err != nil {
			return
		}
		if s.maxCalls > maxSlots || s.window > maxCredit || s.maxMessage > maxCredit || s.maxMeta > maxCredit {
			t.Errorf("%+v is beyond what this side can count", s)
		}
		again, err := parseSettings(s.append(nil)[headerLen:])
		if err != nil || again != s {
			t.Errorf("%+v came back as %+v, %v", s, again, err)
		}
	})
}

func FuzzMeta(f *testing.F) {
	f.Add(string(appendMeta(nil, metadata.Header{{Key: "a", Value: "b"}, {Key: "a", Value: ""}}, "t")[sectionLen:]))
	f.Add("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01")
	f.Fuzz(func(t *testing.T, s string) {
		h, err := parseMeta(s)
		if err != nil {
			return
		}
		b := appendMeta(nil, h, "")
		if int(binary.LittleEndian.Uint32(b)) != len(b)-sectionLen {
			t.Error("the section's length is not its length")
		}
		again, err := parseMeta(string(b[sectionLen:]))
		if err != nil || len(again) != len(h) {
			t.Fatalf("%q came back as %q, %v", h, again, err)
		}
		for i := range h {
			if again[i] != h[i] {
				t.Errorf("%q came back as %q", h, again)
			}
		}
		if len(b) > metaSize(h) {
			t.Errorf("metaSize is %d of a section of %d", metaSize(h), len(b))
		}
	})
}

func FuzzRequest(f *testing.F) {
	f.Add(byte(flagTimeout|flagMeta), append(appendMeta(appendTimeout(nil, time.Second), metadata.Header{{Key: "a", Value: "b"}}, ""), "body"...))
	f.Fuzz(func(t *testing.T, flags byte, b []byte) {
		r, err := parseRequest(header{flags: flags}, b)
		if err != nil {
			return
		}
		n := len(r.body)
		if flags&flagTimeout != 0 {
			n += sectionLen
			if r.timeout <= 0 {
				t.Errorf("a timeout of %v", r.timeout)
			}
		}
		if flags&flagMeta != 0 {
			n += sectionLen + len(r.meta)
		}
		if n != len(b) {
			t.Errorf("%d of %d bytes are accounted for", n, len(b))
		}
	})
}

func FuzzResponse(f *testing.F) {
	f.Add(byte(flagMeta|flagTrailer), uint32(5), append(appendMeta(appendMeta(nil, nil, "t"), nil, ""), "body"...))
	f.Fuzz(func(t *testing.T, flags byte, status uint32, b []byte) {
		h := header{flags: flags, aux: status}
		r, err := parseResponse(h, b)
		if err != nil {
			return
		}
		if !bytes.HasSuffix(b, r.body) {
			t.Error("the body is not the end of the payload")
		}
		if status != 0 && parseError(h, r.body) == nil {
			t.Error("a status without an error")
		}
	})
}

func FuzzError(f *testing.F) {
	f.Add(uint32(10), appendError(nil, &errors.Error{Id: "i", Code: 409, Detail: "d", Status: "s", Details: []errors.Detail{{Type: "t", Value: []byte("v")}}}))
	f.Fuzz(func(t *testing.T, status uint32, b []byte) {
		e := parseError(header{aux: status}, b)
		again := parseError(header{aux: status}, appendError(nil, e))
		if e.Error() != again.Error() || len(e.Details) != len(again.Details) {
			t.Errorf("%v came back as %v", e, again)
		}
	})
}

func FuzzName(f *testing.F) {
	f.Add([]byte("\x04testEcho"))
	f.Fuzz(func(t *testing.T, b []byte) {
		service, endpoint, err := parseNameStrings(b)
		if err == nil && len(service)+len(endpoint) >= len(b) {
			t.Errorf("%q and %q out of %q", service, endpoint, b)
		}
	})
}

// limits is a Config under which little is much.
func limits() Config {
	return Config{MaxMessage: 64 << 10, MaxMeta: 4 << 10, MaxCalls: 64, MaxStreams: 16, MaxHeld: 256 << 10, Window: 8 << 10}
}

// seeds are the '>' or '<' bytes of the conversations after the greeting.
func seeds(f *testing.F, dir byte) {
	for _, c := range conversations {
		var b []byte
		for i, l := range readScript(f, "testdata/"+c.name+".txt") {
			if l.dir == dir && i >= 4 {
				b = append(b, l.bytes...)
			}
		}
		f.Add(b)
	}
	for typ := range typeGoAway + 2 {
		f.Add(appendFrame(nil, header{typ: byte(typ), call: 1, aux: 1}, "\x00\x04testEcho"))
	}
}

// FuzzListener sends any bytes after a good greeting to a listener: it answers
// or closes, within bounds of time and memory, and goes on serving others.
func FuzzListener(f *testing.F) {
	seeds(f, '>')
	l := listenTCP(f, limits(), unaries{"Echo": echoUnary}, nil)
	other := callerOf(f, l, Config{})
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 1<<20 {
			return
		}
		near, far := unixPair(t) // many thousands a minute: TCP would run out of ports
		l.Serve(far, nil)
		p := newPeer(t, near)
		p.greet()
		p.name(1, "Echo")
		p.name(2, "Stream")
		written := make(chan struct{})
		go func() {
			defer close(written)
			_, _ = p.conn.Write(b) // it may be closed before all is taken
			_ = near.CloseWrite()
		}()
		p.conn.SetReadDeadline(time.Now().Add(wait))
		if _, err := io.Copy(io.Discard, p.r); os.IsTimeout(err) {
			t.Fatalf("%v after the last byte the connection has not been closed", wait)
		}
		<-written
		p.conn.Close()
		mustEcho(t, other, "alive")
		bounded(t)
	})
}

// FuzzCaller has a caller with calls under way and sends it any bytes: the
// calls end, at the latest with the connection.
func FuzzCaller(f *testing.F) {
	seeds(f, '<')
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 1<<20 {
			return
		}
		near, far := unixPair(t)
		p := newPeer(t, far)
		p.bytes(greeting())
		c := newCaller(t, near, limits())
		ended := make(chan struct{}, 2)
		go func() {
			rsp, err := c.Call(context.Background(), ask("Echo", []byte("x")))
			if err == nil {
				rsp.Body.Release()
			}
			ended <- struct{}{}
		}()
		go func() {
			defer func() { ended <- struct{}{} }()
			s, err := c.Open(context.Background(), ask("Stream", nil))
			if err != nil {
				return
			}
			_ = s.Send(raw([]byte("x")))
			for {
				body, err := s.Recv()
				if err != nil {
					break
				}
				body.Release()
			}
			_, _ = s.Header()
			_ = s.Trailer()
		}()
		read := make(chan struct{})
		go func() {
			defer close(read)
			_, _ = io.Copy(io.Discard, p.r)
		}()
		_, _ = far.Write(b) // it may be closed before all is taken
		_ = far.CloseWrite()
		within(t, ended)
		within(t, ended)
		c.Close()
		<-read
		bounded(t)
	})
}

// unixPair returns the two ends of a socket that takes no port.
func unixPair(t testing.TB) (near, far *net.UnixConn) {
	t.Helper()
	dir, err := os.MkdirTemp("", "wire") // t.TempDir's names can be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	addr := &net.UnixAddr{Name: filepath.Join(dir, "s"), Net: "unix"}
	ln, err := net.ListenUnix("unix", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	near, err = net.DialUnix("unix", nil, addr)
	if err != nil {
		t.Fatal(err)
	}
	far, err = ln.AcceptUnix()
	if err != nil {
		t.Fatal(err)
	}
	return near, far
}

// bounded fails if the heap has grown beyond what one connection may hold.
func bounded(t *testing.T) {
	t.Helper()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	if m.HeapAlloc < 256<<20 {
		return
	}
	runtime.GC()
	if runtime.ReadMemStats(&m); m.HeapAlloc > 256<<20 {
		t.Errorf("the heap is %d MiB", m.HeapAlloc>>20)
	}
}
