package interop

import (
	"context"
	stderrors "errors"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/seed-9a4e2794/micro"
	"github.com/seed-9a4e2794/micro/errors"
	"github.com/seed-9a4e2794/micro/internal/leaktest"
	"github.com/seed-9a4e2794/micro/server"
	"github.com/seed-9a4e2794/micro/transport/port"
)

// text is the message of the endpoints that every protocol calls: what it
// holds says what a handler is to do.
type text = wrapperspb.StringValue

// What handlers can be told to do.
const (
	doError = "error" // fail with FailedPrecondition
	doPanic = "panic"
	doBlock = "block" // wait for the end of the call
)

// shortDeadline is the deadline of calls that block. The handler has to begin
// within it.
const shortDeadline = 250 * time.Millisecond

// echo serves the endpoints.
type echo struct {
	begun chan struct{} // a blocking call has begun
	ended chan error    // and has ended with this
}

func newEcho() *echo { return &echo{make(chan struct{}, 1), make(chan error, 1)} }

func (e *echo) register(s micro.Service) error {
	return stderrors.Join(
		micro.Handle(s, "Echo.Unary", func(ctx context.Context, req *text) (*text, error) {
			return req, e.do(ctx, req.Value)
		}),
		micro.HandleServerStream(s, "Echo.Server", func(ctx context.Context, req *text, out server.SendStream[text]) error {
			if err := out.Send(wrapperspb.String(req.Value + " 1")); err != nil {
				return err
			}
			if err := e.do(ctx, req.Value); err != nil {
				return err
			}
			return out.Send(wrapperspb.String(req.Value + " 2"))
		}),
		micro.HandleClientStream(s, "Echo.Client", func(ctx context.Context, in server.RecvStream[text]) (*text, error) {
			var all []string
			for m, err := range in.All() {
				if err != nil {
					return nil, err
				}
				if err := e.do(ctx, m.Value); err != nil {
					return nil, err
				}
				all = append(all, m.Value)
			}
			return wrapperspb.String(strings.Join(all, " ")), nil
		}),
		micro.HandleBidiStream(s, "Echo.Bidi", func(ctx context.Context, both server.BidiStream[text, text]) error {
			for m, err := range both.All() {
				if err != nil {
					return err
				}
				if err := both.Send(m); err != nil {
					return err
				}
				if err := e.do(ctx, m.Value); err != nil {
					return err
				}
			}
			return nil
		}),
	)
}

func (e *echo) do(ctx context.Context, what string) error {
	switch what {
	case doError:
		return errors.NewCode("interop", errors.CodeFailedPrecondition, "not today")
	case doPanic:
		panic("as the test asks for")
	case doBlock:
		e.begun <- struct{}{}
		<-ctx.Done()
		e.ended <- ctx.Err()
		return ctx.Err()
	}
	return nil
}

// caller calls the endpoints in one protocol. What the protocol does not have
// is nil. Streams both ways take turns: one message, one echo. Errors are told
// as the caller sees them.
type caller struct {
	unary  func(ctx context.Context, what string) (string, error)
	server func(ctx context.Context, what string) ([]string, error)
	client func(ctx context.Context, what ...string) (string, error)
	bidi   func(ctx context.Context, what ...string) ([]string, error)
	// code returns the code and the text of an error that the calls return.
	code func(error) (errors.Code, string)
}

// call makes a call of a kind; the last message says what to do. It returns
// all messages that came.
type call struct {
	kind string
	do   func(ctx context.Context, what string) ([]string, error)
	// came is what comes back before the handler does as it is told.
	came func(what string) []string
	// after is what comes back when it succeeds.
	after func(what string) []string
}

func (c *caller) calls() []call {
	var out []call
	nothing := func(string) []string { return nil }
	if c.unary != nil {
		out = append(out, call{"unary", func(ctx context.Context, what string) ([]string, error) { return one(c.unary(ctx, what)) },
			nothing, func(what string) []string { return []string{what} }})
	}
	if c.server != nil {
		out = append(out, call{"server", c.server,
			func(what string) []string { return []string{what + " 1"} }, func(what string) []string { return []string{what + " 1", what + " 2"} }})
	}
	if c.client != nil {
		out = append(out, call{"client", func(ctx context.Context, what string) ([]string, error) { return one(c.client(ctx, "first", what)) },
			nothing, func(what string) []string { return []string{"first " + what} }})
	}
	if c.bidi != nil {
		both := func(what string) []string { return []string{"first", what} }
		out = append(out, call{"bidi", func(ctx context.Context, what string) ([]string, error) { return c.bidi(ctx, "first", what) }, both, both})
	}
	return out
}

