package errors_test

import (
	"testing"

	"github.com/seed-9a4e2794/micro/errors"
)

// The pairs that programs built with go-micro agree on, in both directions.
func TestStatusAndCodeMapAsInGoMicro(t *testing.T) {
	for _, tt := range []struct {
		status int32
		code   errors.Code
	}{
		{200, errors.CodeOK},
		{400, errors.CodeInvalidArgument},
		{401, errors.CodeUnauthenticated},
		{403, errors.CodePermissionDenied},
		{404, errors.CodeNotFound},
		{408, errors.CodeDeadlineExceeded},
		{409, errors.CodeAlreadyExists},
		{412, errors.CodeFailedPrecondition},
		{500, errors.CodeInternal},
		{501, errors.CodeUnimplemented},
		{503, errors.CodeUnavailable},
	} {
		if got := errors.CodeFromHTTP(tt.status); got != tt.code {
			t.Errorf("status %d is %s, want %s", tt.status, got, tt.code)
		}
		if got := tt.code.HTTP(); got != tt.status {
			t.Errorf("%s is status %d, want %d", tt.code, got, tt.status)
		}
	}
}

func TestOtherStatusesMapToTheNearestCode(t *testing.T) {
	for _, tt := range []struct {
		status int32
		want   errors.Code
	}{
		{405, errors.CodeUnimplemented},
		{413, errors.CodeResourceExhausted},
		{429, errors.CodeResourceExhausted},
		{499, errors.CodeCanceled},
		{502, errors.CodeUnavailable},
		{504, errors.CodeDeadlineExceeded},
		{0, errors.CodeUnknown},
		{-1, errors.CodeUnknown},
		{204, errors.CodeUnknown},
		{302, errors.CodeUnknown},
		{418, errors.CodeUnknown},
		{599, errors.CodeUnknown},
	} {
		if got := errors.CodeFromHTTP(tt.status); got != tt.want {
			t.Errorf("status %d is %s, want %s", tt.status, got, tt.want)
		}
	}
}

func TestCodesHaveTheirNamesAndAStatus(t *testing.T) {
	for _, tt := range []struct {
		code   errors.Code
		number uint32
		name   string
		status int32
	}{
		{errors.CodeOK, 0, "ok", 200},
		{errors.CodeCanceled, 1, "canceled", 499},
		{errors.CodeUnknown, 2, "unknown", 500},
		{errors.CodeInvalidArgument, 3, "invalid_argument", 400},
		{errors.CodeDeadlineExceeded, 4, "deadline_exceeded", 408},
		{errors.CodeNotFound, 5, "not_found", 404},
		{errors.CodeAlreadyExists, 6, "already_exists", 409},
		{errors.CodePermissionDenied, 7, "permission_denied", 403},
		{errors.CodeResourceExhausted, 8, "resource_exhausted", 429},
		{errors.CodeFailedPrecondition, 9, "failed_precondition", 412},
		{errors.CodeAborted, 10, "aborted", 409},
		{errors.CodeOutOfRange, 11, "out_of_range", 400},
		{errors.CodeUnimplemented, 12, "unimplemented", 501},
		{errors.CodeInternal, 13, "internal", 500},
		{errors.CodeUnavailable, 14, "unavailable", 503},
		{errors.CodeDataLoss, 15, "data_loss", 500},
		{errors.CodeUnauthenticated, 16, "unauthenticated", 401},
		{errors.Code(17), 17, "unknown", 500},
		{errors.Code(1<<32 - 1), 1<<32 - 1, "unknown", 500},
	} {
		if uint32(tt.code) != tt.number || tt.code.String() != tt.name || tt.code.HTTP() != tt.status {
			t.Errorf("code %d is named %s with status %d, want %d, %s, %d",
				uint32(tt.code), tt.code, tt.code.HTTP(), tt.number, tt.name, tt.status)
		}
	}
}

// Several codes share a status; the exact one must survive.
func TestTheExactCodeSurvivesItsStatus(t *testing.T) {
	for c := errors.CodeCanceled; c <= errors.CodeUnauthenticated; c++ {
		if got := errors.NewCode("id", c, "").GRPCCode(); got != c {
			t.Errorf("%s came back as %s", c, got)
		}
	}
}
