package wire

import (
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// line is one line of a conversation under testdata: bytes of one direction,
// or something that a side does of itself.
type line struct {
	dir   byte   // '>' from the caller, '<' from the listener, '!' done by the listener
	note  string // what the bytes mean, or what is done
	bytes []byte
}

var typeNames = map[byte]string{typeSettings: "SETTINGS", typeName: "NAME", typeReq: "REQ", typeRsp: "RSP", typeOpen: "OPEN",
	typeHead: "HEAD", typeData: "DATA", typeEnd: "END", typeCancel: "CANCEL", typeWindow: "WINDOW", typePing: "PING", typeGoAway: "GOAWAY"}

var flagNames = []string{"TIMEOUT", "META", "TRAILER", "MORE", "EMPTY", "REFUSED", "ACK"}

// describe says what a frame's header holds.
func describe(h header) string {
	name := typeNames[h.typ]
	if name == "" {
		name = fmt.Sprintf("type %d", h.typ)
	}
	s := fmt.Sprintf("%s length=%d call=%#x aux=%d", name, h.length, h.call, h.aux)
	if h.codec != 0 {
		s += fmt.Sprintf(" codec=%d", h.codec)
	}
	for i, f := range flagNames {
		if h.flags&(1<<i) != 0 {
			s += " " + f
		}
	}
	return s
}

// writeScript writes a conversation: a line a frame with its fields, and its
// bytes in hex below, header and payload apart. 61x5 is five times the byte 61.
func writeScript(t *testing.T, path, pins string, lines []line) {
	t.Helper()
	var b strings.Builder
	for _, s := range strings.Split(pins, "\n") {
		fmt.Fprintf(&b, "# %s\n", s)
	}
	b.WriteString("#\n# > from the caller, < from the listener, ! what the listener does of itself\n\n")
	for _, l := range lines {
		fmt.Fprintf(&b, "%c %s\n", l.dir, l.note)
		head, body := l.bytes, []byte(nil)
		if len(head) > headerLen {
			head, body = head[:headerLen], head[headerLen:]
		}
		for _, part := range [][]byte{head, body} {
			for len(part) > 0 {
				n := 1
				for n < len(part) && part[n] == part[0] {
					n++
				}
				if n > 32 {
					fmt.Fprintf(&b, "\t%02xx%d\n", part[0], n)
				} else {
					n = min(32, len(part))
					fmt.Fprintf(&b, "\t% x\n", part[:n])
				}
				part = part[n:]
			}
		}
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}

func readScript(t testing.TB, path string) []line {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v; go test -run TestConversations -update writes it", err)
	}
	var lines []line
	for i, s := range strings.Split(string(text), "\n") {
		switch {
		case s == "" || s[0] == '#':
		case s[0] == '\t':
			for _, f := range strings.Fields(s) {
				digits, times, repeated := strings.Cut(f, "x")
				n := 1
				if repeated {
					if n, err = strconv.Atoi(times); err != nil {
						t.Fatalf("%s:%d: %v", path, i+1, err)
					}
				}
				b, err := hex.DecodeString(digits)
				if err != nil || len(lines) == 0 {
					t.Fatalf("%s:%d: bytes that cannot be read: %v", path, i+1, err)
				}
				last := &lines[len(lines)-1]
				for range n {
					last.bytes = append(last.bytes, b...)
				}
			}
		default:
			lines = append(lines, line{dir: s[0], note: strings.TrimSpace(s[1:])})
		}
	}
	return lines
}

// cut splits the bytes of one direction into preamble and frames; what is left
// has not come whole.
func cut(b []byte, begun bool) (lines []line, rest []byte) {
	if !begun {
		if len(b) < len(preamble) {
			return nil, b
		}
		lines = append(lines, line{note: "preamble", bytes: b[:len(preamble):len(preamble)]})
		b = b[len(preamble):]
	}
	for len(b) >= headerLen {
		h := parseHeader(b)
		n := headerLen + int(h.length)
		if len(b) < n {
			break
		}
		lines = append(lines, line{note: describe(h), bytes: b[:n:n]})
		b = b[n:]
	}
	return lines, b
}
