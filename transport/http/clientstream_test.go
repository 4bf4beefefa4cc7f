package http_test

import (
	"context"
	stderrors "errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/seed-9a4e2794/micro/codec/bytes"
	"github.com/seed-9a4e2794/micro/errors"
	"github.com/seed-9a4e2794/micro/internal/leaktest"
	"github.com/seed-9a4e2794/micro/metadata"
	"github.com/seed-9a4e2794/micro/transport"
	"github.com/seed-9a4e2794/micro/transport/http"
)

// bidi serves a method Test.<name> with connect's handler.
func (s *site) bidi(name string, f func(context.Context, *connect.BidiStream[str, str]) error) {
	s.mux.Handle("/Test/"+name, connect.NewBidiStreamHandler("/Test/"+name, f))
}

// chat serves a stream that sends back what comes.
func (s *site) chat() {
	s.bidi("Chat", func(_ context.Context, st *connect.BidiStream[str, str]) error {
		st.ResponseHeader().Set("X-Back", st.RequestHeader().Get("X-User"))
		st.ResponseTrailer().Set("X-End", "last")
		if err := st.Send(nil); err != nil { // the header
			return err
		}
		for {
			m, err := st.Receive()
			if stderrors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return err
			}
			if err := st.Send(m); err != nil {
				return err
			}
		}
	})
}

