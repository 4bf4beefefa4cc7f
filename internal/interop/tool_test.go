package interop

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// buildTimeout bounds the building of a tool where nothing is built yet.
const buildTimeout = 10 * time.Minute

// goCommand runs the go command in this module and returns what it prints.
func goCommand(t *testing.T, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), buildTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Env = append(os.Environ(), "GOWORK=off")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, stderr.Bytes())
	}
	return strings.TrimSpace(string(out))
}

// tool returns the path of a tool that go.mod names, built if need be.
func tool(t *testing.T, name string) string {
	t.Helper()
	return goCommand(t, "tool", "-n", name)
}

// program builds a program of this module.
func program(t *testing.T, name string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	goCommand(t, "build", "-o", path, "./"+name)
	return path
}

// moduleDir returns the folder of a module that go.mod names.
func moduleDir(t *testing.T, module string) string {
	t.Helper()
	return goCommand(t, "list", "-m", "-f", "{{.Dir}}", module)
}
