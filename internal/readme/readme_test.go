// Package readme_test checks that the programs and commands of the README work.
// The programs are the packages beneath this folder.
package readme_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/seed-9a4e2794/micro/registry"
	"github.com/seed-9a4e2794/micro/registry/local"
)

const root = "../.."

// blocks returns the code blocks of the README in a language.
func blocks(t *testing.T, language string) []string {
	t.Helper()
	text, err := os.ReadFile(root + "/README.md")
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, m := range regexp.MustCompile("(?ms)^```"+language+"\n(.*?)^```$").FindAllStringSubmatch(string(text), -1) {
		out = append(out, m[1])
	}
	return out
}

// sources returns the Go files beneath this folder.
func sources(t *testing.T) map[string]string {
	t.Helper()
	out := make(map[string]string)
	err := fs.WalkDir(os.DirFS("."), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(name) != ".go" || filepath.Dir(name) == "." {
			return err
		}
		src, err := os.ReadFile(name)
		out[name] = string(src)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// holds reports whether a source has the lines of a block, as a whole file or
// one after the other, as deeply indented as may be.
func holds(source, block string) bool {
	if strings.HasPrefix(block, "package ") {
		return source == block
	}
	trim := func(text string) []string {
		var lines []string
		for line := range strings.Lines(text) {
			lines = append(lines, strings.TrimSpace(line))
		}
		return lines
	}
	have, want := trim(source), trim(block)
	for i := 0; i+len(want) <= len(have); i++ {
		if slices.Equal(have[i:i+len(want)], want) {
			return true
		}
	}
	return false
}

func TestEveryGoBlockOfTheReadmeIsCompiled(t *testing.T) {
	all := blocks(t, "go")
	if len(all) < 4 {
		t.Fatalf("the README has %d Go blocks", len(all))
	}
	used := make(map[string]bool)
	for _, block := range all {
		found := false
		for name, src := range sources(t) {
			if holds(src, block) {
				found, used[name] = true, true
			}
		}
		if !found {
			t.Errorf("no file beneath internal/readme has this block of the README:\n%s", block)
		}
	}
	for _, name := range []string{"server/main.go", "client/main.go", "server/main_test.go", "orders/orders.go"} {
		if !used[name] {
			t.Errorf("the README does not show %s", name)
		}
	}
	if holds("a\nb\nc\n", "a\nc\n") || holds("package a\n\nx\n", "package a\n") || !holds("\ta\n\tb\n", "b\n") {
		t.Error("holds does not tell what a source has from what it has not")
	}
}

func TestEveryFileThatTheReadmeNamesExists(t *testing.T) {
	text, err := os.ReadFile(root + "/README.md")
	if err != nil {
		t.Fatal(err)
	}
	prose := regexp.MustCompile("(?ms)^```.*?^```$").ReplaceAllString(string(text), "")
	links := regexp.MustCompile(`\]\(([^)]+)\)`).FindAllStringSubmatch(prose, -1)
	if len(links) < 10 {
		t.Fatalf("found only the links %v", links)
	}
	for _, m := range links {
		if strings.Contains(m[1], "://") {
			continue
		}
		if _, err := os.Stat(filepath.Join(root, m[1])); err != nil {
			t.Errorf("the README links to %s: %v", m[1], err)
		}
	}
	for _, m := range regexp.MustCompile(`(?m)go run (\./\S+) run (\./\S+)$`).FindAllStringSubmatch(string(text), -1) {
		for _, dir := range m[1:] {
			if _, err := os.Stat(filepath.Join(root, dir)); err != nil {
				t.Errorf("the README runs %s: %v", dir, err)
			}
		}
	}
}

// TestTheReadmesModuleWorks does what the README says under "In a module of
// your own", line by line.
func TestTheReadmesModuleWorks(t *testing.T) {
	var steps []string
	for _, block := range blocks(t, "sh") {
		if strings.Contains(block, "go mod init") {
			steps = strings.Split(strings.TrimSpace(block), "\n")
		}
	}
	if len(steps) == 0 {
		t.Fatal("the README does not say how to make a module")
	}
	runs := slices.DeleteFunc(slices.Clone(steps), func(s string) bool { return !strings.HasPrefix(s, "go run ") })
	if want := []string{"go run .", "go run ./client"}; !slices.Equal(runs, want) {
		t.Fatalf("the README runs %q, want %q", runs, want)
	}
	saved := slices.Index(steps, "# save the server as main.go and the client as client/main.go")
	if saved < 0 {
		t.Fatal("the README does not say where the programs go")
	}

	home := t.TempDir()
	checkout, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(checkout, filepath.Join(home, "micro")); err != nil {
		t.Fatal(err)
	}
	runtimeDir := filepath.Join(home, "run")
	if err := os.Mkdir(runtimeDir, 0o700); err != nil {
		t.Fatal(err)
	}
	env := append(os.Environ(), "GOWORK=off", "GOFLAGS=-mod=mod", "MICRO_RUNTIME_DIR="+runtimeDir)
	sh := func(dir, script string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "sh", "-e", "-c", script)
		cmd.Dir, cmd.Env = dir, env
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", script, err, out)
		}
	}
	sh(home, strings.Join(steps[:saved], "\n"))
	module := filepath.Join(home, "greeter")
	for name, from := range map[string]string{"main.go": "server/main.go", "client/main.go": "client/main.go"} {
		src, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		to := filepath.Join(module, name)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to, src, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	sh(module, strings.Join(slices.DeleteFunc(slices.Clone(steps[saved:]), func(s string) bool { return slices.Contains(runs, s) }), "\n"))
	// What go run does, but that a signal reaches the program and not the go
	// command.
	sh(module, "go build -o ../bin/ . && go build -o ../bin/ ./client")

	server := exec.CommandContext(t.Context(), filepath.Join(home, "bin", "greeter"))
	server.Env = env
	server.Cancel = func() error { return server.Process.Signal(syscall.SIGTERM) }
	server.WaitDelay = 10 * time.Second
	var log strings.Builder
	server.Stderr = &log
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	awaitService(t, runtimeDir, "greeter")
	client := exec.CommandContext(t.Context(), filepath.Join(home, "bin", "client"))
	client.Env = env
	out, err := client.Output()
	if err != nil || string(out) != "Hello Ada\n" {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = errors.New(string(exit.Stderr))
		}
		t.Errorf("the client printed %q, %v", out, err)
	}
	if err := server.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := server.Wait(); err != nil {
		t.Errorf("the server ended with %v and wrote\n%s", err, log.String())
	}
}

// awaitService waits until a service has a node.
func awaitService(t *testing.T, dir, name string) {
	t.Helper()
	r, err := local.New(local.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	watcher, err := r.Watch(ctx, registry.WatchService(name))
	if err != nil {
		t.Fatal(err)
	}
	defer watcher.Stop()
	for {
		result, err := watcher.Next()
		if err != nil {
			t.Fatalf("%s has no node: %v", name, err)
		}
		if result.Action == registry.Create {
			return
		}
	}
}
