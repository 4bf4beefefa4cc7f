package wire

import (
	"context"
	"errors"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// maxPending is how many bytes may wait to be written before senders wait.
	maxPending = 1 << 20
	// maxControl is how many bytes of frames that cannot wait, such as answers
	// to PING, may be pending before they break the connection: the peer sends
	// and does not read.
	maxControl = maxPending
	// largeFrame is the length from which a frame's own buffer is written
	// instead of a copy among the small ones.
	largeFrame = 16 << 10
	// leaderBudget is how much a sender writes for others before the rest goes
	// to a goroutine.
	leaderBudget = 64 << 10
	// yieldBelow: a leader yields once before it writes if less than this is
	// pending and at least yieldFrom calls are under way.
	yieldBelow = 16 << 10
	yieldFrom  = 4
	// yieldWorth is how long a yield may take for each frame that it brings.
	// If it takes longer, what runs meanwhile is not about to send: then a
	// number of leaders write at once, one for each yieldDebt that was lost.
	yieldWorth = 50 * time.Microsecond
	yieldDebt  = 16 * time.Microsecond
	// maxSkip is the most of them, so that a yield is tried again.
	maxSkip = 1 << 10
	// keepList is the longest list of buffers kept for the next batch.
	keepList = 64
	// writeChunk is how much is written under one stall timeout.
	writeChunk = 256 << 10
)

// writer is the sending side of a connection: it combines the frames of many
// senders into few writes, with neither a timer nor a goroutine of its own.
// The first sender to find nobody writing becomes the leader and writes, for
// as long as others go on adding, up to a budget. A leader never waits for the
// socket: what the socket does not take at once goes to a goroutine that the
// connection owns, and so does everything on connections that cannot be
// written without waiting. (Combining by a leader is the scheme of "flat
// combining", Hendler et al., SPAA 2010, with a queue of bytes.)
type writer struct {
	conn  net.Conn
	raw   syscall.RawConn // nil when the connection cannot be written without waiting
	stall time.Duration
	group *sync.WaitGroup // of the session
	lost  func(error)     // told once, without locks, that writing has failed

	// The write under way; only the leader or the flusher touches these.
	cur   []byte
	wrote int
	werr  error
	tryFn func(fd uintptr) bool

	calls atomic.Int32 // calls under way; the session says so

	full atomic.Bool // so much is pending that senders wait; set under mu

	mu    sync.Mutex
	pend  batch
	spare []*buffer     // an empty list for the next batch
	rest  batch         // what the flusher is to write first
	busy  bool          // there is a leader or a flusher
	skip  int           // so many leaders do not yield
	size  int           // bytes of the last batch
	err   error         // why nothing more is written
	space chan struct{} // closed when there is room again; nil when nobody waits
	quiet chan struct{} // closed when all is written; nil when nobody waits
}

func (w *writer) init(conn net.Conn, stall time.Duration, group *sync.WaitGroup, lost func(error)) {
	w.conn, w.stall, w.group, w.lost = conn, stall, group, lost
	if w.raw = rawConn(conn); w.raw != nil {
		w.tryFn = w.try
	}
}

// send sends the frame in b, which it takes over. It waits while too much is
// pending, until ctx ends or the deadline, if not zero, has passed. A nil error
// says that the frame is on its way; with an error it surely has not been sent.
func (w *writer) send(ctx context.Context, deadline time.Time, b *buffer) error {
	w.mu.Lock()
	for w.pend.size >= maxPending && w.err == nil {
		if w.space == nil {
			w.space = make(chan struct{})
		}
		space := w.space
		w.mu.Unlock()
		if err := waitFor(ctx, deadline, space); err != nil {
			b.Release()
			return err
		}
		w.mu.Lock()
	}
	return w.enqueue(b)
}

// control sends a frame that cannot wait.
func (w *writer) control(b *buffer) error {
	w.mu.Lock()
	if w.pend.urgent >= maxControl && w.err == nil {
		w.mu.Unlock()
		b.Release()
		err := errors.New("the peer sends but does not read")
		w.fail(err)
		return err
	}
	w.pend.urgent += len(b.b)
	return w.enqueue(b)
}

// ready waits until a sender would not have to wait, or writing has ended.
func (w *writer) ready() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.pend.size >= maxPending && w.err == nil {
		if w.space == nil {
			w.space = make(chan struct{})
		}
		space := w.space
		w.mu.Unlock()
		<-space
		w.mu.Lock()
	}
	return w.err
}

// working reports whether something is being written or waits for it.
func (w *writer) working() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.busy
}

// enqueue adds a frame and, if nobody writes, writes. It is called with the
// lock held and lets go of it.
func (w *writer) enqueue(b *buffer) error {
	if w.err != nil {
		err := w.err
		w.mu.Unlock()
		b.Release()
		return err
	}
	w.pend.add(b, w.size)
	if w.pend.size >= maxPending {
		w.full.Store(true)
	}
	if w.busy {
		w.mu.Unlock()
		return nil
	}
	w.busy = true
	if w.raw == nil {
		w.handOver()
		w.mu.Unlock()
		return nil
	}
	if w.pend.size < yieldBelow && w.calls.Load() >= yieldFrom {
		if w.skip > 0 {
			w.skip--
		} else {
			w.yield()
		}
	}
	w.lead()
	return nil
}

