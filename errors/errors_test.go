package errors_test

import (
	"context"
	"encoding/json"
	stderrors "errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"testing"
	"unicode/utf8"

	"github.com/seed-9a4e2794/micro/errors"
)

func TestJSONHasExactlyTheFourKeys(t *testing.T) {
	e := errors.Refuse("greeter", errors.CodeAborted, "no %s", "room")
	e.Details = []errors.Detail{{Type: "a.B", Value: []byte{1}}}
	marshalled, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{e.Error(), string(marshalled)} {
		var m map[string]any
		if err := json.Unmarshal([]byte(text), &m); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		want := map[string]any{"id": "greeter", "code": 409.0, "detail": "no room", "status": "Conflict"}
		if len(m) != len(want) {
			t.Errorf("%s has %d keys, want %d", text, len(m), len(want))
		}
		for k, v := range want {
			if m[k] != v {
				t.Errorf("key %s is %v, want %v", k, m[k], v)
			}
		}
	}
	// The keys are there even when they say nothing: peers index them.
	if got, want := new(errors.Error).Error(), `{"id":"","code":0,"detail":"","status":""}`; got != want {
		t.Errorf("the zero Error is %s, want %s", got, want)
	}
}

func TestParseReadsWhatErrorWrites(t *testing.T) {
	for _, err := range []error{
		errors.NotFound("greeter", "no such %q <&>", "name"),
		errors.New("x", "line one\nline two", 599),
		errors.NewCode("x", errors.CodeDataLoss, "lost"),
		new(errors.Error),
	} {
		in := errors.From("", err)
		out := errors.Parse(in.Error())
		if out.Id != in.Id || out.Code != in.Code || out.Detail != in.Detail || out.Status != in.Status {
			t.Errorf("%s came back as %s", in, out)
		}
	}
}

func TestParseKeepsTextThatIsNotAnError(t *testing.T) {
	for _, text := range []string{
		"", "connection refused", "null", "{}", "5", `"quoted"`, "[1]", `{"error":"boom"}`, `{"code":"not a number"}`,
		`{"id":"cut off`,
	} {
		e := errors.Parse(text)
		if e.Detail != text || e.Id != "" || e.Code != 0 || e.Status != "" {
			t.Errorf("Parse(%q) = %s, want it as the detail and nothing else", text, e)
		}
		if text != "" && e.GRPCCode() != errors.CodeUnknown {
			t.Errorf("Parse(%q) has code %s, want unknown", text, e.GRPCCode())
		}
	}
}

func TestParseReadsForeignJSON(t *testing.T) {
	e := errors.Parse(` {"detail":"busy","code":503,"extra":true} `)
	if e.Detail != "busy" || e.Code != 503 || e.GRPCCode() != errors.CodeUnavailable {
		t.Errorf("parsed %s, %s", e, e.GRPCCode())
	}
}

func TestHelpersHaveTheirCodes(t *testing.T) {
	for _, tt := range []struct {
		name   string
		err    error
		code   int32
		status string
		grpc   errors.Code
	}{
		{"BadRequest", errors.BadRequest("id", "d%d", 1), 400, "Bad Request", errors.CodeInvalidArgument},
		{"Unauthorized", errors.Unauthorized("id", "d%d", 1), 401, "Unauthorized", errors.CodeUnauthenticated},
		{"Forbidden", errors.Forbidden("id", "d%d", 1), 403, "Forbidden", errors.CodePermissionDenied},
		{"NotFound", errors.NotFound("id", "d%d", 1), 404, "Not Found", errors.CodeNotFound},
		{"MethodNotAllowed", errors.MethodNotAllowed("id", "d%d", 1), 405, "Method Not Allowed", errors.CodeUnimplemented},
		{"Timeout", errors.Timeout("id", "d%d", 1), 408, "Request Timeout", errors.CodeDeadlineExceeded},
		{"Conflict", errors.Conflict("id", "d%d", 1), 409, "Conflict", errors.CodeAlreadyExists},
		{"InternalServerError", errors.InternalServerError("id", "d%d", 1), 500, "Internal Server Error", errors.CodeInternal},
		{"New", errors.New("id", "d1", 418), 418, "I'm a teapot", errors.CodeUnknown},
		{"NewCode", errors.NewCode("id", errors.CodeCanceled, "d%d", 1), 499, "Client Closed Request", errors.CodeCanceled},
	} {
		var e *errors.Error
		if !stderrors.As(tt.err, &e) {
			t.Errorf("%s returned a %T", tt.name, tt.err)
			continue
		}
		if e.Id != "id" || e.Detail != "d1" || e.Code != tt.code || e.Status != tt.status || e.GRPCCode() != tt.grpc || e.Refused {
			t.Errorf("%s returned %s (%s, refused %t), want code %d, status %q, %s",
				tt.name, e, e.GRPCCode(), e.Refused, tt.code, tt.status, tt.grpc)
		}
	}
}

// A detail given to New is not a format.
func TestNewTakesTheDetailAsItIs(t *testing.T) {
	if e := errors.From("", errors.New("id", "100%s", 500)); e.Detail != "100%s" {
		t.Errorf("detail %q", e.Detail)
	}
}

