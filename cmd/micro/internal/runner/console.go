package runner

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"sync"
)

// console prints the lines of several programs in columns. Its methods may run
// concurrently.
type console struct {
	colour bool
	width  int // of the labels

	mu  sync.Mutex
	out io.Writer
}

const red, bold = "31", "1"

func (c *console) paint(code, text string) string {
	if !c.colour || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (c *console) label(p *program) string {
	// Cyan, green, magenta, yellow, blue, and their bright forms, in turn.
	colours := [...]int{36, 32, 35, 33, 34, 96, 92, 95, 93, 94}
	code := fmt.Sprint(colours[p.index%len(colours)])
	return c.paint(code, p.label) + strings.Repeat(" ", c.width-len(p.label))
}

// print prints text as it is.
func (c *console) print(text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, _ = io.WriteString(c.out, text) // who does not read it does not want it
}

// printed prints a line of a program.
func (c *console) printed(p *program, line []byte) {
	c.print(c.label(p) + "  " + string(line) + "\n")
}

// say prints what happened to a program.
func (c *console) say(p *program, format string, a ...any) {
	c.print(c.label(p) + "   " + fmt.Sprintf(format, a...) + "\n")
}

// fail prints what went wrong with a program, and lines about it.
func (c *console) fail(p *program, what, lines string) {
	var b strings.Builder
	fmt.Fprintf(&b, "%s   %s\n", c.label(p), c.paint(red, what))
	for line := range strings.Lines(lines) {
		fmt.Fprintf(&b, "  %s\n", strings.TrimRight(line, "\n"))
	}
	c.print(b.String())
}

// maxLine is where a line of a program is broken, in bytes.
const maxLine = 64 << 10

// keptLines is how many lines are kept to say why a program has ended.
const keptLines = 20

// lines is what a process writes to, and prints it by lines.
type lines struct {
	console *console
	program *program

	mu   sync.Mutex
	rest []byte
	last []string
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rest = append(l.rest, b...)
	for {
		end := bytes.IndexByte(l.rest, '\n')
		next := end + 1
		if end < 0 {
			if len(l.rest) < maxLine {
				return len(b), nil
			}
			end, next = maxLine, maxLine
		}
		l.line(l.rest[:end])
		l.rest = l.rest[:copy(l.rest, l.rest[next:])]
	}
}

func (l *lines) line(b []byte) {
	b = bytes.TrimSuffix(b, []byte("\r"))
	l.console.printed(l.program, b)
	if len(l.last) == keptLines {
		l.last = append(l.last[:0], l.last[1:]...)
	}
	l.last = append(l.last, string(b))
}

// flush prints what did not end in a newline.
func (l *lines) flush() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.rest) > 0 {
		l.line(l.rest)
		l.rest = nil
	}
}

// tell reports whether one of the last lines holds text.
func (l *lines) tell(text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range l.last {
		if strings.Contains(line, text) {
			return true
		}
	}
	return false
}
