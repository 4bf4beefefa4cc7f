package http_test

import (
	"context"
	stderrors "errors"
	"fmt"
	nethttp "net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/seed-9a4e2794/micro/codec/proto"
	"github.com/seed-9a4e2794/micro/errors"
	"github.com/seed-9a4e2794/micro/internal/leaktest"
	"github.com/seed-9a4e2794/micro/metadata"
	"github.com/seed-9a4e2794/micro/transport"
	"github.com/seed-9a4e2794/micro/transport/http"
)

func TestUnaryCallsAreAnswered(t *testing.T) {
	each(t, func(t *testing.T, s *site) {
		s.echo()
		c := s.dial()
		for _, n := range []int{0, 1, 5000, 1<<20 - 10} {
			want := strings.Repeat("x", n)
			if got, err := call(t, c, ask("Echo", want)); err != nil || got != want {
				t.Fatalf("%d bytes came back as %d, %v", n, len(got), err)
			}
		}
		rsp, err := c.Call(context.Background(), ask("Echo", "x"))
		if err != nil || rsp.Body.ContentType != (proto.Codec{}).Name() {
			t.Errorf("the reply is of type %q, %v", rsp.Body.ContentType, err)
		}
		rsp.Body.Release()
		if c.Remote() != s.addr || !strings.HasPrefix(c.Local(), "127.0.0.1:") || c.Err() != nil {
			t.Errorf("from %s to %s, %v", c.Local(), c.Remote(), c.Err())
		}
	})
}

func TestErrorsComeWithCodeTextAndDetails(t *testing.T) {
	each(t, func(t *testing.T, s *site) {
		s.unary("Fail", func(context.Context, *connect.Request[str]) (*connect.Response[str], error) {
			e := connect.NewError(connect.CodeAborted, stderrors.New("taken"))
			d, err := connect.NewErrorDetail(wrapperspb.String("why"))
			if err != nil {
				return nil, err
			}
			e.AddDetail(d)
			e.Meta().Set("X-More", "some")
			return nil, e
		})
		rsp, err := s.dial().Call(context.Background(), ask("Fail", ""))
		var e *errors.Error
		if !stderrors.As(err, &e) || e.GRPCCode() != errors.CodeAborted || e.Detail != "taken" || e.Code != 409 || e.Refused ||
			len(e.Details) != 1 || e.Details[0].Type != "type.googleapis.com/google.protobuf.StringValue" || string(e.Details[0].Value) != "\n\x03why" {
			t.Errorf("got %+v", err)
		}
		if v, _ := append(rsp.Header, rsp.Trailer...).Get("x-more"); v != "some" {
			t.Errorf("the error's metadata: header %v, trailer %v", rsp.Header, rsp.Trailer)
		}
		if rsp.Body.Data != nil {
			t.Errorf("a body with an error: %q", rsp.Body.Data)
		}
	})
}

func TestMetadataTravelsBothWays(t *testing.T) {
	each(t, func(t *testing.T, s *site) {
		s.unary("Meta", func(_ context.Context, r *connect.Request[str]) (*connect.Response[str], error) {
			rsp := connect.NewResponse(&str{})
			for _, v := range r.Header().Values("X-User") {
				rsp.Header().Add("X-Back", v)
			}
			b, err := connect.DecodeBinaryHeader(r.Header().Get("X-Raw-Bin"))
			if err != nil {
				return nil, err
			}
			rsp.Header().Set("X-Raw-Bin", connect.EncodeBinaryHeader(b))
			rsp.Trailer().Set("X-End", "last")
			return rsp, nil
		})
		c := s.dial()
		r := ask("Meta", "")
		r.Header = metadata.Header{{Key: "x-user", Value: "ada"}, {Key: "x-user", Value: "grace"}, {Key: "x-raw-bin", Value: "\x00\xff\n"}}
		rsp, err := c.Call(context.Background(), r)
		if err != nil {
			t.Fatal(err)
		}
		rsp.Body.Release()
		if vs := rsp.Header.Values("x-back"); len(vs) != 2 || vs[0] != "ada" || vs[1] != "grace" {
			t.Errorf("x-back is %q", vs)
		}
		if v, _ := rsp.Header.Get("x-raw-bin"); v != "\x00\xff\n" {
			t.Errorf("x-raw-bin is %q", v)
		}
		if v, _ := rsp.Trailer.Get("x-end"); v != "last" {
			t.Errorf("the trailer is %v", rsp.Trailer)
		}
		for _, f := range []metadata.Field{{Key: "x-user", Value: "a\nb"}, {Key: "", Value: "x"}, {Key: "x y", Value: "z"}} {
			r.Header = metadata.Header{f}
			if _, err := c.Call(context.Background(), r); code(err) != errors.CodeInvalidArgument || !strings.Contains(err.Error(), "cannot be carried by HTTP") {
				t.Errorf("%q: %v", f, err)
			}
		}
		r.Header = metadata.Header{{Key: "x-user", Value: strings.Repeat("x", 64<<10)}}
		if _, err := c.Call(context.Background(), r); !stderrors.Is(err, errors.ErrRefused) || code(err) != errors.CodeResourceExhausted {
			t.Errorf("metadata over the limit: %v", err)
		}
	})
}

