// Package errors holds the error that travels between services.
//
// An [Error] has the four JSON keys of go-micro and, outside that JSON, the
// exact gRPC code, typed details, and whether the call surely did not run.
// Programs tell errors apart with errors.Is and errors.As of the standard
// library: context.DeadlineExceeded, context.Canceled and [ErrRefused] match
// an Error that means the same, wherever it was made.
package errors

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
)

// ErrRefused matches, by errors.Is, every error of a call that was surely not
// executed because the other side would not take it: it is draining,
// overloaded, or not the node that was meant. Such a call may be repeated.
var ErrRefused = errors.New("refused")

// Error is the error of a call. An Error that has been returned must not be
// changed.
type Error struct {
	// Id names who made the error: a service, or a part such as
	// "go.micro.client".
	Id string `json:"id"`
	// Code is an HTTP status code.
	Code int32 `json:"code"`
	// Detail says what happened.
	Detail string `json:"detail"`
	// Status is the text of Code.
	Status string `json:"status"`

	// Exact is the gRPC code when it was set on purpose; CodeOK means that it
	// follows from Code. Read it through GRPCCode.
	Exact Code `json:"-"`
	// Details are typed additions, as in google.rpc.Status.
	Details []Detail `json:"-"`
	// Refused says that the call was surely not executed.
	Refused bool `json:"-"`

	cause error
}

// Detail is one typed addition to an Error: a protobuf Any.
type Detail struct {
	// Type is the full protobuf name or type URL.
	Type string
	// Value is the encoded message.
	Value []byte
}

// Error returns the error as its JSON.
func (e *Error) Error() string {
	b, err := json.Marshal(e)
	if err != nil { // four plain fields: cannot fail
		return e.Detail
	}
	return string(b)
}

// GRPCCode returns the exact gRPC code, or the one that Code stands for.
func (e *Error) GRPCCode() Code {
	if e.Exact != CodeOK {
		return e.Exact
	}
	return CodeFromHTTP(e.Code)
}

// Is reports whether e means the same as target: ErrRefused,
// context.DeadlineExceeded or context.Canceled.
func (e *Error) Is(target error) bool {
	switch target {
	case ErrRefused:
		return e.Refused
	case context.DeadlineExceeded:
		return e.GRPCCode() == CodeDeadlineExceeded
	case context.Canceled:
		return e.GRPCCode() == CodeCanceled
	}
	return false
}

// Unwrap returns the local error that led to e, nil when there is none or when
// e came over the wire.
func (e *Error) Unwrap() error { return e.cause }

// New returns an Error with an HTTP status code.
func New(id, detail string, code int32) error {
	return &Error{Id: id, Code: code, Detail: detail, Status: statusText(code)}
}

// NewCode returns an Error with an exact gRPC code.
func NewCode(id string, code Code, format string, a ...any) *Error {
	status := code.HTTP()
	return &Error{Id: id, Code: status, Detail: fmt.Sprintf(format, a...), Status: statusText(status), Exact: code}
}

// Refuse returns an Error of that code which matches ErrRefused.
func Refuse(id string, code Code, format string, a ...any) *Error {
	e := NewCode(id, code, format, a...)
	e.Refused = true
	return e
}

// Wrap returns an Error of that code whose Detail is err's text and which
// unwraps to err.
func Wrap(id string, code Code, err error) *Error {
	e := NewCode(id, code, "%s", err)
	e.cause = err
	e.Refused = errors.Is(err, ErrRefused)
	return e
}

// Parse reads an Error from its JSON. A text that is not such JSON becomes the
// Detail of an Error without a code, so nothing that was said is lost.
func Parse(text string) *Error {
	e := new(Error)
	if err := json.Unmarshal([]byte(text), e); err != nil {
		return &Error{Detail: text}
	}
	if e.Id == "" && e.Code == 0 && e.Detail == "" && e.Status == "" && text != e.Error() {
		return &Error{Detail: text} // null, or an object with other keys
	}
	return e
}

// From turns any error into an Error: an Error in err's chain as it is, the
// context errors with their codes, everything else as CodeUnknown with status 500
// under id. From(id, nil) is nil.
func From(id string, err error) *Error {
	if err == nil {
		return nil
	}
	if e, ok := err.(*Error); ok {
		return e
	}
	var e *Error
	switch {
	case errors.As(err, &e):
		return e
	case errors.Is(err, context.DeadlineExceeded):
		return Wrap(id, CodeDeadlineExceeded, err)
	case errors.Is(err, context.Canceled):
		return Wrap(id, CodeCanceled, err)
	}
	return Wrap(id, CodeUnknown, err)
}

// BadRequest returns an Error with status 400.
func BadRequest(id, format string, a ...any) error { return newf(id, 400, format, a) }

// Unauthorized returns an Error with status 401.
func Unauthorized(id, format string, a ...any) error { return newf(id, 401, format, a) }

// Forbidden returns an Error with status 403.
func Forbidden(id, format string, a ...any) error { return newf(id, 403, format, a) }

// NotFound returns an Error with status 404.
func NotFound(id, format string, a ...any) error { return newf(id, 404, format, a) }

// MethodNotAllowed returns an Error with status 405.
func MethodNotAllowed(id, format string, a ...any) error { return newf(id, 405, format, a) }

// Timeout returns an Error with status 408.
func Timeout(id, format string, a ...any) error { return newf(id, 408, format, a) }

// Conflict returns an Error with status 409.
func Conflict(id, format string, a ...any) error { return newf(id, 409, format, a) }

// InternalServerError returns an Error with status 500.
func InternalServerError(id, format string, a ...any) error { return newf(id, 500, format, a) }

func newf(id string, code int32, format string, a []any) error {
	return New(id, fmt.Sprintf(format, a...), code)
}

func statusText(code int32) string {
	if code == StatusClientClosed {
		return "Client Closed Request"
	}
	return http.StatusText(int(code))
}
