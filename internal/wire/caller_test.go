package wire

import (
	"context"
	stderrors "errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-9a4e2794/micro/errors"
	"github.com/seed-9a4e2794/micro/internal/leaktest"
	"github.com/seed-9a4e2794/micro/transport"
)

// TestBrokenListenersEndTheConnection has a call and a stream under way and
// sends the caller what breaks the protocol: both end with ErrLost and a text
// that says why.
func TestBrokenListenersEndTheConnection(t *testing.T) {
	leaktest.Check(t)
	for _, c := range []struct {
		name string
		send []byte
		want string
	}{
		{"UnknownType", appendFrame(nil, header{typ: 50}, ""), "unknown type 50"},
		{"CallersType", appendFrame(nil, header{typ: typeCancel}, ""), "type 9 from a listener"},
		{"UnknownFlag", appendFrame(nil, header{typ: typeRsp, flags: flagAck}, ""), "flags 0x40"},
		{"SettingsTwice", assumed.append(nil), "type 1"},
		{"AbsurdReply", []byte("\xff\xff\xff\xff\x04\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00"), "more than"},
		{"HeadTooLong", appendFrame(nil, header{typ: typeHead, flags: flagMeta, call: 1}, strings.Repeat("x", 70<<10)), "more than"},
		{"HeadBroken", appendFrame(nil, header{typ: typeHead, flags: flagMeta, call: 1}, "\xff\xff\x00\x00"), "metadata section"},
		{"GoAwayProtocol", appendFrame(nil, header{typ: typeGoAway, aux: goAwayProtocol}, "you are wrong"), "you are wrong"},
		{"GoAwayTooLong", appendFrame(nil, header{typ: typeGoAway}, strings.Repeat("x", maxGoAwayText+1)), "more than 1024"},
		{"Garbage", []byte("HTTP/1.1 400 Bad Request\r\n\r\n"), "unknown type"},
		{"CutOff", []byte{1, 2, 3}, "unexpected EOF"},
	} {
		t.Run(c.name, func(t *testing.T) {
			caller, p := canned(t, Config{})
			lost := make(chan error, 2)
			go func() {
				_, err := caller.Call(context.Background(), ask("Echo", nil))
				lost <- err
			}()
			p.frame() // NAME and REQ: the call has slot 0
			p.frame()
			opened := make(chan struct{})
			go func() {
				s, err := caller.Open(context.Background(), ask("Stream", nil))
				close(opened)
				for err == nil {
					_, err = s.Recv() // the buffers are left to the garbage collector
				}
				lost <- err
			}()
			p.frame()
			p.frame()
			<-opened
			go func() {
				_, _ = p.conn.Write(c.send) // it may be closed before all is taken
				for {
					if _, _, err := p.next(); err != nil {
						return
					}
				}
			}()
			if c.name == "CutOff" {
				time.AfterFunc(50*time.Millisecond, func() { p.conn.Close() })
			}
			for range 2 {
				if err := within(t, lost); !stderrors.Is(err, transport.ErrLost) || !strings.Contains(err.Error(), c.want) {
					t.Errorf("got %v, want ErrLost with %q", err, c.want)
				}
			}
			if err := caller.Err(); err == nil {
				t.Error("Err is nil")
			}
			if _, err := caller.Call(context.Background(), ask("Echo", nil)); !stderrors.Is(err, errors.ErrRefused) {
				t.Errorf("a call afterwards: %v, want ErrRefused", err)
			}
		})
	}
}

func TestRepliesNobodyWaitsForAreIgnored(t *testing.T) {
	leaktest.Check(t)
	c, p := canned(t, Config{})
	go func() {
		p.frame() // NAME
		h, _ := p.frame()
		for _, id := range []uint32{h.call + 1, h.call | 1<<16, 0xFFFF0000, 0xFFFFFFFF} {
			for _, typ := range []byte{typeRsp, typeHead, typeData, typeWindow, 200} {
				b := appendFrame(nil, header{typ: typ, codec: 3, call: id, aux: 0}, "")
				_, _ = p.conn.Write(b)
			}
			_, _ = p.conn.Write(appendFrame(nil, header{typ: typeRsp, codec: 3, call: id}, strings.Repeat("x", 50_000)))
		}
		_, _ = p.conn.Write(appendFrame(nil, header{typ: typeRsp, codec: 3, call: h.call}, "mine"))
		_, _ = p.conn.Write(appendFrame(nil, header{typ: typeRsp, codec: 3, call: h.call}, "again"))
		h, _ = p.frame()
		_, _ = p.conn.Write(appendFrame(nil, header{typ: typeRsp, codec: 3, call: h.call}, "second"))
	}()
	for _, want := range []string{"mine", "second"} {
		rsp, err := c.Call(context.Background(), ask("Echo", nil))
		if err != nil || string(rsp.Body.Data) != want {
			t.Fatalf("got %q, %v, want %q", rsp.Body.Data, err, want)
		}
		rsp.Body.Release()
	}
}

func TestReplyOverTheLimitFailsItsCallOnly(t *testing.T) {
	leaktest.Check(t)
	c, p := canned(t, Config{MaxMessage: 100_000})
	go func() {
		p.frame()
		h, _ := p.frame()
		_, _ = p.conn.Write(appendFrame(nil, header{typ: typeRsp, codec: 3, call: h.call}, strings.Repeat("x", 1_000_000)))
		h, _ = p.frame()
		_, _ = p.conn.Write(appendFrame(nil, header{typ: typeRsp, codec: 3, call: h.call}, "small"))
	}()
	if _, err := c.Call(context.Background(), ask("Echo", nil)); !stderrors.Is(err, transport.ErrTooLarge) {
		t.Errorf("got %v, want ErrTooLarge", err)
	}
	rsp, err := c.Call(context.Background(), ask("Echo", nil))
	if err != nil {
		t.Fatal(err)
	}
	rsp.Body.Release()
}

