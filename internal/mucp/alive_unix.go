//go:build unix

package mucp

import (
	"net"
	"syscall"
)

// pending looks at what waits to be read from a socket, without reading and
// without waiting: some bytes, the peer's end, or nothing.
func pending(conn net.Conn) (bytes, ended bool) {
	sc, ok := conn.(syscall.Conn)
	if !ok {
		return false, false
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return false, true
	}
	err = raw.Control(func(fd uintptr) {
		var one [1]byte
		for {
			n, _, err := syscall.Recvfrom(int(fd), one[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
			switch {
			case err == syscall.EINTR:
				continue
			case err == syscall.EAGAIN:
			case err != nil || n == 0:
				ended = true
			default:
				bytes = true
			}
			return
		}
	})
	return bytes, ended || err != nil
}
