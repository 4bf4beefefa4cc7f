package wire

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-9a4e2794/micro/transport"
)

// session is what both sides of a connection have in common.
type session struct {
	// inboxes is the sum of the bytes that streams have received and their
	// programs have not taken.
	inboxes atomic.Int64

	conn net.Conn
	cfg  *Config
	peer transport.Peer
	w    writer
	r    reader
	// theirs is what the peer accepts. The reader writes it once, before the
	// session is used by others.
	theirs settings
	// group holds the writer's flusher, and at the caller the reader.
	group sync.WaitGroup

	endOnce sync.Once
	endErr  error
}

// handler is the side that takes a session's frames.
type handler interface {
	// frame takes one frame. payload is valid until it returns, unless own is
	// not nil: then it is own's, and the handler releases it.
	frame(h header, payload []byte, own *buffer) error
	// limit returns the longest payload taken for a frame of this header, and
	// what becomes of longer ones: skipped, or a protocol error.
	limit(h header) (n int, skip bool)
	// skipped tells of a frame whose payload was too long and skipped.
	skipped(h header) error
	// lost is called once when the session has ended, by the goroutine that
	// ended it. No frame is delivered afterwards but for one under way.
	lost(err error)
}

func (s *session) init(conn net.Conn, cfg *Config, protocol string, h handler) {
	s.conn, s.cfg = conn, cfg
	s.peer = transport.Peer{Local: conn.LocalAddr().String(), Remote: conn.RemoteAddr().String(), Protocol: protocol}
	if tc, ok := conn.(interface{ ConnectionState() tls.ConnectionState }); ok {
		state := tc.ConnectionState()
		s.peer.Secure, s.peer.Identity = true, transport.NewIdentity(&state)
	}
	s.r.init(conn, cfg.StallTimeout)
	s.w.init(conn, cfg.StallTimeout, &s.group, func(err error) { s.end(h, fmt.Errorf("write: %w", err)) })
}

// hello queues this side's preamble and SETTINGS, to go with the first frame
// or with flushHello.
func (s *session) hello() {
	s.w.hold(s.cfg.settings().append([]byte(preamble)))
}

// flushHello sends what hello queued.
func (s *session) flushHello() error {
	return s.w.control(&buffer{})
}

// awaitHello reads the peer's preamble and SETTINGS.
func (s *session) awaitHello() error {
	if err := s.r.preamble(); err != nil {
		return err
	}
	if err := s.r.need(headerLen, true); err != nil {
		return err
	}
	h, err := s.r.header()
	if err != nil {
		return err
	}
	if h.typ == typeGoAway && h.length <= maxGoAwayText {
		text, _, err := s.r.payload(int(h.length))
		if err != nil {
			return err
		}
		return fmt.Errorf("the peer went away: %s", text)
	}
	if h.typ != typeSettings || h.length > maxSettings {
		return protocolErrorf("the first frame is of type %d and %d bytes, not SETTINGS", h.typ, h.length)
	}
	p, _, err := s.r.payload(int(h.length))
	if err != nil {
		return err
	}
	s.theirs, err = parseSettings(p)
	return err
}

// read takes frames until the connection ends, and ends the session.
func (s *session) read(h handler) {
	err := s.readFrames(h)
	var broken *protocolError
	if errors.As(err, &broken) {
		s.goAway(goAwayProtocol, broken.text)
	}
	s.end(h, err)
	s.r.drop()
}

func (s *session) readFrames(h handler) error {
	for {
		f, err := s.r.header()
		if err != nil {
			return err
		}
		limit, skip := h.limit(f)
		if int64(f.length) > int64(limit) {
			if !skip || int64(f.length) > skipFactor*int64(limit) {
				return protocolErrorf("frame of type %d with %d bytes, more than %d", f.typ, f.length, limit)
			}
			if err := s.r.skip(int(f.length)); err != nil {
				return err
			}
			if err := h.skipped(f); err != nil {
				return err
			}
			continue
		}
		payload, own, err := s.r.payload(int(f.length))
		if err != nil {
			return err
		}
		if err := s.common(h, f, payload, own); err != nil {
			return err
		}
	}
}

// common handles the frames that mean the same on both sides.
func (s *session) common(h handler, f header, payload []byte, own *buffer) error {
	switch f.typ {
	case typePing:
		if f.flags&flagAck == 0 {
			return s.control(header{typ: typePing, flags: flagAck, aux: f.aux})
		}
		return nil
	case typeSettings:
		return protocolErrorf("SETTINGS came a second time")
	}
	if f.typ >= typeIgnorable {
		if own != nil {
			own.Release()
		}
		return nil
	}
	return h.frame(f, payload, own)
}

// control sends a frame without a payload.
func (s *session) control(h header) error {
	b := newBuffer(headerLen)
	b.b = b.b[:headerLen]
	h.put(b.b)
	return s.w.control(b)
}

// goAway sends a GOAWAY. That it may not arrive does not matter: the end of
// the connection follows.
func (s *session) goAway(code uint32, text string) {
	text = text[:min(len(text), maxGoAwayText)]
	b := newBuffer(headerLen + len(text))
	b.b = appendFrame(b.b, header{typ: typeGoAway, aux: code}, text)
	if s.w.control(b) == nil && code != goAwayDrain {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		s.w.settled(ctx)
		cancel()
	}
}

// end ends the session once: the connection is closed and the handler told.
func (s *session) end(h handler, err error) {
	s.endOnce.Do(func() {
		s.endErr = err
		s.w.stop(err)
		s.conn.Close() // the session has ended whatever this says
		h.lost(err)
	})
}

// parseNameStrings reads a uvarint string followed by a string: a NAME's payload
// after its flags.
func parseNameStrings(b []byte) (service, endpoint string, err error) {
	n, k := binary.Uvarint(b)
	if k <= 0 || n > uint64(len(b)-k) {
		return "", "", protocolErrorf("a NAME whose service name does not end")
	}
	b = b[k:]
	return string(b[:n]), string(b[n:]), nil
}
