package interop

import (
	"bytes"
	"context"
	"encoding/json"
	stderrors "errors"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/seed-9a4e2794/micro/errors"
)

// jsonError is the body of an answer that is an error, and its status.
type jsonError struct {
	Status  int    `json:"-"`
	Code    string `json:"code"`
	Message string `json:"message"`
}

func (e *jsonError) Error() string { return fmt.Sprintf("%d %s: %s", e.Status, e.Code, e.Message) }

// doJSON makes a request and returns the body that comes back, or the error
// that it holds.
func doJSON(hc *http.Client, req *http.Request) (string, error) {
	rsp, err := hc.Do(req)
	if err != nil {
		return "", err
	}
	defer rsp.Body.Close()
	got, err := io.ReadAll(rsp.Body)
	if err != nil {
		return "", err
	}
	if rsp.StatusCode != http.StatusOK {
		e := &jsonError{Status: rsp.StatusCode}
		if err := json.Unmarshal(got, e); err != nil {
			return "", fmt.Errorf("status %d with a body that is no JSON: %q", rsp.StatusCode, got)
		}
		return "", e
	}
	return string(got), nil
}

// jsonCaller posts JSON over HTTP/1.1. The deadline is told to the service
// alone, so that its answer is what is seen.
func jsonCaller(t *testing.T, n *node) *caller {
	hc := n.http(t, 1)
	return &caller{
		unary: func(ctx context.Context, what string) (string, error) {
			body, err := json.Marshal(what)
			if err != nil {
				return "", err
			}
			req, err := http.NewRequest(http.MethodPost, n.url("/Echo/Unary"), bytes.NewReader(body))
			if err != nil {
				return "", err
			}
			req.Header.Set("Content-Type", "application/json")
			if end, ok := ctx.Deadline(); ok {
				req.Header.Set("Connect-Timeout-Ms", fmt.Sprint(time.Until(end).Milliseconds()))
			}
			asking, cancel := context.WithCancel(t.Context())
			defer cancel()
			defer context.AfterFunc(ctx, func() {
				if ctx.Err() == context.Canceled {
					cancel()
				}
			})()
			got, err := doJSON(hc, req.WithContext(asking))
			if err != nil {
				return "", err
			}
			var out string
			err = json.Unmarshal([]byte(got), &out)
			return out, err
		},
		code: func(err error) (errors.Code, string) {
			var e *jsonError
			if !stderrors.As(err, &e) {
				c := errors.From("", err)
				return c.GRPCCode(), err.Error()
			}
			for c := errors.CodeCanceled; c <= errors.CodeUnauthenticated; c++ {
				if c.String() == e.Code {
					return c, e.Message
				}
			}
			return errors.CodeOK, e.Error()
		},
	}
}
