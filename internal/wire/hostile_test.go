package wire

import (
	"bytes"
	"context"
	stderrors "errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/seed-9a4e2794/micro/errors"
	"github.com/seed-9a4e2794/micro/internal/leaktest"
	"github.com/seed-9a4e2794/micro/transport"
)

// TestBrokenPeersLoseOnlyTheirOwnConnection sends what breaks the protocol to a
// listener: each time that connection is closed with a GOAWAY that says why,
// and another lives on.
func TestBrokenPeersLoseOnlyTheirOwnConnection(t *testing.T) {
	leaktest.Check(t)
	hold := make(chan struct{})
	defer close(hold)
	l := listenTCP(t, Config{MaxMessage: 1 << 20, Window: 32 << 10}, unaries{"Echo": echoUnary, "Hold": func(ctx context.Context, _ transport.Body) (transport.Message, error) {
		<-ctx.Done()
		return raw(nil), nil
	}}, func(s transport.Socket) { <-s.Context().Done() })
	other := callerOf(t, l, Config{})
	frames := func(hs ...header) []byte {
		var b []byte
		for _, h := range hs {
			b = appendFrame(b, h, "")
		}
		return b
	}
	names := []byte(nil)
	for i := range uint32(maxNames) {
		names = appendFrame(names, header{typ: typeName, aux: 3 + i}, "\x00\x00x")
	}
	stream := frames(header{typ: typeOpen, call: 1, aux: 1})
	data := appendFrame(nil, header{typ: typeData, call: 1}, strings.Repeat("x", quantum))
	for _, c := range []struct {
		name string
		send []byte
		want string // in the GOAWAY
	}{
		{"UnknownType", frames(header{typ: 99}), "unknown type 99"},
		{"TypeZero", frames(header{}), "unknown type 0"},
		{"UnknownFlag", frames(header{typ: typePing, flags: 0x80}), "flags 0x80"},
		{"FlagOfAnotherType", frames(header{typ: typeData, flags: flagMeta}), "flags 0x2"},
		{"ListenersType", frames(header{typ: typeRsp}), "type 4 from a caller"},
		{"UnnamedMethod", frames(header{typ: typeReq, aux: 77}), "number 77"},
		{"MethodZero", frames(header{typ: typeReq}), "number 0"},
		{"TakenSlot", frames(header{typ: typeReq, call: 5, aux: 2}, header{typ: typeReq, call: 5 | 1<<16, aux: 2}), "slot that is taken"},
		{"NumberSkipped", appendFrame(nil, header{typ: typeName, aux: 9}, "\x00\x00x"), "NAME with number 9"},
		{"NamedTwice", appendFrame(nil, header{typ: typeName, aux: 1}, "\x00\x00x"), "NAME with number 1"},
		{"TooManyNames", names, "NAME with number 4097"},
		{"NameWithoutFlags", frames(header{typ: typeName, aux: 3}), "NAME without flags"},
		{"NameThatDoesNotEnd", appendFrame(nil, header{typ: typeName, aux: 3}, "\x00\x7fx"), "does not end"},
		{"NameTooLong", appendFrame(nil, header{typ: typeName, aux: 3}, strings.Repeat("x", maxNameLen+1)), "more than 1024"},
		{"SettingsTwice", assumed.append(nil), "type 1"},
		{"DataWithoutCredit", append(bytes.Clone(stream), bytes.Repeat(data, 4)...), "without credit"},
		{"DataTooLong", append(bytes.Clone(stream), appendFrame(nil, header{typ: typeData, call: 1}, strings.Repeat("x", quantum+1))...), "more than 16384"},
		{"EndInTheMiddle", append(bytes.Clone(stream), frames(header{typ: typeData, flags: flagMore, call: 1}, header{typ: typeEnd, call: 1})...), "END in the middle"},
		{"WindowOverflow", append(bytes.Clone(stream), frames(header{typ: typeWindow, call: 1, aux: 1 << 30}, header{typ: typeWindow, call: 1, aux: 1 << 30})...), "credit beyond"},
		{"WindowOverflowAtOnce", append(bytes.Clone(stream), frames(header{typ: typeWindow, call: 1, aux: 1<<32 - 1})...), "credit beyond"},
		{"AbsurdLength", []byte("\xff\xff\xff\xff\x03\x00\x01\x00\x00\x00\x00\x00\x01\x00\x00\x00"), "more than"},
		{"MetadataWithoutLength", appendFrame(nil, header{typ: typeReq, flags: flagMeta, aux: 1}, "\x01"), "no length"},
		{"MetadataBeyondPayload", appendFrame(nil, header{typ: typeReq, flags: flagMeta, aux: 1}, "\xff\x00\x00\x00"), "metadata section of 255"},
		{"MetadataBroken", appendFrame(nil, header{typ: typeReq, flags: flagMeta, aux: 1}, "\x02\x00\x00\x00\x05a"), "metadata string of 5"},
		{"TimeoutCutOff", appendFrame(nil, header{typ: typeReq, flags: flagTimeout, aux: 1}, "\x01"), "timeout"},
		{"CancelWithPayload", appendFrame(nil, header{typ: typeCancel}, "x"), "more than 0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := dialPeer(t, l)
			p.name(1, "Echo")
			p.name(2, "Hold")
			go p.conn.Write(c.send) // it may be closed before all is taken
			if got := p.closed(); !strings.HasPrefix(got, fmt.Sprint(goAwayProtocol)) || !strings.Contains(got, c.want) {
				t.Errorf("GOAWAY %q, want one of PROTOCOL with %q", got, c.want)
			}
			mustEcho(t, other, "alive")
		})
	}
}

