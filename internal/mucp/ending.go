package mucp

import (
	"context"
	stderrors "errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"github.com/seed-9a4e2794/micro/transport"
)

const (
	// lingerTime is how long a peer may go on sending to a connection that is
	// about to be closed, so that the answer is not lost with the rest.
	lingerTime = 500 * time.Millisecond
	// lingerBytes is how much.
	lingerBytes = 1 << 20
)

// reject answers what is no request. It reports false when the peer has gone,
// or at least sends no more.
func (c *serverConn) reject(err error) bool {
	status := ""
	if came := c.in.src.err; stderrors.Is(came, os.ErrDeadlineExceeded) || came == errHeader {
		err = came
	}
	switch {
	case stderrors.Is(err, errHeader):
		status = "431 Request Header Fields Too Large"
	case stderrors.Is(err, os.ErrDeadlineExceeded):
		status = "408 Request Timeout"
	case stderrors.Is(err, io.EOF), stderrors.Is(err, io.ErrUnexpectedEOF), stderrors.Is(err, net.ErrClosed), stderrors.Is(err, transport.ErrLost):
		return false
	default:
		status = "400 Bad Request"
	}
	c.s.cfg.Logger.Debug("go-micro's wire: a request was rejected", "remote", c.peer.Remote, "error", err)
	text := clean(err.Error()) + "\n"
	_ = c.write(context.Background(), func(dst []byte) ([]byte, error) { // fails with the connection
		return fmt.Appendf(dst, "HTTP/1.1 %s\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s",
			status, len(text), text), nil
	})
	c.linger()
	return true
}

// linger has the peer read the last answer before the connection is closed:
// closing with bytes unread would take the answer away.
func (c *serverConn) linger() {
	if w, ok := c.conn.(interface{ CloseWrite() error }); ok {
		_ = w.CloseWrite() // fails with the connection
	}
	_ = c.conn.SetReadDeadline(time.Now().Add(lingerTime)) // likewise
	c.in.src.left = lingerBytes
	_, _ = io.Copy(io.Discard, c.in.r) // ends with an error in most cases
}
