//go:build !race

package wire

import (
	"context"
	"net"
	"runtime"
	"testing"

	"github.com/seed-9a4e2794/micro/transport"
)

// TestCallAllocatesAtMostOnce has a canned peer that allocates nothing answer
// unary calls of raw bytes.
func TestCallAllocatesAtMostOnce(t *testing.T) {
	near, far := unixPair(t)
	p := newPeer(t, far)
	p.bytes(greeting())
	c := newCaller(t, near, Config{})
	p.greeted()
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 4096)
		reply := appendFrame(nil, header{typ: typeRsp, codec: 3}, "reply")
		for have := 0; ; {
			n, err := p.conn.Read(buf[have:])
			if err != nil {
				return
			}
			have += n
			for have >= headerLen {
				h := parseHeader(buf)
				n := headerLen + int(h.length)
				if have < n {
					break
				}
				if have = copy(buf, buf[n:have]); h.typ != typeReq {
					continue
				}
				header{typ: typeRsp, codec: 3, call: h.call, length: 5}.put(reply)
				if _, err := p.conn.Write(reply); err != nil {
					return
				}
			}
		}
	}()
	p.r = nil // the goroutine reads
	r := ask("Echo", nil)
	r.Message.Value = &[]byte{'x'} // a pointer: boxing it allocates nothing
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	call := func() {
		rsp, err := c.Call(ctx, r)
		if err != nil || len(rsp.Body.Data) != 5 {
			t.Errorf("got %q, %v", rsp.Body.Data, err)
			return
		}
		rsp.Body.Release()
	}
	n := measure(call)
	t.Logf("%.2f allocations a call at the caller", n)
	if n > 1 {
		t.Errorf("a call allocates %.2f times, want at most once", n)
	}
	c.Close()
	<-done
}

// TestServingAllocatesOnce sends canned requests: all that a listener allocates
// for one is the call, which is the handler's context.
func TestServingAllocatesOnce(t *testing.T) {
	answer := []byte("reply")
	m := transport.Message{Value: &answer, Codec: raw(nil).Codec}
	l := listenTCP(t, Config{}, unaries{"Echo": func(context.Context, transport.Body) (transport.Message, error) { return m, nil }}, nil)
	p := dialPeer(t, l)
	p.name(1, "Echo")
	meta := string(appendMeta(appendTimeout(nil, 1e12), nil, "")) // the caller's usual sections
	frame := appendFrame(nil, header{typ: typeReq, flags: flagTimeout | flagMeta, codec: 3, aux: 1}, meta+"request")
	buf := make([]byte, headerLen+len(answer))
	gen := uint32(0)
	call := func() {
		gen++
		h := parseHeader(frame)
		h.call = gen << 16
		h.put(frame)
		if _, err := p.conn.Write(frame); err != nil {
			t.Error(err)
			return
		}
		for have := 0; have < len(buf); {
			n, err := p.conn.(*net.TCPConn).Read(buf[have:])
			if err != nil {
				t.Error(err)
				return
			}
			have += n
		}
	}
	n := measure(call)
	t.Logf("%.2f allocations a call at the listener", n)
	if n > 1 {
		t.Errorf("serving a call allocates %.2f times, want once", n)
	}
}

// measure returns how often f allocates, in all goroutines, once the pools are
// full. Other than testing.AllocsPerRun it leaves GOMAXPROCS as it is.
func measure(f func()) float64 {
	const runs = 2000
	for range 200 {
		f()
	}
	best := 1e9
	for range 3 { // a collection in between empties the pools
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range runs {
			f()
		}
		runtime.ReadMemStats(&after)
		best = min(best, float64(after.Mallocs-before.Mallocs)/runs)
	}
	return float64(int(best*100)) / 100 // the runtime itself allocates a little now and then
}
