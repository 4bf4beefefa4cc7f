package client

import (
	stderrors "errors"
	"fmt"
	"strings"
	"time"

	"github.com/seed-9a4e2794/micro/client/selector"
	"github.com/seed-9a4e2794/micro/errors"
	"github.com/seed-9a4e2794/micro/registry"
	"github.com/seed-9a4e2794/micro/transport"
)

// Attempt is one attempt of a call.
type Attempt struct {
	// Node is the id of the node, Address its address.
	Node, Address string
	Took          time.Duration
	Err           error
}

// Tried says what was tried before a call was given up. It unwraps to the
// error of the last attempt, but for a call that may have been executed by an
// attempt before: then to the error of that one, if the last was refused.
type Tried struct {
	Service, Endpoint string
	Attempts          []Attempt
	// Spent is set when the retry budget allowed no further attempt.
	Spent bool
}

// Error lists the attempts.
func (t *Tried) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s: ", t.Service, t.Endpoint)
	for i, a := range t.Attempts {
		if i > 0 {
			b.WriteString("; ")
		}
		if a.Address != "" {
			fmt.Fprintf(&b, "%s after %v: ", a.Address, a.Took.Round(10*time.Microsecond))
		}
		b.WriteString(text(a.Err))
	}
	if t.Spent {
		b.WriteString(" (no further attempt: the retry budget is spent)")
	}
	return b.String()
}

// text returns an error without the JSON around it.
func text(err error) string {
	var e *errors.Error
	if stderrors.As(err, &e) && e.Detail != "" {
		return e.Detail
	}
	return err.Error()
}

// Unwrap returns the error that says how the call ended; see Tried.
func (t *Tried) Unwrap() error {
	if len(t.Attempts) == 0 {
		return nil
	}
	for i := len(t.Attempts) - 1; i >= 0; i-- {
		if a := &t.Attempts[i]; a.Err != nil && !RetryRefused(a.Err) && (a.Address != "" || i == len(t.Attempts)-1) {
			return a.Err
		}
	}
	return t.Attempts[len(t.Attempts)-1].Err
}

// own reports whether an error was made on this side of the wire.
func own(err error) bool {
	e, ok := err.(*errors.Error)
	return !ok || stderrors.Unwrap(e) != nil || e.Refused
}

// tried adds an attempt to t, which it makes if it is nil.
func (w *work) tried(t *Tried, node *registry.Node, took time.Duration, err error) *Tried {
	if t == nil {
		t = &Tried{Service: w.service, Endpoint: w.endpoint}
	}
	a := Attempt{Took: took, Err: err}
	if node != nil {
		a.Node, a.Address = node.Id, node.Address
	}
	t.Attempts = append(t.Attempts, a)
	return t
}

// failed makes the error of a call that is given up after a last attempt.
func failed(w *work, t *Tried, node *registry.Node, took time.Duration, err error) error {
	return w.tried(t, node, took, err).failed()
}

// failed makes the error of a call for which no more is tried.
func (t *Tried) failed() error {
	err := t.Unwrap()
	e := errors.From(clientId, err)
	code := e.GRPCCode()
	if code == errors.CodeUnknown && own(err) {
		switch {
		case stderrors.Is(err, registry.ErrNotFound):
			code = errors.CodeNotFound
		case away(err):
			code = errors.CodeUnavailable
		}
	}
	out := errors.Wrap(e.Id, code, t)
	out.Details = e.Details
	if !own(err) { // what the handler returned stays what it is
		out.Code, out.Status, out.Exact, out.Detail = e.Code, e.Status, e.Exact, e.Detail
	}
	return out
}

// away reports whether err says that something was not there to be used.
func away(err error) bool {
	for _, kind := range []error{transport.ErrUnreachable, transport.ErrLost, registry.ErrUnavailable,
		selector.ErrNoneAvailable, selector.ErrClosed, errClientClosed} {
		if stderrors.Is(err, kind) {
			return true
		}
	}
	return false
}
