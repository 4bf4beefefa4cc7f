package log_test

import (
	"bytes"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/seed-9a4e2794/micro/util/log"
)

// capture makes slog.Default write to a buffer until the test ends.
func capture(t *testing.T, level slog.Level) *bytes.Buffer {
	t.Helper()
	var b bytes.Buffer
	old := slog.Default()
	t.Cleanup(func() { slog.SetDefault(old) })
	slog.SetDefault(slog.New(slog.NewTextHandler(&b, &slog.HandlerOptions{Level: level, AddSource: true})))
	return &b
}

func TestEachFunctionWritesItsLevelAndItsCaller(t *testing.T) {
	b := capture(t, slog.LevelDebug-4)
	for _, c := range []struct {
		level string
		write func()
	}{
		{"INFO", func() { log.Log("n=", 1) }}, {"INFO", func() { log.Logf("n=%d", 1) }},
		{"INFO", func() { log.Info("n=", 1) }}, {"INFO", func() { log.Infof("n=%d", 1) }},
		{"ERROR", func() { log.Error("n=", 1) }}, {"ERROR", func() { log.Errorf("n=%d", 1) }},
		{"DEBUG", func() { log.Debug("n=", 1) }}, {"DEBUG", func() { log.Debugf("n=%d", 1) }},
		{"DEBUG-4", func() { log.Trace("n=", 1) }}, {"DEBUG-4", func() { log.Tracef("n=%d", 1) }},
		{"ERROR", func() { log.WithLevel(log.LevelFatal, "n=", 1) }}, {"DEBUG", func() { log.WithLevelf(log.LevelDebug, "n=%d", 1) }},
	} {
		b.Reset()
		c.write()
		if got := b.String(); !strings.Contains(got, "level="+c.level+" ") || !strings.Contains(got, `msg="n=1"`) || !strings.Contains(got, "log_test.go:") {
			t.Errorf("want level %s, n=1 and this file, got %s", c.level, got)
		}
	}
}

func TestLinesBelowTheLevelAreNotPutTogether(t *testing.T) {
	b := capture(t, slog.LevelInfo)
	log.Debug(explosive{})
	if b.Len() > 0 {
		t.Errorf("got %s", b)
	}
}

type explosive struct{}

func (explosive) String() string { panic("it was put together") }

func TestFatalEndsTheProgramWithStatusOne(t *testing.T) {
	if os.Getenv("LOG_TEST_FATAL") != "" {
		log.Fatal("the end")
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestFatalEndsTheProgramWithStatusOne$")
	cmd.Env = append(os.Environ(), "LOG_TEST_FATAL=1")
	out, err := cmd.CombinedOutput()
	if exit, ok := err.(*exec.ExitError); !ok || exit.ExitCode() != 1 || !strings.Contains(string(out), "the end") {
		t.Errorf("%v: %s", err, out)
	}
}