func TestGoAwayTextIsInErr(t *testing.T) {
	leaktest.Check(t)
	c, p := canned(t, Config{})
	p.send(header{typ: typeGoAway, aux: goAwayIdle}, "nothing was asked")
	eventually(t, "the GOAWAY", func() bool { return c.Err() != nil })
	if err := c.Err(); !strings.Contains(err.Error(), "nothing was asked") {
		t.Errorf("Err: %v", err)
	}
	p.closed() // with no call under way the caller closes
}

func TestDialledServerThatSpeaksHTTPIsQuoted(t *testing.T) {
	leaktest.Check(t)
	srv := httptest.NewServer(http.NotFoundHandler())
	defer srv.Close()
	conn, err := net.Dial("tcp", srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	_, err = NewCaller(context.Background(), conn, Config{})
	if err == nil || !strings.Contains(err.Error(), "HTTP/1.1 400 Bad Request") || !strings.Contains(err.Error(), "native wire") {
		t.Errorf("got %v", err)
	}
}

func TestListenerOfAnotherVersionIsSaidSo(t *testing.T) {
	leaktest.Check(t)
	near, far := net.Pipe()
	p := newPeer(t, far)
	go func() {
		p.greeted()
		_, _ = far.Write([]byte("\xA7micro\x02\n"))
	}()
	if _, err := NewCaller(context.Background(), near, Config{}); err == nil || !strings.Contains(err.Error(), "version") {
		t.Errorf("got %v", err)
	}
}

func TestDiallingAServerThatSaysNothingEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, c := range []struct {
			limit time.Duration
			want  string
		}{{time.Second, "deadline"}, {time.Hour, "greeting"}} {
			near, far := net.Pipe()
			p := newPeer(t, far)
			go p.greeted()
			ctx, cancel := context.WithTimeout(context.Background(), c.limit)
			began := time.Now()
			_, err := NewCaller(ctx, near, Config{})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v", err)
			}
			if d := time.Since(began); d != min(c.limit, 5*time.Second) {
				t.Errorf("it took %v", d)
			}
			cancel()
			far.Close()
		}
	})
}

func TestMessageWithoutCodecHasNoBody(t *testing.T) {
	leaktest.Check(t)
	l := listenTCP(t, Config{}, unaries{"None": func(_ context.Context, body transport.Body) (transport.Message, error) {
		if len(body.Data) > 0 || body.ContentType != "" {
			return transport.Message{}, stderrors.New("a body came")
		}
		return transport.Message{}, nil
	}}, nil)
	c := callerOf(t, l, Config{})
	r := ask("None", nil)
	r.Message = transport.Message{}
	rsp, err := c.Call(context.Background(), r)
	if err != nil || len(rsp.Body.Data) > 0 {
		t.Errorf("got %q, %v", rsp.Body.Data, err)
	}
	s, err := c.Open(context.Background(), ask("Stream", nil))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Send(transport.Message{}); err == nil {
		t.Error("Send without a codec returned no error")
	}
	s.Reset()
}

func TestStreamCarriesAContentTypeWithoutANumber(t *testing.T) {
	leaktest.Check(t)
	types := make(chan string, 1)
	l := listenTCP(t, Config{}, nil, func(s transport.Socket) {
		body, err := s.Recv()
		if err != nil {
			_ = s.Finish(nil, err)
			return
		}
		types <- body.ContentType
		body.Release()
		_ = s.Send(transport.Message{Value: "first", Codec: named{}}) // Finish tells
		m := transport.Message{Value: "last", Codec: named{}}
		_ = s.Finish(&m, nil)
	})
	c := callerOf(t, l, Config{})
	r := ask("Stream", nil)
	r.Message = transport.Message{Codec: named{}}
	s, err := c.Open(context.Background(), r)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Send(transport.Message{Value: "x", Codec: named{}}); err != nil {
		t.Fatal(err)
	}
	if got := within(t, types); got != "application/x-test" {
		t.Errorf("the listener got %q", got)
	}
	for _, want := range []string{"first", "last"} {
		body, err := s.Recv()
		if err != nil || string(body.Data) != want || body.ContentType != "application/x-test" {
			t.Errorf("got %q of %q, %v", body.Data, body.ContentType, err)
		}
		body.Release()
	}
}

func TestAnswersBeforeTheQuestionEndNothingElse(t *testing.T) {
	leaktest.Check(t)
	c, p := canned(t, Config{})
	read := make(chan struct{})
	go func() {
		defer close(read)
		for {
			if _, _, err := p.next(); err != nil {
				return
			}
		}
	}()
	stop := make(chan struct{})
	go func() {
		for gen := uint32(0); ; gen++ { // as many generations as the caller may come to
			select {
			case <-stop:
				p.conn.Close()
				return
			default:
				_, _ = p.conn.Write(appendFrame(nil, header{typ: typeRsp, codec: 3, call: gen % 2000 << 16}, strings.Repeat("x", int(gen%2)*40_000)))
			}
		}
	}()
	for range 500 {
		s, err := c.Open(context.Background(), ask("Stream", nil))
		if err == nil && s == nil {
			t.Fatal("Open returned neither a stream nor an error")
		}
		if err == nil {
			s.Reset()
		}
	}
	close(stop)
	<-read
}