// yield lets others who can run add their frames before the leader writes.
// Without it most batches are of one frame: whoever is woken by a reply sends
// before the next reply is delivered. It is called with the lock held and busy
// set.
func (w *writer) yield() {
	had := w.pend.frames
	w.mu.Unlock()
	began := time.Now()
	runtime.Gosched()
	took := time.Since(began)
	w.mu.Lock()
	lost := took - time.Duration(w.pend.frames-had)*yieldWorth
	w.skip = int(min(max(lost/yieldDebt, 0), maxSkip))
}

// hold adds frames to be written together with the next one sent.
func (w *writer) hold(frames []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.pend.copy(frames, w.size)
	}
}

// lead writes batch after batch without waiting. It is called with the lock
// held by the one who set busy, and lets go of it.
func (w *writer) lead() {
	budget := leaderBudget
	for {
		b := w.take()
		w.mu.Unlock()
		err := w.writeNow(&b)
		w.mu.Lock()
		if err != nil {
			w.mu.Unlock()
			b.release()
			w.fail(err)
			return
		}
		if b.frames > 0 { // not all of it was taken
			w.rest = b
			w.handOver()
			w.mu.Unlock()
			return
		}
		w.recycle(b)
		if w.pend.frames == 0 || w.err != nil {
			w.rests()
			w.mu.Unlock()
			return
		}
		if budget -= b.size; budget <= 0 {
			w.handOver()
			w.mu.Unlock()
			return
		}
	}
}

// take makes the pending frames the caller's and wakes those who wait for
// space.
func (w *writer) take() batch {
	b := w.pend
	w.size = b.size
	w.pend = batch{bufs: w.spare}
	w.spare = nil
	if w.full.Load() {
		w.full.Store(false)
	}
	if w.space != nil {
		close(w.space)
		w.space = nil
	}
	return b
}

// recycle keeps the list of a batch that has been written.
func (w *writer) recycle(b batch) {
	if w.spare == nil && cap(b.bufs) <= keepList {
		w.spare = b.bufs[:0]
	}
}

// writeNow writes what the socket takes without waiting. What is left of b
// afterwards has not been written; b.frames is 0 when that is nothing.
func (w *writer) writeNow(b *batch) error {
	for b.frames > 0 {
		part := b.next()
		n, err := w.tryWrite(part)
		if err != nil {
			return err
		}
		b.advance(n)
		if n < len(part) {
			return nil
		}
	}
	return nil
}

// tryWrite writes what the socket takes at once, perhaps nothing.
func (w *writer) tryWrite(p []byte) (int, error) {
	w.cur, w.wrote, w.werr = p, 0, nil
	err := w.raw.Write(w.tryFn)
	w.cur = nil
	if w.werr != nil {
		err = w.werr
	}
	return w.wrote, err
}

// handOver starts the goroutine that writes and waits. The lock is held and
// busy is set; busy stays set until that goroutine has nothing left.
func (w *writer) handOver() {
	if w.err != nil { // the session may be waiting for its last goroutine
		w.rest.release()
		w.rests()
		return
	}
	w.group.Go(w.flush)
}

func (w *writer) flush() {
	w.mu.Lock()
	b := w.rest
	w.rest = batch{}
	for {
		if w.err != nil {
			break
		}
		if b.frames == 0 {
			if w.pend.frames == 0 {
				break
			}
			b = w.take()
		}
		w.mu.Unlock()
		err := w.writeAll(&b)
		if err != nil {
			b.release()
			w.fail(err)
			return
		}
		w.mu.Lock()
		w.recycle(b)
		b = batch{}
	}
	w.rests()
	w.mu.Unlock()
	b.release()
}

// rests says that nobody writes any more. The lock is held.
func (w *writer) rests() {
	w.busy = false
	if w.quiet != nil {
		close(w.quiet)
		w.quiet = nil
	}
}

// writeAll writes all of b, a piece at a time, each under the stall timeout.
func (w *writer) writeAll(b *batch) error {
	for b.frames > 0 {
		part := b.next()
		if len(part) > writeChunk {
			part = part[:writeChunk]
		}
		if err := w.conn.SetWriteDeadline(time.Now().Add(w.stall)); err != nil {
			return err
		}
		n, err := w.conn.Write(part)
		b.advance(n)
		if err != nil && (n == 0 || !errors.Is(err, os.ErrDeadlineExceeded)) {
			return err
		}
	}
	return w.conn.SetWriteDeadline(time.Time{})
}

// fail ends the writer and tells the session.
func (w *writer) fail(err error) {
	if w.stop(err) {
		w.lost(err)
	}
}

// stop ends the writer: everything pending is dropped and everyone who waits
// is told. It reports whether it was the first to do so.
func (w *writer) stop(err error) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return false
	}
	w.err = err
	w.pend.release()
	w.rest.release()
	w.spare = nil
	if w.space != nil {
		close(w.space)
		w.space = nil
	}
	w.rests()
	return true
}

// settled waits, until ctx ends, for all that was sent to be written.
func (w *writer) settled(ctx context.Context) {
	w.mu.Lock()
	if w.err != nil || (!w.busy && w.pend.frames == 0) {
		w.mu.Unlock()
		return
	}
	if w.quiet == nil {
		w.quiet = make(chan struct{})
	}
	quiet := w.quiet
	w.mu.Unlock()
	select {
	case <-quiet:
	case <-ctx.Done():
	}
}

// waitFor waits for ready, for ctx, or for the deadline if it is not zero.
func waitFor(ctx context.Context, deadline time.Time, ready <-chan struct{}) error {
	var late <-chan time.Time
	if !deadline.IsZero() {
		t := time.NewTimer(time.Until(deadline))
		defer t.Stop()
		late = t.C
	}
	select {
	case <-ready:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-late:
		return context.DeadlineExceeded
	}
}
