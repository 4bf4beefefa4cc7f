package mucp

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// line is one entry of a conversation under testdata: the bytes of a peer, or
// something that happens.
type line struct {
	dir  byte // '>' from the caller, '<' from the server, '!' an event
	text string
}

// writeScript writes a conversation: each line of HTTP quoted, bodies too.
func writeScript(t testing.TB, path, pins string, lines []line) {
	t.Helper()
	var b strings.Builder
	for l := range strings.SplitSeq(pins, "\n") {
		fmt.Fprintf(&b, "# %s\n", l)
	}
	b.WriteString("#\n# > from the caller, < from the server, ! what happens besides\n\n")
	for _, l := range lines {
		if l.dir == '!' {
			fmt.Fprintf(&b, "! %s\n", l.text)
			continue
		}
		for part := range strings.SplitAfterSeq(l.text, "\n") {
			if part != "" {
				fmt.Fprintf(&b, "%c %s\n", l.dir, strconv.Quote(part))
			}
		}
		b.WriteByte('\n')
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}

// readScript reads a conversation. Neighbouring lines of one side are one
// entry.
func readScript(t testing.TB, path string) []line {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var lines []line
	for l := range strings.Lines(string(b)) {
		l = strings.TrimSuffix(l, "\n")
		if l == "" || l[0] == '#' {
			continue
		}
		dir, text := l[0], strings.TrimSpace(l[1:])
		if dir != '!' {
			if text, err = strconv.Unquote(text); err != nil {
				t.Fatalf("%s: %q: %v", path, l, err)
			}
		}
		if n := len(lines); n > 0 && lines[n-1].dir == dir && dir != '!' {
			lines[n-1].text += text
			continue
		}
		lines = append(lines, line{dir, text})
	}
	return lines
}

// compare fails the test where two conversations differ.
func compare(t testing.TB, got, want []line) {
	t.Helper()
	for i := range max(len(got), len(want)) {
		var g, w line
		if i < len(got) {
			g = got[i]
		}
		if i < len(want) {
			w = want[i]
		}
		if g != w {
			t.Fatalf("entry %d\ngot  %c %q\nwant %c %q", i, max(g.dir, ' '), g.text, max(w.dir, ' '), w.text)
		}
	}
}

// merge joins neighbouring entries of one side.
func merge(lines []line) []line {
	var out []line
	for _, l := range lines {
		if n := len(out); n > 0 && out[n-1].dir == l.dir && l.dir != '!' {
			out[n-1].text += l.text
			continue
		}
		if l.text != "" {
			out = append(out, l)
		}
	}
	return out
}
