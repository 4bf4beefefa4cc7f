package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/seed-9a4e2794/micro/client/selector"
	"github.com/seed-9a4e2794/micro/cmd/micro/internal/lookup"
	microerrors "github.com/seed-9a4e2794/micro/errors"
	"github.com/seed-9a4e2794/micro/registry"
	"github.com/seed-9a4e2794/micro/transport"
)

// The exit codes of the tool. A status that a service answered with is
// exitRemote and the number of its gRPC code.
const (
	exitOK          = 0
	exitFailure     = 1
	exitUsage       = 2
	exitNotFound    = 3
	exitUnreachable = 4
	exitUnhealthy   = 5
	exitRemote      = 64
	exitInterrupted = 130
)

// failure is an error as a person reads it: what happened, and lines that say
// what was seen and what to do.
type failure struct {
	exit  int
	what  string
	hints []string
}

func (f *failure) Error() string { return f.what }

// usage returns the failure of a command line that is not understood.
func usage(hint, format string, a ...any) *failure {
	f := &failure{exit: exitUsage, what: fmt.Sprintf(format, a...)}
	if hint != "" {
		f.hints = []string{hint}
	}
	return f
}

// missing returns the failure of a name that nobody has, with the names that
// there are.
func missing(what, name string, have []string, more string) *failure {
	return &failure{exit: exitNotFound, what: what, hints: []string{suggest(name, have, more)}}
}

// suggest is the hint that names what there is.
func suggest(name string, have []string, more string) string {
	var parts []string
	if near := lookup.Nearest(name, have); near != "" {
		parts = append(parts, fmt.Sprintf("did you mean %q?", near))
	}
	parts = append(parts, "available: "+lookup.List(have))
	if more != "" {
		parts = append(parts, more)
	}
	return strings.Join(parts, "   ")
}

// asFailure gives any error its exit code.
func asFailure(err error) *failure {
	if f, ok := errors.AsType[*failure](err); ok {
		return f
	}
	f := &failure{exit: exitFailure, what: plain(err)}
	switch {
	case errors.Is(err, context.Canceled):
		f.exit, f.what = exitInterrupted, "interrupted"
	case errors.Is(err, registry.ErrUnavailable):
		f.exit = exitUnreachable
	case errors.Is(err, registry.ErrNotFound):
		f.exit = exitNotFound
	case errors.Is(err, context.DeadlineExceeded):
		f.exit = exitUnreachable
	}
	return f
}

// callFailure says how a call to an endpoint failed.
func callFailure(service, endpoint string, err error) *failure {
	e := microerrors.From("", err)
	text := strings.TrimPrefix(plain(err), service+" "+endpoint+": ")
	f := &failure{exit: exitRemote + int(e.GRPCCode()), what: fmt.Sprintf("%s %s: %s", service, endpoint, text)}
	switch {
	case errors.Is(err, context.Canceled):
		return &failure{exit: exitInterrupted, what: "interrupted"}
	case errors.Is(err, registry.ErrUnavailable), errors.Is(err, transport.ErrUnreachable), errors.Is(err, transport.ErrLost),
		errors.Is(err, selector.ErrNoneAvailable):
		f.exit = exitUnreachable
		f.hints = []string{"see who answers: micro health " + service}
		if strings.Contains(text, "signed by unknown authority") {
			f.hints = []string{"say whom to trust: --tls_ca FILE"}
		}
	case errors.Is(err, registry.ErrNotFound):
		f.exit = exitNotFound
	default:
		f.what = fmt.Sprintf("%s %s: %s: %s", service, endpoint, e.GRPCCode(), text)
		if errors.Is(err, context.DeadlineExceeded) {
			f.hints = []string{"give it more time: --timeout 30s"}
		}
	}
	return f
}

// plain is the text of an error without JSON around it.
func plain(err error) string {
	if e, ok := errors.AsType[*microerrors.Error](err); ok && e.Detail != "" {
		return e.Detail
	}
	return err.Error()
}