func open(t *testing.T, c transport.Conn, r transport.Request) transport.Socket {
	t.Helper()
	s, err := c.Open(context.Background(), r)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// ends checks how a stream ends, and that it stays so.
func ends(t *testing.T, s transport.Socket, want func(error) bool) {
	t.Helper()
	for range 2 {
		body, err := s.Recv()
		if err == nil {
			t.Errorf("a message in place of the end: %q", body.Data)
			body.Release()
		} else if !want(err) {
			t.Errorf("it ended with %v", err)
		}
	}
	select {
	case <-s.Context().Done():
	case <-time.After(patience):
		t.Error("the stream has ended and its context has not")
	}
	if err := s.Send(send("late")); err != io.EOF {
		t.Errorf("Send after the end: %v, want io.EOF", err)
	}
	s.Reset() // does nothing
}

func is(target error) func(error) bool {
	return func(err error) bool { return stderrors.Is(err, target) }
}

func TestStreamMessagesTravelBothWaysInOrder(t *testing.T) {
	each(t, func(t *testing.T, s *site) {
		s.chat()
		r := ask("Chat", "")
		r.Header = metadata.Header{{Key: "x-user", Value: "ada"}}
		st := open(t, s.dial(), r)
		h, err := st.Header()
		if v, _ := h.Get("x-back"); err != nil || v != "ada" {
			t.Errorf("the header is %v, %v", h, err)
		}
		const n = 300
		sent := make(chan error, 1)
		go func() {
			for i := range n {
				if err := st.Send(send(fmt.Sprint(i))); err != nil {
					sent <- err
					return
				}
			}
			sent <- st.CloseSend()
		}()
		for i := range n {
			body, err := st.Recv()
			if err != nil {
				t.Fatalf("message %d: %v", i, err)
			}
			if got := text(t, body); got != fmt.Sprint(i) {
				t.Fatalf("message %d is %q", i, got)
			}
		}
		if err := within(t, sent); err != nil {
			t.Error(err)
		}
		if err := st.Send(send("more")); err == nil || err == io.EOF {
			t.Errorf("Send after CloseSend: %v", err)
		}
		ends(t, st, is(io.EOF))
		if v, _ := st.Trailer().Get("x-end"); v != "last" {
			t.Errorf("the trailer is %v", st.Trailer())
		}
	})
}

func TestClientAndServerStreamsAreCalledAsStreams(t *testing.T) {
	each(t, func(t *testing.T, s *site) {
		s.mux.Handle("/Test/Sum", connect.NewClientStreamHandler("/Test/Sum", func(_ context.Context, st *connect.ClientStream[str]) (*connect.Response[str], error) {
			var all string
			for st.Receive() {
				all += st.Msg().Value
			}
			return connect.NewResponse(wrapperspb.String(all)), st.Err()
		}))
		s.mux.Handle("/Test/Split", connect.NewServerStreamHandler("/Test/Split", func(_ context.Context, r *connect.Request[str], st *connect.ServerStream[str]) error {
			for _, c := range r.Msg.Value {
				if err := st.Send(wrapperspb.String(string(c))); err != nil {
					return err
				}
			}
			return nil
		}))
		c := s.dial()
		for _, tt := range []struct {
			name     string
			in, want []string
		}{{"Sum", []string{"a", "b", "", "c"}, []string{"abc"}}, {"Split", []string{"abc"}, []string{"a", "b", "c"}}} {
			st := open(t, c, ask(tt.name, ""))
			for _, m := range tt.in {
				if err := st.Send(send(m)); err != nil {
					t.Fatal(err)
				}
			}
			if err := st.CloseSend(); err != nil {
				t.Error(err)
			}
			for _, want := range tt.want {
				body, err := st.Recv()
				if err != nil {
					t.Fatal(err)
				}
				if got := text(t, body); got != want {
					t.Errorf("%s: got %q, want %q", tt.name, got, want)
				}
			}
			ends(t, st, is(io.EOF))
		}
	})
}

func TestStreamEndsWithTheErrorOfTheHandler(t *testing.T) {
	each(t, func(t *testing.T, s *site) {
		s.bidi("Fail", func(_ context.Context, st *connect.BidiStream[str, str]) error {
			if err := st.Send(wrapperspb.String("before")); err != nil {
				return err
			}
			return connect.NewError(connect.CodePermissionDenied, stderrors.New("no"))
		})
		st := open(t, s.dial(), ask("Fail", ""))
		body, err := st.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if got := text(t, body); got != "before" {
			t.Errorf("got %q", got)
		}
		ends(t, st, func(err error) bool {
			e := errors.From("", err)
			return e.Code == 403 && e.Detail == "no" && e.GRPCCode() == errors.CodePermissionDenied
		})
	})
}

func TestStreamEndsOnBothSides(t *testing.T) {
	each(t, func(t *testing.T, s *site) {
		begun, ended := make(chan struct{}, 1), make(chan struct{}, 1)
		s.bidi("Wait", func(ctx context.Context, st *connect.BidiStream[str, str]) error {
			begun <- struct{}{}
			<-ctx.Done()
			ended <- struct{}{}
			return ctx.Err()
		})
		c := s.dial()
		ctx, cancel := context.WithCancel(context.Background())
		for _, tt := range []struct {
			name string
			end  func(transport.Socket)
			want error
		}{
			{"by Reset", transport.Socket.Reset, context.Canceled},
			{"by cancelling", func(transport.Socket) { cancel() }, context.Canceled},
			{"at the deadline", func(transport.Socket) {}, context.DeadlineExceeded},
		} {
			r, cctx := ask("Wait", ""), context.Background()
			switch tt.name {
			case "by cancelling":
				cctx = ctx
			case "at the deadline":
				r.Deadline = time.Now().Add(100 * time.Millisecond)
			}
			st, err := c.Open(cctx, r)
			if err != nil {
				t.Fatal(err)
			}
			within(t, begun)
			got := make(chan error, 1)
			go func() { _, err := st.Recv(); got <- err }() // it waits
			tt.end(st)
			if err := within(t, got); !stderrors.Is(err, tt.want) {
				t.Errorf("%s: Recv returned %v", tt.name, err)
			}
			within(t, ended)
			ends(t, st, is(tt.want))
		}
	})
}

func TestSendWaitsForAPeerThatTakesNothingAndEndsWithTheCall(t *testing.T) {
	each(t, func(t *testing.T, s *site) {
		s.bidi("Hold", func(ctx context.Context, _ *connect.BidiStream[str, str]) error {
			<-ctx.Done()
			return ctx.Err()
		})
		s.echo()
		c := s.dial()
		st := open(t, c, ask("Hold", ""))
		sent := make(chan error, 1)
		count := make(chan struct{}, 1000)
		go func() {
			for {
				if err := st.Send(send(strings.Repeat("x", 100_000))); err != nil {
					sent <- err
					return
				}
				count <- struct{}{}
			}
		}()
		for range 50 { // others are not held up
			if _, err := call(t, c, ask("Echo", "x")); err != nil {
				t.Fatal(err)
			}
		}
		if n := len(count); n > 20 {
			t.Errorf("%d messages of 100,000 bytes were taken", n)
		}
		st.Reset()
		if err := within(t, sent); !stderrors.Is(err, context.Canceled) && err != io.EOF {
			t.Errorf("Send ended with %v", err)
		}
		ends(t, st, is(context.Canceled))
	})
}

func TestStreamMessagesOverTheLimitAreErrors(t *testing.T) {
	each(t, func(t *testing.T, s *site) {
		s.chat()
		s.bidi("Large", func(_ context.Context, st *connect.BidiStream[str, str]) error {
			return st.Send(wrapperspb.String(strings.Repeat("x", 1<<20+1)))
		})
		c := s.dial()
		st := open(t, c, ask("Chat", ""))
		if err := st.Send(send(strings.Repeat("x", 1<<20+1))); !stderrors.Is(err, transport.ErrTooLarge) {
			t.Errorf("to send: %v", err)
		}
		if err := st.Send(transport.Message{Value: []byte("x"), Codec: bytes.Codec{}}); code(err) != errors.CodeInvalidArgument {
			t.Errorf("another codec: %v", err)
		}
		if err := st.Send(send("alive")); err != nil {
			t.Error(err)
		}
		if body, err := st.Recv(); err != nil || text(t, body) != "alive" {
			t.Errorf("afterwards: %v", err)
		}
		if err := st.CloseSend(); err != nil {
			t.Error(err)
		}
		ends(t, st, is(io.EOF))
		ends(t, open(t, c, ask("Large", "")), is(transport.ErrTooLarge))
	})
}

func TestStreamOfALostConnectionEndsWithErrLost(t *testing.T) {
	each(t, func(t *testing.T, s *site) {
		s.chat()
		st := open(t, s.dial(), ask("Chat", ""))
		if _, err := st.Header(); err != nil {
			t.Fatal(err)
		}
		s.server.Close()
		select { // nobody is in Recv or Send
		case <-st.Context().Done():
		case <-time.After(patience):
			t.Fatal("the connection is lost and the stream's context has not ended")
		}
		ends(t, st, is(transport.ErrLost))
		if _, err := st.Header(); !stderrors.Is(err, transport.ErrLost) {
			t.Errorf("Header: %v", err)
		}
	})
}

func TestStreamWithoutAnEndpointEndsWithUnimplemented(t *testing.T) {
	each(t, func(t *testing.T, s *site) {
		st := open(t, s.dial(), ask("None", ""))
		if _, err := st.Header(); err != nil && code(err) != errors.CodeUnimplemented {
			t.Errorf("Header: %v", err)
		}
		ends(t, st, func(err error) bool {
			return code(err) == errors.CodeUnimplemented && strings.Contains(err.Error(), "404 Not Found") && !stderrors.Is(err, errors.ErrRefused)
		})
	})
}

func TestStreamsOverHTTP1AreRefusedWithTheReason(t *testing.T) {
	leaktest.Check(t)
	c := newSite(t, http.Connect, true, http1Only).dial()
	if _, err := c.Open(context.Background(), ask("Chat", "")); code(err) != errors.CodeUnimplemented || !strings.Contains(err.Error(), "HTTP/1.1 only") {
		t.Errorf("got %v", err)
	}
}
