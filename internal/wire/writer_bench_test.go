//go:build unix

package wire

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// BenchmarkWriter compares two ways to combine frames into few writes: the
// writer of this package, where the first sender writes for all, and a
// goroutine that writes and is kicked over a channel. Senders play ping-pong
// over a TCP connection on the loopback: each frame goes to a goroutine of the
// other side, as calls go to workers, which sends it back through a writer of
// the same kind. docs/design.md has the figures.
func BenchmarkWriter(b *testing.B) {
	for _, kind := range []struct {
		name string
		make func(conn net.Conn, senders int, group *sync.WaitGroup) frameSender
	}{
		{"leader", func(conn net.Conn, senders int, group *sync.WaitGroup) frameSender {
			w := &writer{}
			w.calls.Store(int32(senders))
			w.init(conn, time.Minute, group, func(error) { conn.Close() })
			return w
		}},
		{"flusher", newFlusher},
		{"yielding-flusher", func(conn net.Conn, senders int, group *sync.WaitGroup) frameSender {
			w := newFlusher(conn, senders, group).(*flusher)
			w.yields.Store(senders >= yieldFrom)
			return w
		}},
	} {
		for _, senders := range []int{1, 64, 512} {
			b.Run(fmt.Sprintf("%s/senders=%d", kind.name, senders), func(b *testing.B) {
				benchmarkWriter(b, senders, kind.make)
			})
		}
	}
}

// frameSender is what the two have in common.
type frameSender interface {
	send(ctx context.Context, deadline time.Time, b *buffer) error
	stop(err error) bool
}

var errOver = errors.New("the benchmark is over")

func benchmarkWriter(b *testing.B, senders int, newSender func(net.Conn, int, *sync.WaitGroup) frameSender) {
	const payload = 600
	near, far := loopbackPair(b)
	var group sync.WaitGroup
	nearW, farW := newSender(near, senders, &group), newSender(far, senders, &group)
	send := func(w frameSender, index uint32) error {
		f := newBuffer(headerLen + payload)
		f.b = f.b[:headerLen+payload]
		header{typ: typeReq, length: payload, aux: index}.put(f.b)
		return w.send(context.Background(), time.Time{}, f)
	}
	// A channel a sender on each side; the reader of a side fills them.
	channels := func() []chan struct{} {
		c := make([]chan struct{}, senders)
		for i := range c {
			c[i] = make(chan struct{}, 1)
		}
		return c
	}
	pings, pongs := channels(), channels()
	read := func(conn net.Conn, to []chan struct{}) {
		var r reader
		r.init(conn, time.Minute)
		defer r.drop()
		for {
			h, err := r.header()
			if err == nil {
				_, _, err = r.payload(int(h.length))
			}
			if err != nil {
				for _, c := range to {
					close(c)
				}
				return
			}
			to[h.aux] <- struct{}{}
		}
	}
	group.Go(func() { read(far, pings) })
	group.Go(func() { read(near, pongs) })
	for i := range pings {
		group.Go(func() {
			for range pings[i] {
				if err := send(farW, uint32(i)); err != nil {
					return // the near side sees the connection end
				}
			}
		})
	}

	var left atomic.Int64
	left.Store(int64(b.N))
	var pingers sync.WaitGroup
	cpu := processTime(b)
	b.ResetTimer()
	for i := range pongs {
		pingers.Go(func() {
			for left.Add(-1) >= 0 {
				if err := send(nearW, uint32(i)); err != nil {
					b.Error(err)
					return
				}
				if _, ok := <-pongs[i]; !ok {
					b.Error("the connection ended")
					return
				}
			}
		})
	}
	pingers.Wait()
	b.StopTimer()
	b.ReportMetric(float64(processTime(b)-cpu)/float64(b.N), "cpu-ns/op")

	nearW.stop(errOver)
	farW.stop(errOver)
	near.Close()
	far.Close()
	group.Wait()
}

// processTime returns the CPU time of this process.
func processTime(b *testing.B) time.Duration {
	b.Helper()
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		b.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// loopbackPair returns the ends of a TCP connection.
func loopbackPair(b *testing.B) (near, far net.Conn) {
	b.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer ln.Close()
	if near, err = net.Dial("tcp", ln.Addr().String()); err != nil {
		b.Fatal(err)
	}
	if far, err = ln.Accept(); err != nil {
		b.Fatal(err)
	}
	return near, far
}

// flusher is the writer that was not chosen: senders append to a buffer and
// kick a goroutine that lives as long as the connection and does all writing.
// Unlike the client of NATS, whose scheme it is, it does not hold the lock
// while it writes.
type flusher struct {
	conn net.Conn
	kick chan struct{}
	// yields lets others who can run add their frames first, as the leader does.
	yields atomic.Bool

	mu         sync.Mutex
	room       sync.Cond
	buf, spare []byte
	err        error
}

func newFlusher(conn net.Conn, _ int, group *sync.WaitGroup) frameSender {
	w := &flusher{conn: conn, kick: make(chan struct{}, 1)}
	w.room.L = &w.mu
	group.Go(w.run)
	return w
}

func (w *flusher) send(_ context.Context, _ time.Time, b *buffer) error {
	w.mu.Lock()
	for len(w.buf) >= maxPending && w.err == nil {
		w.room.Wait()
	}
	err := w.err
	if err == nil {
		w.buf = append(w.buf, b.b...)
	}
	w.mu.Unlock()
	b.Release()
	select {
	case w.kick <- struct{}{}:
	default: // it has been kicked and has not looked yet
	}
	return err
}

func (w *flusher) run() {
	for range w.kick {
		if w.yields.Load() {
			runtime.Gosched()
		}
		w.mu.Lock()
		if w.err != nil {
			w.mu.Unlock()
			return
		}
		out := w.buf
		w.buf, w.spare = w.spare[:0], nil
		w.room.Broadcast()
		w.mu.Unlock()
		if len(out) == 0 {
			continue
		}
		_, err := w.conn.Write(out)
		w.mu.Lock()
		w.spare = out // of any size: the comparison is not about memory
		w.mu.Unlock()
		if err != nil {
			w.stop(err)
			return
		}
	}
}

func (w *flusher) stop(err error) bool {
	w.mu.Lock()
	first := w.err == nil
	if first {
		w.err = err
	}
	w.room.Broadcast()
	w.mu.Unlock()
	signal(w.kick)
	return first
}