func TestIsMatchesWhatTheErrorMeansWhereverItWasMade(t *testing.T) {
	targets := []error{context.DeadlineExceeded, context.Canceled, errors.ErrRefused, io.EOF}
	for _, tt := range []struct {
		name string
		err  error
		want []error
	}{
		{"timeout", errors.Timeout("id", "slow"), []error{context.DeadlineExceeded}},
		{"504 of a gateway", errors.New("id", "slow", http.StatusGatewayTimeout), []error{context.DeadlineExceeded}},
		{"exact deadline", errors.NewCode("id", errors.CodeDeadlineExceeded, ""), []error{context.DeadlineExceeded}},
		{"parsed timeout", errors.Parse(errors.Timeout("id", "slow").Error()), []error{context.DeadlineExceeded}},
		{"cancelled", errors.NewCode("id", errors.CodeCanceled, ""), []error{context.Canceled}},
		{"refused", errors.Refuse("id", errors.CodeUnavailable, ""), []error{errors.ErrRefused}},
		{"refused and wrapped", fmt.Errorf("call: %w", errors.Refuse("id", errors.CodeUnavailable, "")), []error{errors.ErrRefused}},
		{"unavailable but maybe executed", errors.NewCode("id", errors.CodeUnavailable, ""), nil},
		{"refused for want of time", errors.Refuse("id", errors.CodeDeadlineExceeded, ""), []error{context.DeadlineExceeded, errors.ErrRefused}},
		{"wrapped cause", errors.Wrap("id", errors.CodeInternal, io.EOF), []error{io.EOF}},
		{"wrapped refusal", errors.Wrap("id", errors.CodeUnavailable, fmt.Errorf("drain: %w", errors.ErrRefused)), []error{errors.ErrRefused}},
		{"exact code wins over status", &errors.Error{Code: 408, Exact: errors.CodeCanceled}, []error{context.Canceled}},
		{"bad request", errors.BadRequest("id", ""), nil},
	} {
		for _, target := range targets {
			if got, want := stderrors.Is(tt.err, target), slices.Contains(tt.want, target); got != want {
				t.Errorf("%s: errors.Is(_, %q) = %t, want %t", tt.name, target, got, want)
			}
		}
	}
}

func TestWrapKeepsTheCause(t *testing.T) {
	cause := fmt.Errorf("read: %w", io.ErrUnexpectedEOF)
	e := errors.Wrap("id", errors.CodeDataLoss, cause)
	if e.Unwrap() != cause || e.Detail != "read: unexpected EOF" || e.Code != 500 || e.GRPCCode() != errors.CodeDataLoss || e.Refused {
		t.Errorf("wrapped to %s (%s), cause %v", e, e.GRPCCode(), e.Unwrap())
	}
	percent := stderrors.New("100%s done")
	if e := errors.Wrap("id", errors.CodeInternal, percent); e.Detail != percent.Error() {
		t.Errorf("detail %q, want the cause's text as it is", e.Detail)
	}
	if e := errors.Parse(e.Error()); e.Unwrap() != nil {
		t.Error("an error read from its JSON has a cause")
	}
}

func TestFromFindsTheErrorInTheChain(t *testing.T) {
	inner := errors.Refuse("greeter", errors.CodeUnavailable, "draining")
	for name, err := range map[string]error{
		"itself":  inner,
		"wrapped": fmt.Errorf("call greeter: %w", inner),
		"joined":  stderrors.Join(io.EOF, fmt.Errorf("twice: %w", inner)),
	} {
		if got := errors.From("other", err); got != inner {
			t.Errorf("%s: From returned %s, want the very error of the chain", name, got)
		}
	}
}

func TestFromGivesOtherErrorsACode(t *testing.T) {
	deadline, cancel := context.WithTimeout(context.Background(), 0)
	defer cancel()
	for _, tt := range []struct {
		err    error
		code   int32
		grpc   errors.Code
		target error
	}{
		{deadline.Err(), 408, errors.CodeDeadlineExceeded, context.DeadlineExceeded},
		{fmt.Errorf("dial: %w", context.Canceled), 499, errors.CodeCanceled, context.Canceled},
		{fmt.Errorf("gate: %w", errors.ErrRefused), 500, errors.CodeUnknown, errors.ErrRefused},
		{io.EOF, 500, errors.CodeUnknown, io.EOF},
	} {
		e := errors.From("greeter", tt.err)
		if e.Id != "greeter" || e.Code != tt.code || e.GRPCCode() != tt.grpc || e.Detail != tt.err.Error() {
			t.Errorf("From(%v) = %s (%s), want code %d, %s", tt.err, e, e.GRPCCode(), tt.code, tt.grpc)
		}
		if !stderrors.Is(e, tt.target) {
			t.Errorf("From(%v) does not match %v", tt.err, tt.target)
		}
	}
	if e := errors.From("greeter", nil); e != nil {
		t.Errorf("From(nil) = %s, want nil", e)
	}
}

// Whatever text a peer sends as an error, it is read without a panic, nothing
// is invented, and what was read survives another trip.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"", "boom", "null", "{}", `{"id":"a","code":404,"detail":"d","status":"Not Found"}`,
		`{"code":1e99}`, `{"detail":"\ud800"}`, `[`, `{"ID":"x"}`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		e := errors.Parse(text)
		if e.Refused || e.Exact != errors.CodeOK || e.Details != nil || e.Unwrap() != nil {
			t.Fatalf("Parse(%q) set what the JSON does not hold: %+v", text, e)
		}
		if e.Id == "" && e.Code == 0 && e.Detail == "" && e.Status == "" && text != "" && text != e.Error() {
			t.Fatalf("Parse(%q) lost the text", text)
		}
		again := errors.Parse(e.Error())
		// JSON cannot carry bytes that are not UTF-8: they become U+FFFD.
		if utf8.ValidString(text) && again.Error() != e.Error() {
			t.Fatalf("Parse(%q) = %s, after another trip %s", text, e, again)
		}
	})
}