func TestDeadlineIsSeenByTheServerAndEndsTheCall(t *testing.T) {
	each(t, func(t *testing.T, s *site) {
		seen, ended := make(chan time.Duration, 2), make(chan struct{}, 2)
		s.unary("Wait", func(ctx context.Context, _ *connect.Request[str]) (*connect.Response[str], error) {
			d, ok := ctx.Deadline()
			if !ok {
				return nil, stderrors.New("no deadline")
			}
			seen <- time.Until(d)
			<-ctx.Done()
			ended <- struct{}{}
			return nil, ctx.Err()
		})
		s.echo()
		c := s.dial()
		if _, err := call(t, c, ask("Echo", "")); err != nil { // the connection is warm
			t.Fatal(err)
		}
		r := ask("Wait", "")
		r.Deadline = time.Now().Add(300 * time.Millisecond)
		ctx, cancel := context.WithTimeout(context.Background(), time.Hour) // the earlier counts
		defer cancel()
		if _, err := c.Call(ctx, r); !stderrors.Is(err, context.DeadlineExceeded) || code(err) != errors.CodeDeadlineExceeded {
			t.Errorf("got %v", err)
		}
		if d := within(t, seen); d > 300*time.Millisecond {
			t.Errorf("the server has %v", d)
		}
		within(t, ended)
		short, cancel2 := context.WithTimeout(context.Background(), 50*time.Millisecond)
		defer cancel2()
		if _, err := c.Call(short, ask("Wait", "")); !stderrors.Is(err, context.DeadlineExceeded) {
			t.Errorf("with the context's: %v", err)
		}
		r.Deadline = time.Now().Add(-time.Second)
		if _, err := c.Call(context.Background(), r); !stderrors.Is(err, context.DeadlineExceeded) {
			t.Errorf("with one that has passed: %v", err)
		}
		if got, err := call(t, c, ask("Echo", "alive")); err != nil || got != "alive" {
			t.Errorf("afterwards: %q, %v", got, err)
		}
	})
}

func TestCancelIsSeenByTheServerAndEndsTheCall(t *testing.T) {
	each(t, func(t *testing.T, s *site) {
		begun, ended := make(chan struct{}), make(chan struct{})
		s.unary("Wait", func(ctx context.Context, _ *connect.Request[str]) (*connect.Response[str], error) {
			close(begun)
			<-ctx.Done()
			close(ended)
			return nil, ctx.Err()
		})
		c := s.dial()
		ctx, cancel := context.WithCancel(context.Background())
		go func() { <-begun; cancel() }()
		if _, err := c.Call(ctx, ask("Wait", "")); !stderrors.Is(err, context.Canceled) || code(err) != errors.CodeCanceled {
			t.Errorf("got %v", err)
		}
		within(t, ended)
		if _, err := c.Call(ctx, ask("Wait", "")); !stderrors.Is(err, context.Canceled) {
			t.Errorf("a call with an ended context: %v", err)
		}
	})
}

