package errors

import "net/http"

// Code is a gRPC status code, as numbered in gRPC's doc/statuscodes.md.
type Code uint32

// The gRPC status codes.
const (
	CodeOK                 Code = 0
	CodeCanceled           Code = 1
	CodeUnknown            Code = 2
	CodeInvalidArgument    Code = 3
	CodeDeadlineExceeded   Code = 4
	CodeNotFound           Code = 5
	CodeAlreadyExists      Code = 6
	CodePermissionDenied   Code = 7
	CodeResourceExhausted  Code = 8
	CodeFailedPrecondition Code = 9
	CodeAborted            Code = 10
	CodeOutOfRange         Code = 11
	CodeUnimplemented      Code = 12
	CodeInternal           Code = 13
	CodeUnavailable        Code = 14
	CodeDataLoss           Code = 15
	CodeUnauthenticated    Code = 16
)

var codeNames = [...]string{"ok", "canceled", "unknown", "invalid_argument", "deadline_exceeded", "not_found",
	"already_exists", "permission_denied", "resource_exhausted", "failed_precondition", "aborted", "out_of_range",
	"unimplemented", "internal", "unavailable", "data_loss", "unauthenticated"}

// String returns the name of c in lower case with underscores.
func (c Code) String() string {
	if int(c) < len(codeNames) {
		return codeNames[c]
	}
	return "unknown"
}

// StatusClientClosed is the HTTP status of a call whose caller has gone, a
// number that nginx made common.
const StatusClientClosed = 499

// HTTP returns the HTTP status code that stands for c. Where go-micro's gRPC
// mapping has an entry it is that one (408 for deadline_exceeded, 412 for
// failed_precondition); the others follow google.rpc.Code.
func (c Code) HTTP() int32 {
	switch c {
	case CodeOK:
		return http.StatusOK
	case CodeCanceled:
		return StatusClientClosed
	case CodeInvalidArgument, CodeOutOfRange:
		return http.StatusBadRequest
	case CodeDeadlineExceeded:
		return http.StatusRequestTimeout
	case CodeNotFound:
		return http.StatusNotFound
	case CodeAlreadyExists, CodeAborted:
		return http.StatusConflict
	case CodePermissionDenied:
		return http.StatusForbidden
	case CodeResourceExhausted:
		return http.StatusTooManyRequests
	case CodeFailedPrecondition:
		return http.StatusPreconditionFailed
	case CodeUnimplemented:
		return http.StatusNotImplemented
	case CodeUnavailable:
		return http.StatusServiceUnavailable
	case CodeUnauthenticated:
		return http.StatusUnauthorized
	}
	return http.StatusInternalServerError
}

// CodeFromHTTP returns the gRPC code that stands for an HTTP status code.
func CodeFromHTTP(status int32) Code {
	switch status {
	case http.StatusOK:
		return CodeOK
	case http.StatusBadRequest:
		return CodeInvalidArgument
	case http.StatusUnauthorized:
		return CodeUnauthenticated
	case http.StatusForbidden:
		return CodePermissionDenied
	case http.StatusNotFound:
		return CodeNotFound
	case http.StatusMethodNotAllowed, http.StatusNotImplemented:
		return CodeUnimplemented
	case http.StatusRequestTimeout, http.StatusGatewayTimeout:
		return CodeDeadlineExceeded
	case http.StatusConflict:
		return CodeAlreadyExists
	case http.StatusPreconditionFailed:
		return CodeFailedPrecondition
	case http.StatusRequestEntityTooLarge, http.StatusTooManyRequests:
		return CodeResourceExhausted
	case StatusClientClosed:
		return CodeCanceled
	case http.StatusInternalServerError:
		return CodeInternal
	case http.StatusBadGateway, http.StatusServiceUnavailable:
		return CodeUnavailable
	}
	return CodeUnknown
}
