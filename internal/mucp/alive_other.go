//go:build !unix

package mucp

import (
	"net"
	"time"
)

// pending looks at what waits to be read from a socket. Here it can be seen
// only by reading for a moment: a byte that came unasked is lost, and with it
// the use of the connection.
func pending(conn net.Conn) (bytes, ended bool) {
	if err := conn.SetReadDeadline(time.Now().Add(time.Millisecond)); err != nil {
		return false, true
	}
	var one [1]byte
	n, err := conn.Read(one[:])
	if ne, ok := err.(net.Error); ok && ne.Timeout() {
		return false, conn.SetReadDeadline(time.Time{}) != nil
	}
	return n > 0, n > 0 || err != nil
}