func TestMessagesOverTheLimitAreErrors(t *testing.T) {
	each(t, func(t *testing.T, s *site) {
		s.echo()
		s.unary("Large", func(context.Context, *connect.Request[str]) (*connect.Response[str], error) {
			return connect.NewResponse(wrapperspb.String(strings.Repeat("x", 1<<20+1))), nil
		})
		c := s.dial()
		for _, r := range []transport.Request{ask("Echo", strings.Repeat("x", 1<<20+1)), ask("Large", "")} {
			if _, err := c.Call(context.Background(), r); !stderrors.Is(err, transport.ErrTooLarge) || code(err) != errors.CodeResourceExhausted {
				t.Errorf("%s: %v", r.Method.Endpoint, err)
			}
		}
		if got, err := call(t, c, ask("Echo", "alive")); err != nil || got != "alive" {
			t.Errorf("afterwards: %q, %v", got, err)
		}
	})
}

// bad cannot encode.
type bad struct{ proto.Codec }

func (bad) Append([]byte, any) ([]byte, error) { return nil, stderrors.New("no words") }

// worse panics.
type worse struct{ proto.Codec }

func (worse) Append([]byte, any) ([]byte, error) { panic("no words") }

func TestMessagesThatCannotBeEncodedAreErrors(t *testing.T) {
	each(t, func(t *testing.T, s *site) {
		s.echo()
		c := s.dial()
		for _, m := range []transport.Message{{Value: 1, Codec: bad{}}, {Value: 1, Codec: worse{}}} {
			r := ask("Echo", "")
			r.Message = m
			if _, err := c.Call(context.Background(), r); code(err) != errors.CodeInvalidArgument || !strings.Contains(err.Error(), "no words") {
				t.Errorf("got %v", err)
			}
		}
	})
}

// streams limits how many streams a server takes at once.
func streams(n int) func(*nethttp.Server) {
	return func(s *nethttp.Server) { s.HTTP2.MaxConcurrentStreams = n }
}

func http1Only(s *nethttp.Server) {
	s.Protocols = new(nethttp.Protocols)
	s.Protocols.SetHTTP1(true)
}

func TestManyCallsAtOnceGetTheirOwnAnswers(t *testing.T) {
	each(t, func(t *testing.T, s *site) {
		s = newSite(t, s.proto, s.secure, streams(50)) // calls wait for a slot
		s.echo()
		c := s.dial()
		var group sync.WaitGroup
		for i := range 200 {
			group.Go(func() {
				for j := range 2 {
					want := fmt.Sprint(i, " ", j)
					if got, err := call(t, c, ask("Echo", want)); err != nil || got != want {
						t.Errorf("asked for %q, got %q, %v", want, got, err)
						return
					}
				}
			})
		}
		group.Wait()
	})
}

func TestCallThatWaitsForASlotEndsAtItsDeadline(t *testing.T) {
	leaktest.Check(t)
	s := newSite(t, http.GRPC, false, streams(1))
	begun, release := make(chan struct{}), make(chan struct{})
	s.unary("Hold", func(context.Context, *connect.Request[str]) (*connect.Response[str], error) {
		close(begun)
		<-release
		return connect.NewResponse(&str{}), nil
	})
	s.echo()
	c := s.dial()
	held := make(chan error, 1)
	go func() { _, err := call(t, c, ask("Hold", "")); held <- err }()
	within(t, begun)
	r := ask("Echo", "x")
	r.Deadline = time.Now().Add(50 * time.Millisecond)
	if _, err := call(t, c, r); !stderrors.Is(err, context.DeadlineExceeded) {
		t.Errorf("while the only slot is taken: %v", err)
	}
	next := make(chan error, 1)
	go func() { _, err := call(t, c, ask("Echo", "x")); next <- err }()
	close(release)
	if err := within(t, held); err != nil {
		t.Errorf("the call that held it: %v", err)
	}
	if err := within(t, next); err != nil {
		t.Errorf("the call that waited: %v", err)
	}
}
