package wire

import (
	"bytes"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"syscall"
	"time"
)

// readBuffer is how much is read at once. Frames that fit are handed on in
// place, larger ones in a buffer of their own.
const readBuffer = 16 << 10

// reader reads frames from a connection. One goroutine uses it.
type reader struct {
	conn  net.Conn
	raw   syscall.RawConn // nil: read with waiting
	stall time.Duration
	began time.Time // of the last read that brought something

	// heard says that bytes have come since it was last set to false.
	heard atomic.Bool

	buf        *buffer // nil while the connection is idle
	start, end int     // what is unread in buf
	timed      bool    // a read deadline is set

	n      int // of the read under way
	err    error
	readFn func(fd uintptr) bool
}

func (r *reader) init(conn net.Conn, stall time.Duration) {
	r.conn, r.stall = conn, stall
	if r.raw = rawConn(conn); r.raw != nil {
		r.readFn = r.tryRead
	}
}

// preload gives the reader what has been read from the connection before.
func (r *reader) preload(b []byte) {
	if len(b) == 0 {
		return
	}
	r.buf = newBuffer(readBuffer)
	r.buf.b = r.buf.b[:cap(r.buf.b)]
	r.end = copy(r.buf.b, b)
}

// drop gives the buffer back.
func (r *reader) drop() {
	if r.buf != nil {
		r.buf.Release()
		r.buf, r.start, r.end = nil, 0, 0
	}
}

// fill reads once more into the buffer. mid says that a frame or the preamble
// has begun, so that the peer may not stop for long.
func (r *reader) fill(mid bool) error {
	if r.buf != nil && r.start > 0 {
		r.end = copy(r.buf.b, r.buf.b[r.start:r.end])
		r.start = 0
	}
	if mid {
		if err := r.conn.SetReadDeadline(time.Now().Add(r.stall)); err != nil {
			return err
		}
		r.timed = true
	} else if r.timed {
		if err := r.conn.SetReadDeadline(time.Time{}); err != nil {
			return err
		}
		r.timed = false
	}
	if r.raw == nil {
		if r.buf == nil {
			r.buf = newBuffer(readBuffer)
			r.buf.b = r.buf.b[:cap(r.buf.b)]
		}
		r.n, r.err = r.conn.Read(r.buf.b[r.end:])
		if r.n > 0 {
			r.err = nil
		}
	} else if err := r.raw.Read(r.readFn); err != nil {
		return err
	}
	if r.n > 0 && !r.heard.Load() {
		r.heard.Store(true)
	}
	r.end += r.n
	r.n = 0
	r.began = time.Now()
	return r.err
}

// need makes at least n bytes available in the buffer.
func (r *reader) need(n int, mid bool) error {
	for r.end-r.start < n {
		if err := r.fill(mid || r.end > r.start); err != nil {
			if err == io.EOF && (mid || r.end > r.start) {
				return io.ErrUnexpectedEOF
			}
			return err
		}
	}
	return nil
}

// preamble reads and checks the peer's preamble.
func (r *reader) preamble() error {
	for n := 1; n <= len(preamble); n++ { // byte by byte: a peer that speaks otherwise may send fewer
		if err := r.need(n, true); err != nil {
			return err
		}
		if got := r.buf.b[r.start : r.start+n]; got[n-1] != preamble[n-1] {
			if n == 7 {
				return errVersion
			}
			return protocolErrorf("the peer does not speak the native wire%s: it began with %q", otherwise(r.buf.b[r.start:r.end]), r.buf.b[r.start:min(r.end, r.start+32)])
		}
	}
	r.start += len(preamble)
	return nil
}

// otherwise says what a peer speaks instead, when that can be told from its
// first bytes.
func otherwise(b []byte) string {
	switch {
	case len(b) >= 4 && b[0] == 0 && b[3] == 4: // a SETTINGS frame, RFC 9113 §4.1
		return " but HTTP/2 (for gRPC choose the protocol grpc)"
	case bytes.HasPrefix(b, []byte("HTTP/")):
		return " but HTTP"
	}
	return ""
}

var errVersion = errors.New("the peer speaks another version of the native wire")

// header reads the next frame's header.
func (r *reader) header() (header, error) {
	if err := r.need(headerLen, false); err != nil {
		return header{}, err
	}
	h := parseHeader(r.buf.b[r.start:])
	r.start += headerLen
	return h, h.check()
}

// payload reads n bytes. When they fit the read buffer the result is part of
// it, valid until the next read, and own is nil; otherwise the result is own's.
func (r *reader) payload(n int) (p []byte, own *buffer, err error) {
	if n == 0 {
		return nil, nil, nil
	}
	if n <= len(r.buf.b) { // there is a buffer: a header was in it
		if err := r.need(n, true); err != nil {
			return nil, nil, err
		}
		p = r.buf.b[r.start : r.start+n]
		r.start += n
		return p, nil, nil
	}
	own = newBuffer(n)
	own.b = own.b[:n]
	have := copy(own.b, r.buf.b[r.start:r.end])
	r.start += have
	for have < n {
		if err := r.conn.SetReadDeadline(time.Now().Add(r.stall)); err != nil {
			own.Release()
			return nil, nil, err
		}
		r.timed = true
		m, err := r.conn.Read(own.b[have:])
		have += m
		r.heard.Store(true)
		if err != nil && have < n {
			own.Release()
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return nil, nil, err
		}
	}
	return own.b, own, nil
}

// skip reads n bytes and forgets them.
func (r *reader) skip(n int) error {
	for n > 0 {
		if r.start == r.end {
			if err := r.need(1, true); err != nil {
				return err
			}
		}
		m := min(n, r.end-r.start)
		r.start += m
		n -= m
	}
	return nil
}
