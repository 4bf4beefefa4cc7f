package wire

import (
	"bytes"
	"context"
	stderrors "errors"
	"fmt"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-9a4e2794/micro/errors"
	"github.com/seed-9a4e2794/micro/internal/leaktest"
	"github.com/seed-9a4e2794/micro/transport"
)

func TestFloodOfGivenUpCallsIsBounded(t *testing.T) {
	leaktest.Check(t)
	const maxCalls = 32
	hold := make(chan struct{})
	var running, most atomic.Int32
	l := listenTCP(t, Config{MaxCalls: maxCalls, MaxStreams: 8}, unaries{"Hold": func(context.Context, transport.Body) (transport.Message, error) {
		n := running.Add(1)
		defer running.Add(-1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		<-hold // whatever the context says
		return raw(nil), nil
	}}, func(transport.Socket) {
		running.Add(1)
		defer running.Add(-1)
		<-hold
	})
	defer eventually(t, "the end of the handlers", func() bool { return running.Load() == 0 })
	defer close(hold)
	p := dialPeer(t, l)
	p.name(1, "Hold")
	p.name(2, "Stream")
	// Calls that are given up while their handlers go on take their places ...
	for id := range uint32(maxCalls) {
		p.send(header{typ: typeReq, call: id, aux: 1}, "")
	}
	eventually(t, "the handlers", func() bool { return running.Load() == maxCalls })
	for id := range uint32(maxCalls) {
		p.send(header{typ: typeCancel, call: id}, "")
	}
	// ... so that no flood of such calls brings more of them.
	const flood = 2000
	go func() {
		for i := range uint32(flood) {
			id := (i+1)<<16 | i%4
			b := appendFrame(nil, header{typ: typeReq + byte(i%2)*2, call: id, aux: 1 + i%2}, "")
			if _, err := p.conn.Write(appendFrame(b, header{typ: typeCancel, call: id}, "")); err != nil {
				return
			}
		}
	}()
	for range flood {
		h, _ := p.frame()
		if h.typ != typeRsp || errors.Code(h.aux) != errors.CodeResourceExhausted || h.flags&flagRefused == 0 {
			t.Fatalf("got %s", describe(h))
		}
	}
	if n := most.Load(); n > maxCalls {
		t.Errorf("%d handlers ran at once, the limit is %d", n, maxCalls)
	}
}

func TestPeerThatPingsAndNeverReadsIsCutOff(t *testing.T) {
	leaktest.Check(t)
	pings := bytes.Repeat(appendFrame(nil, header{typ: typePing}, ""), 4096)
	check := func(t *testing.T, l *Listener, conn net.Conn) {
		conn.SetWriteDeadline(time.Now().Add(wait))
		for {
			if _, err := conn.Write(pings); err != nil {
				var late net.Error
				if stderrors.As(err, &late) && late.Timeout() {
					t.Error("the listener takes PINGs for ever, or neither takes them nor closes")
				}
				break
			}
		}
	}
	cfg := Config{StallTimeout: time.Minute}
	t.Run("Pipe", func(t *testing.T) {
		h := newHall()
		l := listen(t, h, cfg, nil, nil)
		p := newPeer(t, h.dial(t))
		p.bytes(greeting())
		p.greeted()
		check(t, l, p.conn)
	})
	t.Run("TCP", func(t *testing.T) {
		if testing.Short() {
			t.Skip("fills the buffers of a socket, which takes seconds")
		}
		l := listenTCP(t, cfg, unaries{"Echo": echoUnary}, nil)
		other := callerOf(t, l, Config{})
		check(t, l, dialPeer(t, l).conn)
		mustEcho(t, other, "alive")
	})
}

func TestClientThatNeverReadsItsRepliesIsCutOffAndBounded(t *testing.T) {
	leaktest.Check(t)
	const size = 1 << 20
	var running atomic.Int32
	reply := make([]byte, size)
	l := listenTCP(t, Config{StallTimeout: 500 * time.Millisecond}, unaries{"Echo": echoUnary, "Large": func(context.Context, transport.Body) (transport.Message, error) {
		running.Add(1)
		return raw(reply), nil
	}}, nil)
	other := callerOf(t, l, Config{})
	p := dialPeer(t, l)
	p.name(1, "Large")
	base := heap()
	stop := make(chan struct{})
	var most atomic.Uint64
	var group sync.WaitGroup
	group.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(20 * time.Millisecond):
				most.Store(max(most.Load(), heap()))
			}
		}
	})
	began := time.Now()
	p.conn.SetWriteDeadline(time.Now().Add(wait))
	for i := uint32(0); ; i++ { // the same few slots: they are free as soon as a reply is under way
		if _, err := p.conn.Write(appendFrame(nil, header{typ: typeReq, call: i, aux: 1}, "")); err != nil {
			break
		}
		if i == 3000 {
			break
		}
	}
	mustEcho(t, other, "alive")
	eventually(t, "the end of the connection", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return len(l.conns) == 1
	})
	close(stop)
	group.Wait()
	if d := time.Since(began); d > 10*time.Second {
		t.Errorf("closed after %v", d)
	}
	if n := running.Load(); n < 100 {
		t.Errorf("only %d calls were served: the test shows nothing", n)
	}
	grown := (int64(most.Load()) - int64(base)) >> 20
	t.Logf("%d replies of 1 MiB were asked for, the heap grew by %d MiB", running.Load(), grown)
	if grown > 128 {
		t.Errorf("the heap grew by %d MiB", grown)
	}
	mustEcho(t, other, "alive")
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func TestTenThousandCallersOnOneConnectionAllGetAnswers(t *testing.T) {
	leaktest.Check(t)
	l := listenTCP(t, Config{}, unaries{"Echo": echoUnary}, nil)
	c := callerOf(t, l, Config{})
	var group sync.WaitGroup
	var failed atomic.Int32
	for i := range 10_000 {
		group.Go(func() {
			body := fmt.Sprint(i)
			r := ask("Echo", []byte(body))
			r.Deadline = time.Now().Add(time.Minute)
			rsp, err := c.Call(context.Background(), r)
			if err != nil || string(rsp.Body.Data) != body {
				if failed.Add(1) == 1 {
					t.Errorf("call %d: %q, %v", i, rsp.Body.Data, err)
				}
				return
			}
			rsp.Body.Release()
		})
	}
	group.Wait()
	if n := failed.Load(); n > 0 {
		t.Errorf("%d calls failed", n)
	}
}
