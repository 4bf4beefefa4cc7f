package runner

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// goCommand returns the go command in a folder. It has a process group of its
// own, so that Ctrl-C at the terminal is ours to handle, and is killed with
// the compilers it has started when ctx ends.
func goCommand(ctx context.Context, dir string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	cmd.WaitDelay = time.Second
	ownGroup(cmd)
	cmd.Cancel = func() error { return killGroup(cmd.Process) }
	return cmd
}

// compile builds a program into file. When it fails it returns what the
// compiler said.
func compile(ctx context.Context, p *program, file string) error {
	out, err := goCommand(ctx, p.dir, "build", "-buildvcs=false", "-o", file, ".").CombinedOutput()
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err == nil:
		return nil
	case errors.Is(err, exec.ErrNotFound):
		return errors.New("the go command is not found: install Go from https://go.dev/dl")
	}
	var lines []string
	for line := range strings.Lines(string(out)) {
		line = strings.TrimRight(line, "\r\n")
		if line != "" && !strings.HasPrefix(line, "# ") {
			lines = append(lines, fromHere(p.dir, line))
		}
	}
	if len(lines) == 0 {
		lines = []string{fmt.Sprintf("go build: %v", err)}
	}
	return errors.New(strings.Join(lines, "\n"))
}

// fromHere turns the file that a line of the compiler begins with, which it
// names from dir, into one named from the working directory.
func fromHere(dir, line string) string {
	text := strings.TrimLeft(line, " \t")
	indent := line[:len(line)-len(text)]
	file, rest, ok := strings.Cut(text, ":")
	if !ok || filepath.Ext(file) != ".go" || strings.ContainsAny(file, " \t") {
		return line
	}
	if !filepath.IsAbs(file) {
		file = filepath.Join(dir, file)
	}
	if here, err := os.Getwd(); err == nil {
		if rel, err := filepath.Rel(here, file); err == nil && len(rel) < len(file) {
			file = rel
		}
	}
	return indent + file + ":" + rest
}

// listFormat prints of each package that is not Go's own its folder and files
// outside of Go that go into the program.
const listFormat = `{{if not .Standard}}D {{.Dir}}
{{range .EmbedFiles}}F {{$.Dir}}/{{.}}
{{end}}{{with .Module}}{{with .GoMod}}F {{.}}
{{end}}{{end}}{{end}}`

// sources is what a program is built of.
type sources struct {
	dirs  []string
	files map[string]bool // besides Go files in dirs
}

// sourcesOf asks the go command what a program is built of. Downloaded modules
// are left out: they do not change.
func sourcesOf(ctx context.Context, p *program) (sources, error) {
	src := sources{files: make(map[string]bool)}
	cache, err := goCommand(ctx, p.dir, "env", "GOMODCACHE").Output()
	if err != nil {
		return src, fmt.Errorf("go env: %w", err)
	}
	out, err := goCommand(ctx, p.dir, "list", "-e", "-deps", "-f", listFormat, ".").Output()
	if err != nil {
		return src, fmt.Errorf("go list in %s: %w", p.dir, err)
	}
	downloaded := strings.TrimSpace(string(cache)) + string(filepath.Separator)
	for line := range strings.Lines(string(out)) {
		kind, path, ok := strings.Cut(strings.TrimSpace(line), " ")
		if !ok || strings.HasPrefix(path, downloaded) {
			continue
		}
		path = filepath.Clean(path)
		if kind == "D" {
			src.dirs = append(src.dirs, path)
		} else {
			src.files[path] = true
		}
	}
	return src, nil
}
