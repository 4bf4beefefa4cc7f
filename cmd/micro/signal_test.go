//go:build unix

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// buildTool builds this package.
func buildTool(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "micro")
	cmd := exec.Command("go", "build", "-o", file, ".")
	cmd.Env = append(os.Environ(), "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return file
}

// runAndInterrupt runs micro run and sends it signals; neither it nor the
// service may be there afterwards.
func runAndInterrupt(t *testing.T, tool, dir string, signals int) {
	t.Helper()
	s := newScreen()
	cmd := exec.Command(tool, "run", "--address", "127.0.0.1:0", dir)
	cmd.Stdout, cmd.Stderr = s, s
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	s.await(t, "  gateway ", 1, time.Minute)
	pid, err := strconv.Atoi(regexp.MustCompile(`pid (\d+)`).FindStringSubmatch(s.String())[1])
	if err != nil {
		t.Fatal(err)
	}
	for range signals {
		if err := cmd.Process.Signal(os.Interrupt); err != nil && !errors.Is(err, os.ErrProcessDone) {
			t.Fatal(err)
		}
	}
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("%d signals: micro run ended with %v\n%s", signals, err, s)
		}
	case <-time.After(20 * time.Second):
		_ = cmd.Process.Kill()
		t.Fatalf("%d signals: micro run does not end\n%s", signals, s)
	}
	if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("%d signals: the service, pid %d, is still there (%v)", signals, pid, err)
	}
}

// The tool as its users have it: a process in a terminal's place, ended by
// signals.
func TestCtrlCStopsEveryProcess(t *testing.T) {
	runtimeDir(t)
	dir := module(t, fmt.Sprintf(program, "v0", ""))
	tool := buildTool(t)
	for _, signals := range []int{1, 2} {
		runAndInterrupt(t, tool, dir, signals)
	}
}
