//go:build unix

package wire

import (
	"io"
	"net"
	"syscall"
)

// rawConn returns conn's socket for reads and writes that do not wait, nil if
// conn is not a plain socket.
func rawConn(conn net.Conn) syscall.RawConn {
	switch conn.(type) {
	case *net.TCPConn, *net.UnixConn:
		raw, err := conn.(syscall.Conn).SyscallConn()
		if err == nil {
			return raw
		}
	}
	return nil
}

// try writes w.cur to the socket. It always returns true: it never waits.
func (w *writer) try(fd uintptr) bool {
	for w.wrote < len(w.cur) {
		n, err := syscall.Write(int(fd), w.cur[w.wrote:])
		switch {
		case err == nil && n > 0:
			w.wrote += n
		case err == syscall.EINTR:
		case err == syscall.EAGAIN:
			return true
		case err != nil:
			w.werr = err
			return true
		default:
			w.werr = io.ErrUnexpectedEOF
			return true
		}
		if n > 0 && w.wrote < len(w.cur) {
			return true // a short write: the socket's buffer is full
		}
	}
	return true
}

// tryRead fills the reader's buffer from the socket. Without data it gives an
// empty buffer back before it waits, so that an idle connection has none.
func (r *reader) tryRead(fd uintptr) bool {
	if r.buf == nil {
		r.buf = newBuffer(readBuffer)
		r.buf.b = r.buf.b[:cap(r.buf.b)]
	}
	for {
		n, err := syscall.Read(int(fd), r.buf.b[r.end:])
		switch {
		case err == nil && n > 0:
			r.n, r.err = n, nil
			return true
		case err == syscall.EINTR:
			continue
		case err == syscall.EAGAIN:
			if r.start == r.end {
				r.drop()
			}
			return false
		case err != nil:
			r.n, r.err = 0, err
			return true
		default:
			r.n, r.err = 0, io.EOF
			return true
		}
	}
}
