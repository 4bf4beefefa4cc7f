package http

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"
)

// watched is a connection of a caller. It sees what net/http does not tell: that
// the peer speaks HTTP/2 at all, that it is going away, that it is silent, and
// that the connection has ended.
type watched struct {
	net.Conn
	frames *frames // nil over HTTP/1.1

	begun   chan struct{} // closed when the first frame's head has come, or something else
	refused error         // why that is no HTTP/2; set before begun is closed
	ended   chan struct{} // closed when the connection has ended

	reading sync.Mutex // held by who reads
	read    atomic.Int64
	away    atomic.Pointer[string] // why the peer takes no more calls

	mu   sync.Mutex
	err  error // why it has ended
	over bool
	tell []func()
}

func newWatched(conn net.Conn, http2 bool) *watched {
	w := &watched{Conn: conn, begun: make(chan struct{}), ended: make(chan struct{})}
	if http2 {
		w.frames = new(frames)
	}
	return w
}

// Read implements net.Conn. It has one caller at a time.
func (w *watched) Read(p []byte) (int, error) {
	w.reading.Lock()
	defer w.reading.Unlock()
	n, err := w.Conn.Read(p)
	if n > 0 {
		w.read.Add(int64(n))
		if w.frames != nil {
			w.scan(p[:n])
		}
	}
	if err != nil {
		w.end(err)
	}
	return n, err
}

// scan looks at what the peer sends.
func (w *watched) scan(p []byte) {
	f := w.frames
	first := !f.settled
	f.next(p)
	if first && f.settled {
		if f.first[3] != frameSettings {
			w.refused = &otherProtocol{first: f.first[:]}
		}
		close(w.begun)
	}
	if text, ok := f.goAway(); ok && w.away.Load() == nil {
		w.away.Store(&text)
	}
}

// closePatience is how long TLS may take to say goodbye.
const closePatience = 250 * time.Millisecond

// Close implements net.Conn. It may be called more than once.
func (w *watched) Close() error {
	w.end(net.ErrClosed)
	if c, ok := w.Conn.(interface{ NetConn() net.Conn }); ok {
		defer time.AfterFunc(closePatience, func() { c.NetConn().Close() }).Stop()
	}
	return w.Conn.Close()
}

// wait waits until nobody reads a connection that has been closed.
func (w *watched) wait() {
	w.reading.Lock()
	defer w.reading.Unlock()
}

// end notes that the connection has ended.
func (w *watched) end(err error) {
	if errors.Is(err, io.EOF) {
		err = errors.New("the peer closed it")
	}
	w.mu.Lock()
	if w.over {
		w.mu.Unlock()
		return
	}
	w.over, w.err = true, err
	tell := w.tell
	close(w.ended)
	w.mu.Unlock()
	for _, f := range tell {
		f()
	}
}

// onEnd has f called when the connection has ended.
func (w *watched) onEnd(f func()) {
	w.mu.Lock()
	over := w.over
	if !over {
		w.tell = append(w.tell, f)
	}
	w.mu.Unlock()
	if over {
		f()
	}
}

// cause returns why the connection has ended, nil while it has not.
func (w *watched) cause() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// The layout of HTTP/2's frames: RFC 9113 §4.1, §6.5, §6.8.
const (
	frameHead     = 9
	frameSettings = 4
	frameGoAway   = 7
	// maxGoAway is how much of a GOAWAY is kept: the last stream, the code, and
	// some text.
	maxGoAway = 8 + 120
)

// frames follows the frames of HTTP/2 in what a peer sends, in whatever
// portions that comes.
type frames struct {
	settled bool // the first head is complete
	first   [frameHead]byte
	kind    byte // of the frame that is being read
	got     int  // bytes of its head
	left    int  // bytes of its payload that have not come
	head    [frameHead]byte
	last    []byte // of a GOAWAY
	done    bool   // the GOAWAY is complete
}

// next takes the next portion.
func (f *frames) next(p []byte) {
	for len(p) > 0 {
		if f.left == 0 {
			n := copy(f.head[f.got:], p)
			p = p[n:]
			if f.got += n; f.got < frameHead {
				return
			}
			if !f.settled {
				f.settled, f.first = true, f.head
			}
			f.got, f.kind = 0, f.head[3]
			f.left = int(f.head[0])<<16 | int(f.head[1])<<8 | int(f.head[2])
			continue
		}
		n := min(f.left, len(p))
		if f.kind == frameGoAway && !f.done {
			f.last = append(f.last, p[:min(n, maxGoAway-len(f.last))]...)
			f.done = n == f.left
		}
		f.left -= n
		p = p[n:]
	}
}

// goAway reports whether the peer is going away, and what it said.
func (f *frames) goAway() (string, bool) {
	if !f.done {
		return "", false
	}
	if len(f.last) < 8 { // net/http ends the connection
		return "the peer is going away", true
	}
	code := uint32(f.last[4])<<24 | uint32(f.last[5])<<16 | uint32(f.last[6])<<8 | uint32(f.last[7])
	if code == 0 && len(f.last) == 8 {
		return "the peer is going away", true
	}
	text := strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return -1
	}, strings.ToValidUTF8(string(f.last[8:]), ""))
	return fmt.Sprintf("the peer is going away: code %d %s", code, text), true
}