// TestHarmlessOddities are frames that look odd and must not end a connection.
func TestHarmlessOddities(t *testing.T) {
	leaktest.Check(t)
	l := listenTCP(t, Config{MaxMessage: 1 << 20}, unaries{"Echo": echoUnary}, nil)
	for _, c := range []struct {
		name string
		send []byte
	}{
		{"UnknownTypesAbove128", appendFrame(nil, header{typ: 128, flags: 0xFF}, strings.Repeat("x", 100_000))},
		{"CancelOfUnknownCalls", bytes.Repeat(appendFrame(nil, header{typ: typeCancel, call: 0xFFFF1234}, ""), 100)},
		{"DataOfUnknownCalls", appendFrame(nil, header{typ: typeData, call: 9}, strings.Repeat("x", quantum))},
		{"EndTwice", append(appendFrame(nil, header{typ: typeOpen, call: 1, aux: 2}, ""), bytes.Repeat(appendFrame(nil, header{typ: typeEnd, call: 1}, ""), 2)...)},
		{"AcknowledgedPing", appendFrame(nil, header{typ: typePing, flags: flagAck, aux: 3}, "")},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := dialPeer(t, l)
			p.name(1, "Echo")
			p.name(2, "Stream")
			p.bytes(c.send)
			p.send(header{typ: typeReq, codec: 3, call: 4, aux: 1}, "alive")
			if h, body := p.response(4); h.aux != 0 || string(body) != "alive" {
				t.Errorf("got %+v %q", h, body)
			}
		})
	}
}

func TestGarbageInsteadOfAPreambleIsClosedAndOthersLiveOn(t *testing.T) {
	leaktest.Check(t)
	l := listenTCP(t, Config{}, unaries{"Echo": echoUnary}, nil)
	other := callerOf(t, l, Config{})
	for _, s := range []string{"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "\x16\x03\x01\x02\x00\x01\x00", "\xA7micrO\x01\n", "\x00"} {
		conn, err := net.Dial("tcp", l.Addr())
		if err != nil {
			t.Fatal(err)
		}
		p := newPeer(t, conn)
		p.bytes([]byte(s))
		if b, _ := io.ReadAll(p.r); len(b) > 0 {
			t.Errorf("%q was answered with %q", s, b)
		}
		mustEcho(t, other, "alive")
	}
}

