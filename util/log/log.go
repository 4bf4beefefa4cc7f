// Package log has the functions of go-micro v1's util/log, over slog.Default:
// programs that move over keep their lines, and set level and form of the log
// in slog. New programs use log/slog itself.
package log

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"time"
)

// Level is the weight of a line.
type Level int

// The levels of go-micro v1, in its order.
const (
	LevelFatal Level = iota
	LevelInfo
	LevelError
	LevelDebug
	LevelTrace
)

// slogTrace is below slog's lowest level, as far as its levels are apart.
const slogTrace = slog.LevelDebug - 4

func (l Level) slog() slog.Level {
	switch l {
	case LevelFatal, LevelError:
		return slog.LevelError
	case LevelDebug:
		return slog.LevelDebug
	case LevelTrace:
		return slogTrace
	}
	return slog.LevelInfo
}

// write writes a line as of the caller of its caller.
func write(l Level, text func() string) {
	ctx := context.Background()
	h := slog.Default().Handler()
	if !h.Enabled(ctx, l.slog()) {
		return
	}
	var pcs [1]uintptr
	runtime.Callers(3, pcs[:])
	// A log that cannot be written has nowhere to say so.
	_ = h.Handle(ctx, slog.NewRecord(time.Now(), l.slog(), text(), pcs[0]))
}

// WithLevel writes a line of that level, put together as fmt.Sprint does.
func WithLevel(l Level, v ...any) { write(l, func() string { return fmt.Sprint(v...) }) }

// WithLevelf writes a formatted line of that level.
func WithLevelf(l Level, format string, v ...any) {
	write(l, func() string { return fmt.Sprintf(format, v...) })
}

// Log writes a line of LevelInfo.
func Log(v ...any) { write(LevelInfo, func() string { return fmt.Sprint(v...) }) }

// Logf writes a formatted line of LevelInfo.
func Logf(format string, v ...any) {
	write(LevelInfo, func() string { return fmt.Sprintf(format, v...) })
}

// Trace writes a line of LevelTrace.
func Trace(v ...any) { write(LevelTrace, func() string { return fmt.Sprint(v...) }) }

// Tracef writes a formatted line of LevelTrace.
func Tracef(format string, v ...any) {
	write(LevelTrace, func() string { return fmt.Sprintf(format, v...) })
}

// Debug writes a line of LevelDebug.
func Debug(v ...any) { write(LevelDebug, func() string { return fmt.Sprint(v...) }) }

// Debugf writes a formatted line of LevelDebug.
func Debugf(format string, v ...any) {
	write(LevelDebug, func() string { return fmt.Sprintf(format, v...) })
}

// Info writes a line of LevelInfo.
func Info(v ...any) { write(LevelInfo, func() string { return fmt.Sprint(v...) }) }

// Infof writes a formatted line of LevelInfo.
func Infof(format string, v ...any) {
	write(LevelInfo, func() string { return fmt.Sprintf(format, v...) })
}

// Error writes a line of LevelError.
func Error(v ...any) { write(LevelError, func() string { return fmt.Sprint(v...) }) }

// Errorf writes a formatted line of LevelError.
func Errorf(format string, v ...any) {
	write(LevelError, func() string { return fmt.Sprintf(format, v...) })
}

// Fatal writes a line of LevelFatal and ends the program with status 1.
func Fatal(v ...any) {
	write(LevelFatal, func() string { return fmt.Sprint(v...) })
	os.Exit(1)
}

// Fatalf writes a formatted line of LevelFatal and ends the program with
// status 1.
func Fatalf(format string, v ...any) {
	write(LevelFatal, func() string { return fmt.Sprintf(format, v...) })
	os.Exit(1)
}
