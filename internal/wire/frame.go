// Package wire is the engine of the native wire: it speaks the protocol of
// docs/protocol.md over any net.Conn. The tcp and memory transports bring the
// connections.
//
// A session owns one connection: a goroutine that reads, and a writer that has
// none as long as the socket takes what it is given. The caller's side is a
// [Caller], the listener's a [Listener].
package wire

import (
	"encoding/binary"
	"fmt"
)

const preamble = "\xA7micro\x01\n"

// headerLen is the length of a frame's header.
const headerLen = 16

// Frame types.
const (
	typeSettings = 1
	typeName     = 2
	typeReq      = 3
	typeRsp      = 4
	typeOpen     = 5
	typeHead     = 6
	typeData     = 7
	typeEnd      = 8
	typeCancel   = 9
	typeWindow   = 10
	typePing     = 11
	typeGoAway   = 12

	typeIgnorable = 128
)

// Frame flags.
const (
	flagTimeout = 0x01
	flagMeta    = 0x02
	flagTrailer = 0x04
	flagMore    = 0x08
	flagEmpty   = 0x10
	flagRefused = 0x20
	flagAck     = 0x40
)

// allowedFlags says which flags a type may carry.
var allowedFlags = [...]byte{
	typeReq:    flagTimeout | flagMeta,
	typeOpen:   flagTimeout | flagMeta,
	typeHead:   flagMeta,
	typeRsp:    flagMeta | flagTrailer | flagEmpty | flagRefused,
	typeData:   flagMore,
	typePing:   flagAck,
	typeGoAway: 0,
}

// Setting keys.
const (
	setMaxMessage = 1
	setMaxCalls   = 2
	setWindow     = 3
	setMaxMeta    = 4
)

// GOAWAY codes.
const (
	goAwayDrain    = 0
	goAwayProtocol = 1
	goAwayVersion  = 2
	goAwayIdle     = 3
)

const (
	maxNames       = 4096     // names of one connection
	maxNameLen     = 1 << 10  // bytes of a NAME's payload
	maxGoAwayText  = 1 << 10  // bytes of a GOAWAY's text
	maxSettings    = 1 << 10  // bytes of a SETTINGS' payload
	maxSlots       = 1 << 16  // slots that an id can name
	quantum        = 16 << 10 // bytes of payload of one DATA frame
	skipFactor     = 16       // a body this many times too large is not skipped but an error
	maxCredit      = 1 << 30  // bytes of a stream that may be on their way
	sectionLen     = 4        // bytes of a timeout and of the length of a metadata section
	assumedCalls   = 1024     // MAX_CALLS before SETTINGS has come
	assumedMessage = 4 << 20
	assumedWindow  = 64 << 10
	assumedMeta    = 64 << 10
)

// header is the header of a frame.
type header struct {
	length uint32
	typ    byte
	flags  byte
	codec  byte
	call   uint32
	aux    uint32
}

// parseHeader reads a header from b, which holds at least headerLen bytes.
func parseHeader(b []byte) header {
	_ = b[headerLen-1]
	return header{
		length: binary.LittleEndian.Uint32(b),
		typ:    b[4],
		flags:  b[5],
		codec:  b[6],
		call:   binary.LittleEndian.Uint32(b[8:]),
		aux:    binary.LittleEndian.Uint32(b[12:]),
	}
}

// put writes h over the first headerLen bytes of b.
func (h header) put(b []byte) {
	_ = b[headerLen-1]
	binary.LittleEndian.PutUint32(b, h.length)
	b[4], b[5], b[6], b[7] = h.typ, h.flags, h.codec, 0
	binary.LittleEndian.PutUint32(b[8:], h.call)
	binary.LittleEndian.PutUint32(b[12:], h.aux)
}

// appendFrame appends a whole frame to dst.
func appendFrame(dst []byte, h header, payload string) []byte {
	h.length = uint32(len(payload))
	n := len(dst)
	dst = append(dst, make([]byte, headerLen)...)
	h.put(dst[n:])
	return append(dst, payload...)
}

// check finds what is wrong with a header whatever its payload.
func (h header) check() error {
	if h.typ >= typeIgnorable {
		return nil
	}
	if h.typ == 0 || h.typ > typeGoAway {
		return protocolErrorf("frame of unknown type %d", h.typ)
	}
	allowed := byte(0)
	if int(h.typ) < len(allowedFlags) {
		allowed = allowedFlags[h.typ]
	}
	if h.flags&^allowed != 0 {
		return protocolErrorf("frame of type %d has flags %#x that it cannot have", h.typ, h.flags&^allowed)
	}
	return nil
}

// protocolError is an error of the peer against docs/protocol.md; the
// connection ends with it.
type protocolError struct{ text string }

func (e *protocolError) Error() string { return "protocol error: " + e.text }

func protocolErrorf(format string, a ...any) error {
	return &protocolError{fmt.Sprintf(format, a...)}
}

// settings is what a side accepts.
type settings struct {
	maxMessage, maxCalls, window, maxMeta uint32
}

// assumed is what a peer accepts before its SETTINGS has come.
var assumed = settings{assumedMessage, assumedCalls, assumedWindow, assumedMeta}

func (s settings) append(dst []byte) []byte {
	n := len(dst)
	dst = append(dst, make([]byte, headerLen)...)
	for _, e := range [...]struct {
		key uint16
		val uint32
	}{{setMaxMessage, s.maxMessage}, {setMaxCalls, s.maxCalls}, {setWindow, s.window}, {setMaxMeta, s.maxMeta}} {
		dst = binary.LittleEndian.AppendUint16(dst, e.key)
		dst = binary.LittleEndian.AppendUint32(dst, e.val)
	}
	header{typ: typeSettings, length: uint32(len(dst) - n - headerLen)}.put(dst[n:])
	return dst
}

func parseSettings(b []byte) (settings, error) {
	s := assumed
	if len(b)%6 != 0 || len(b) > maxSettings {
		return s, protocolErrorf("SETTINGS of %d bytes, not a multiple of six up to %d", len(b), maxSettings)
	}
	for ; len(b) > 0; b = b[6:] {
		v := binary.LittleEndian.Uint32(b[2:])
		switch binary.LittleEndian.Uint16(b) {
		case setMaxMessage:
			s.maxMessage = min(v, maxCredit)
		case setMaxCalls:
			s.maxCalls = min(v, maxSlots)
		case setWindow:
			s.window = min(v, maxCredit)
		case setMaxMeta:
			s.maxMeta = min(v, maxCredit)
		}
	}
	return s, nil
}