func one(s string, err error) ([]string, error) {
	if err != nil {
		return nil, err
	}
	return []string{s}, nil
}

// TestEveryProtocolEndToEnd walks all protocols, plain and with TLS, all kinds
// of calls that they have, and all ways in which a call ends.
func TestEveryProtocolEndToEnd(t *testing.T) {
	for name, dial := range map[string]func(*testing.T, *node) *caller{
		"native":           nativeCaller,
		"grpc":             grpcCaller,
		"grpc-web":         grpcWebCaller,
		"connect":          connectCaller,
		"connect json":     connectJSONCaller,
		"json":             jsonCaller,
		"go-micro":         goMicroCaller,
		"go-micro json":    goMicroJSONCaller,
		"our grpc":         ownCaller("grpc"),
		"our grpc-web":     ownCaller("grpc-web"),
		"our connect":      ownCaller("connect"),
		"our mucp":         ownCaller("mucp"),
		"our mucp, legacy": ownCaller("mucp-legacy"),
	} {
		t.Run(name, func(t *testing.T) {
			sides(t, func(t *testing.T, secure bool) {
				leaktest.Check(t)
				e := newEcho()
				n := serve(t, secure, port.Config{}, e.register)
				c := dial(t, n)
				for _, call := range c.calls() {
					t.Run(call.kind, func(t *testing.T) { e.check(t, c, call) })
				}
			})
		})
	}
}

// check makes a call of one kind end in every way.
func (e *echo) check(t *testing.T, c *caller, do call) {
	t.Run("ok", func(t *testing.T) {
		ctx, cancel := within(t)
		defer cancel()
		got, err := do.do(ctx, "Ada ✓")
		if want := do.after("Ada ✓"); err != nil || !slices.Equal(got, want) {
			t.Errorf("got %q, %v, want %q", got, err, want)
		}
	})
	t.Run("error", func(t *testing.T) {
		ctx, cancel := within(t)
		defer cancel()
		got, err := do.do(ctx, doError)
		c.want(t, err, errors.CodeFailedPrecondition, "not today")
		if want := do.came(doError); !slices.Equal(got, want) {
			t.Errorf("before the error %q came, want %q", got, want)
		}
	})
	t.Run("deadline", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), shortDeadline)
		defer cancel()
		_, err := do.do(ctx, doBlock)
		c.want(t, err, errors.CodeDeadlineExceeded, "")
		if e.blocked(t) == nil {
			t.Error("the handler's context has not ended")
		}
	})
	t.Run("cancel", func(t *testing.T) {
		ctx, cancel := within(t)
		defer cancel()
		failed := make(chan error, 1)
		go func() {
			_, err := do.do(ctx, doBlock)
			failed <- err
		}()
		select {
		case <-e.begun:
			e.begun <- struct{}{} // for blocked
		case err := <-failed:
			t.Fatalf("the call ended before it was cancelled: %v", err)
		}
		cancel()
		c.want(t, <-failed, errors.CodeCanceled, "")
		if err := e.blocked(t); !stderrors.Is(err, context.Canceled) {
			t.Errorf("the handler's context ended with %v, want %v", err, context.Canceled)
		}
	})
	t.Run("panic", func(t *testing.T) {
		ctx, cancel := within(t)
		defer cancel()
		_, err := do.do(ctx, doPanic)
		c.want(t, err, errors.CodeInternal, "")
		got, err := do.do(ctx, "on")
		if want := do.after("on"); err != nil || !slices.Equal(got, want) {
			t.Errorf("the next call got %q, %v, want %q", got, err, want)
		}
	})
}

// blocked waits until a blocking handler has begun and ended, and returns what
// its context ended with.
func (e *echo) blocked(t *testing.T) error {
	t.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-e.begun:
	case <-timer.C:
		t.Fatal("the handler has not begun")
	}
	select {
	case err := <-e.ended:
		return err
	case <-timer.C:
		t.Fatal("the handler has not heard that the call has ended")
	}
	return nil
}

// want checks the error of a call.
func (c *caller) want(t *testing.T, err error, code errors.Code, text string) {
	t.Helper()
	if err == nil {
		t.Errorf("no error, want %v", code)
		return
	}
	got, said := c.code(err)
	if got != code || !strings.Contains(said, text) {
		t.Errorf("got %v with %q (%v), want %v with %q", got, said, err, code, text)
	}
}