func TestOversizedRequestIsRefusedAndTheConnectionLivesOn(t *testing.T) {
	leaktest.Check(t)
	l := listenTCP(t, Config{MaxMessage: 1 << 20, MaxMeta: 4 << 10}, unaries{"Echo": echoUnary}, nil)
	p := dialPeer(t, l)
	p.name(1, "Echo")
	for i, c := range []struct {
		flags byte
		body  string
	}{
		{0, strings.Repeat("x", 1<<20+1)},
		{0, strings.Repeat("x", 10<<20)}, // skipped, not held
		{flagMeta, string(appendMeta(nil, nil, strings.Repeat("m", 4<<10)))},
	} {
		id := uint32(i + 1)
		p.send(header{typ: typeReq, flags: c.flags, codec: 3, call: id, aux: 1}, c.body)
		if h, _ := p.response(id); errors.Code(h.aux) != errors.CodeResourceExhausted || h.flags&flagRefused == 0 {
			t.Errorf("%d bytes: %s, want RESOURCE_EXHAUSTED and REFUSED", len(c.body), describe(h))
		}
	}
	p.send(header{typ: typeReq, codec: 3, call: 9, aux: 1}, strings.Repeat("x", 1<<20))
	if h, body := p.response(9); h.aux != 0 || len(body) != 1<<20 {
		t.Errorf("a request of the limit itself: %s", describe(h))
	}
}

func TestTruncatedFramesEndQuietly(t *testing.T) {
	leaktest.Check(t)
	l := listenTCP(t, Config{}, unaries{"Echo": echoUnary}, nil)
	other := callerOf(t, l, Config{})
	whole := appendFrame(nil, header{typ: typeReq, codec: 3, aux: 1}, strings.Repeat("x", 100))
	large := appendFrame(nil, header{typ: typeReq, codec: 3, aux: 1}, strings.Repeat("x", 100_000))
	for _, b := range [][]byte{whole[:1], whole[:headerLen-1], whole[:headerLen], whole[:headerLen+99], large[:50_000]} {
		p := dialPeer(t, l)
		p.name(1, "Echo")
		p.bytes(b)
		p.conn.(*net.TCPConn).CloseWrite()
		if got := p.closed(); got != "" {
			t.Errorf("%d bytes of a frame: GOAWAY %q", len(b), got)
		}
	}
	mustEcho(t, other, "alive")
}

func TestSlowPeersAreCutOff(t *testing.T) {
	leaktest.Check(t)
	cfg := Config{HelloTimeout: 150 * time.Millisecond, StallTimeout: 150 * time.Millisecond}
	l := listenTCP(t, cfg, unaries{"Echo": echoUnary}, nil)
	dial := func() *peer {
		conn, err := net.Dial("tcp", l.Addr())
		if err != nil {
			t.Fatal(err)
		}
		return newPeer(t, conn)
	}
	for _, c := range []struct {
		name  string
		begin func() *peer
	}{
		{"NoPreamble", dial},
		{"PreambleByteByByte", func() *peer {
			p := dial()
			go func() {
				for _, b := range greeting() {
					if _, err := p.conn.Write([]byte{b}); err != nil {
						return
					}
					<-time.After(30 * time.Millisecond) // each within the stall timeout
				}
			}()
			return p
		}},
		{"FrameBegun", func() *peer {
			p := dialPeer(t, l)
			p.bytes([]byte{1, 2, 3})
			return p
		}},
		{"PayloadBegun", func() *peer {
			p := dialPeer(t, l)
			p.name(1, "Echo")
			p.bytes(appendFrame(nil, header{typ: typeReq, aux: 1}, strings.Repeat("x", 100_000))[:50_000])
			return p
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			began := time.Now()
			c.begin().closed()
			if d := time.Since(began); d < 100*time.Millisecond || d > 5*time.Second {
				t.Errorf("closed after %v", d)
			}
		})
	}
	// A silent connection between frames is not a stall.
	p := dialPeer(t, l)
	p.name(1, "Echo")
	p.send(header{typ: typeReq, codec: 3, call: 1, aux: 1}, "x")
	p.response(1)
	<-time.After(400 * time.Millisecond)
	p.send(header{typ: typeReq, codec: 3, call: 2, aux: 1}, "x")
	p.response(2)
}

