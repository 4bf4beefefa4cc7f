package server

import (
	"path/filepath"
	"reflect"
	"runtime"
	"strconv"
	"strings"

	"github.com/seed-9a4e2794/micro/errors"
)

// panicked makes the error of a handler that has panicked. Where it was goes to
// the log and not to the caller. It is called by the deferred function that
// recovered.
func (s *server) panicked(run *running, what string, p any) error {
	frames := handlerFrames()
	at := "unknown"
	if len(frames) > 0 {
		at = frames[0]
	}
	s.log().Error("handler panicked", "service", run.name, "handler", what, "panic", p, "at", at, "stack", strings.Join(frames, " < "))
	return errors.NewCode(serverId, errors.CodeInternal, "%s: the handler panicked", what) // with what, the log says: it may hold what is not the caller's
}

// maxFrames is how many frames of a handler are logged.
const maxFrames = 32

// handlerFrames returns the program's part of the stack of a panic, from where
// it was to the handler: what lies between the runtime and this package. One
// line of a log can hold it.
func handlerFrames() []string {
	var pcs [256]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(3, pcs[:])])
	own := reflect.TypeFor[server]().PkgPath() + "."
	var out []string
	for {
		f, more := frames.Next()
		switch {
		case strings.HasPrefix(f.Function, "runtime."), strings.HasPrefix(f.Function, "reflect."):
		case strings.HasPrefix(f.Function, own) && len(out) > 0:
			return out
		case strings.HasPrefix(f.Function, own): // the deferred function itself
		default:
			out = append(out, short(f.Function)+" "+filepath.Base(filepath.Dir(f.File))+"/"+filepath.Base(f.File)+":"+strconv.Itoa(f.Line))
		}
		if !more || len(out) == maxFrames {
			return out
		}
	}
}

// short returns a function's name without the path of its package.
func short(function string) string {
	return function[strings.LastIndexByte(function, '/')+1:]
}
