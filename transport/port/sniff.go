package port

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/seed-9a4e2794/micro/internal/wire"
	"github.com/seed-9a4e2794/micro/transport/tcp"
)

// sniffed is how much is read before a connection is handed on. Clients of the
// native wire and of HTTP/2 send their first call with their greeting.
const sniffed = 4 << 10

// The first byte of a TLS record of type handshake, RFC 8446 §5.1.
const tlsHandshake = 0x16

// sniff reads the first bytes of a connection and hands it on.
func (l *listener) sniff(conn net.Conn) {
	if err := conn.SetDeadline(time.Now().Add(l.t.cfg.HelloTimeout)); err != nil {
		conn.Close()
		return
	}
	buf := make([]byte, sniffed)
	n, err := conn.Read(buf)
	if n == 0 {
		l.refused(conn, "the peer has sent nothing", err)
		return
	}
	read := buf[:n]
	switch {
	case read[0] != tlsHandshake && l.tls != nil && !l.t.cfg.AllowPlain:
		l.wantsTLS(conn, read)
	case read[0] != tlsHandshake:
		l.plain(conn, conn, read)
	case l.tls == nil:
		// A fatal alert, handshake_failure: RFC 8446 §6. There is no better
		// way to tell a TLS client, which shows the number.
		l.turnAway(conn, []byte{21, 3, 1, 0, 2, 2, 40}, "a TLS client has come to a port without TLS")
	default:
		l.secure(conn, read)
	}
}

// handOn makes a connection ready for an engine. It closes it, and returns
// false, when the listener has closed it already.
func (l *listener) handOn(raw net.Conn) bool {
	if err := raw.SetDeadline(time.Time{}); err != nil || !l.claim(raw) {
		raw.Close()
		return false
	}
	return true
}

// plain hands on a connection without TLS, or within it without ALPN. raw is
// the one that was accepted.
func (l *listener) plain(raw, conn net.Conn, read []byte) {
	switch first := read[0]; {
	case first == wire.FirstByte:
		if l.handOn(raw) {
			l.native.Serve(conn, read)
		}
	case 'A' <= first && first <= 'Z': // a method, or HTTP/2's preface
		if !l.handOn(raw) {
			return
		}
		r := replayed{Conn: conn, read: read}
		if tc, ok := conn.(*tls.Conn); ok {
			l.web.give(&replayedTLS{r, tc})
		} else {
			l.web.give(&r)
		}
	default:
		l.turnAway(conn, nil, "the first byte is of no protocol that is known here")
	}
}

// secure agrees on TLS and hands the connection on.
func (l *listener) secure(conn net.Conn, read []byte) {
	tc := tls.Server(&replayed{Conn: conn, read: read}, l.tls)
	ctx, cancel := context.WithTimeout(context.Background(), l.t.cfg.HelloTimeout)
	defer cancel()
	if err := tc.HandshakeContext(ctx); err != nil {
		l.refused(conn, "TLS handshake failed", err)
		return
	}
	switch tc.ConnectionState().NegotiatedProtocol {
	case tcp.ALPN:
		if l.handOn(conn) {
			l.native.Serve(tc, nil)
		}
	case "":
		buf := make([]byte, sniffed)
		n, err := tc.Read(buf)
		if n == 0 {
			l.refused(tc, "the peer has sent nothing after the TLS handshake", err)
			return
		}
		l.plain(conn, tc, buf[:n])
	default: // h2 and http/1.1, for which net/http needs the connection as it is
		if l.handOn(conn) {
			l.web.give(tc)
		}
	}
}

// wantsTLS answers a client that speaks plain text to a port with TLS, in its
// own protocol.
func (l *listener) wantsTLS(conn net.Conn, read []byte) {
	const why = "this port speaks TLS"
	const page = why + ": use https, or give the client a TLS configuration\n"
	var answer []byte
	switch {
	case read[0] == wire.FirstByte:
		answer = wire.Refusal(why)
	case bytes.HasPrefix(read, []byte("PRI")): // the preface of HTTP/2, RFC 9113 §3.4
		const settings, goAway, inadequateSecurity = 4, 7, 12
		answer = []byte{0, 0, 0, settings, 0, 0, 0, 0, 0, 0, 0, byte(8 + len(why)), goAway, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, inadequateSecurity}
		answer = append(answer, why...)
	default:
		answer = fmt.Appendf(nil, "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", len(page), page)
	}
	l.turnAway(conn, answer, "a client without TLS has come to a port with TLS")
}

// turnAway sends an answer and closes.
func (l *listener) turnAway(conn net.Conn, answer []byte, why string) {
	if len(answer) > 0 {
		_, _ = conn.Write(answer) // the deadline of the sniffing holds; whoever does not take it does not get it
		linger(conn)
	}
	l.refused(conn, why, nil)
}

// linger ends the sending side and reads what is still on its way, so that the
// close does not make the peer's system throw the answer away.
func linger(conn net.Conn) {
	half, ok := conn.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil || conn.SetReadDeadline(time.Now().Add(time.Second)) != nil {
		return
	}
	buf := make([]byte, sniffed)
	for range 64 {
		if _, err := conn.Read(buf); err != nil {
			return
		}
	}
}

// refused closes a connection that is not handed on. Any stranger can make it
// happen, so it is told only to those who look.
func (l *listener) refused(conn net.Conn, why string, err error) {
	l.t.cfg.Logger.Debug("connection refused", "remote", conn.RemoteAddr().String(), "reason", why, "error", err)
	conn.Close()
}

// withProtocols returns a configuration that offers the protocols of the port
// and is no older than TLS 1.2, also where GetConfigForClient brings another.
func withProtocols(cfg *tls.Config) *tls.Config {
	cfg = offering(cfg)
	if inner := cfg.GetConfigForClient; inner != nil {
		cfg.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			own, err := inner(hello)
			if err != nil || own == nil {
				return nil, err
			}
			return offering(own), nil
		}
	}
	return cfg
}

// offering returns a copy of cfg with the protocols of the port before its
// own, and with TLS 1.2 as the least.
func offering(cfg *tls.Config) *tls.Config {
	protocols := []string{tcp.ALPN, "h2", "http/1.1"}
	for _, p := range cfg.NextProtos {
		if !slices.Contains(protocols, p) {
			protocols = append(protocols, p)
		}
	}
	cfg = cfg.Clone()
	cfg.NextProtos = protocols
	cfg.MinVersion = max(cfg.MinVersion, tls.VersionTLS12)
	return cfg
}

// replayed is a connection of which something has been read already.
type replayed struct {
	net.Conn
	read []byte
}

// Read returns what has been read before, then what comes.
func (c *replayed) Read(b []byte) (int, error) {
	if len(c.read) == 0 {
		return c.Conn.Read(b)
	}
	n := copy(b, c.read)
	if c.read = c.read[n:]; len(c.read) == 0 {
		c.read = nil
	}
	return n, nil
}

// replayedTLS tells who is at the other end besides.
type replayedTLS struct {
	replayed
	tls *tls.Conn
}

// ConnectionState returns what TLS has agreed on.
func (c *replayedTLS) ConnectionState() tls.ConnectionState { return c.tls.ConnectionState() }