func TestHandlerThatNeverReturnsCostsOnlyItsOwnCall(t *testing.T) {
	leaktest.Check(t)
	hold := make(chan struct{})
	begun := make(chan struct{}, 1)
	l := listenTCP(t, Config{}, unaries{"Echo": echoUnary, "Hold": func(context.Context, transport.Body) (transport.Message, error) {
		begun <- struct{}{}
		<-hold
		return raw(nil), nil
	}}, nil)
	defer close(hold)
	c := callerOf(t, l, Config{})
	r := ask("Hold", nil)
	r.Deadline = time.Now().Add(100 * time.Millisecond)
	result := make(chan error, 1)
	go func() {
		_, err := c.Call(context.Background(), r)
		result <- err
	}()
	within(t, begun)
	for range 100 {
		mustEcho(t, c, "meanwhile")
	}
	if err := within(t, result); !stderrors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	mustEcho(t, c, "afterwards")
}

func TestRequestsBeyondMaxHeldAreRefused(t *testing.T) {
	leaktest.Check(t)
	hold := make(chan struct{})
	l := listenTCP(t, Config{MaxMessage: 100_000, MaxHeld: 250_000}, unaries{"Echo": echoUnary, "Hold": func(context.Context, transport.Body) (transport.Message, error) {
		<-hold
		return raw(nil), nil
	}}, nil)
	p := dialPeer(t, l)
	p.name(1, "Hold")
	p.name(2, "Echo")
	for id := range uint32(3) {
		p.send(header{typ: typeReq, codec: 3, call: id, aux: 1}, strings.Repeat("x", 100_000))
	}
	if h, _ := p.response(2); errors.Code(h.aux) != errors.CodeResourceExhausted || h.flags&flagRefused == 0 {
		t.Errorf("got %s", describe(h))
	}
	p.send(header{typ: typeReq, codec: 3, call: 3, aux: 2}, "small")
	p.response(3)
	close(hold)
	for range 2 {
		if h, _ := p.frame(); h.typ != typeRsp || h.call > 1 || h.aux != 0 {
			t.Errorf("got %s", describe(h))
		}
	}
	for id := uint32(4); ; id++ { // what was held is let go with the reply, in a moment
		p.send(header{typ: typeReq, codec: 3, call: id, aux: 2}, strings.Repeat("x", 100_000))
		if h, _ := p.response(id); h.aux == 0 {
			break
		} else if id > 10_000 {
			t.Fatal("what finished calls held is not let go")
		}
	}
}

func TestStreamSenderKeepsItsDeadlineBeforeAStoppedReader(t *testing.T) {
	leaktest.Check(t)
	l := listenTCP(t, Config{}, unaries{"Echo": echoUnary}, func(s transport.Socket) { <-s.Context().Done() })
	c := callerOf(t, l, Config{})
	r := ask("Stream", nil)
	r.Deadline = time.Now().Add(200 * time.Millisecond)
	s, err := c.Open(context.Background(), r)
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	for err == nil {
		err = s.Send(raw(make([]byte, 10_000)))
	}
	if d := time.Since(began); d > 5*time.Second {
		t.Errorf("Send came back after %v", d)
	}
	if err != io.EOF && !stderrors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Send: %v", err)
	}
	if _, err := s.Recv(); !stderrors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Recv: %v", err)
	}
	mustEcho(t, c, "alive")
}
