package errors_test

import (
	"context"
	stderrors "errors"
	"fmt"

	"github.com/seed-9a4e2794/micro/errors"
)

// A handler returns an error with a code; its JSON is what travels.
func Example() {
	err := errors.NotFound("greeter", "no greeting in %s", "Klingon")
	fmt.Println(err)

	e := errors.Parse(err.Error())
	fmt.Println(e.Code, e.Detail, e.GRPCCode())
	// Output:
	// {"id":"greeter","code":404,"detail":"no greeting in Klingon","status":"Not Found"}
	// 404 no greeting in Klingon not_found
}

// Errors of calls are told apart with the standard library.
func ExampleError_Is() {
	err := fmt.Errorf("greet: %w", errors.Timeout("greeter", "no answer in 5s"))
	fmt.Println(stderrors.Is(err, context.DeadlineExceeded))
	fmt.Println(stderrors.Is(err, errors.ErrRefused))
	// Output:
	// true
	// false
}

func ExampleFrom() {
	e := errors.From("greeter", fmt.Errorf("query: %w", context.Canceled))
	fmt.Println(e.Code, e.Detail)
	// Output: 499 query: context canceled
}

// A call that was refused was surely not executed and may be repeated.
func ExampleRefuse() {
	err := errors.Refuse("greeter", errors.CodeUnavailable, "draining")
	fmt.Println(stderrors.Is(err, errors.ErrRefused), err.Code)
	// Output: true 503
}
