package micro_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/seed-9a4e2794/micro"
	"github.com/seed-9a4e2794/micro/client"
	microerrors "github.com/seed-9a4e2794/micro/errors"
	"github.com/seed-9a4e2794/micro/internal/leaktest"
	"github.com/seed-9a4e2794/micro/server"
)

type number struct {
	N int `json:"n"`
}

// streams starts a service with a typed stream of each kind.
func streams(t *testing.T) client.Client {
	t.Helper()
	runtimeDir(t)
	srv := run(t, micro.Name("numbers"))
	err := errors.Join(
		micro.HandleServerStream(srv, "Numbers.Count", func(ctx context.Context, req *number, s server.SendStream[number]) error {
			for i := range req.N {
				if err := s.Send(&number{i}); err != nil {
					return err
				}
			}
			if req.N == 13 {
				return microerrors.BadRequest("numbers", "unlucky")
			}
			return nil
		}),
		micro.HandleClientStream(srv, "Numbers.Sum", func(_ context.Context, s server.RecvStream[number]) (*number, error) {
			var sum number
			for n, err := range s.All() {
				if err != nil {
					return nil, err
				}
				sum.N += n.N
			}
			return &sum, nil
		}),
		micro.HandleBidiStream(srv, "Numbers.Double", func(_ context.Context, s server.BidiStream[number, number]) error {
			for n, err := range s.All() {
				if err != nil {
					return err
				}
				if err := s.Send(&number{2 * n.N}); err != nil {
					return err
				}
			}
			return nil
		}),
		micro.Handle(srv, "Numbers.Echo", func(_ context.Context, n *number) (*number, error) { return n, nil }),
	)
	if err != nil {
		t.Fatal(err)
	}
	return run(t, micro.Name("caller")).Client()
}

func TestATypedServerStreamBringsAllMessagesAndTheEnd(t *testing.T) {
	leaktest.Check(t)
	c := streams(t)
	s, err := micro.ServerStream[number](context.Background(), c, "numbers", "Numbers.Count", &number{1000})
	if err != nil {
		t.Fatal(err)
	}
	want := 0
	for n, err := range s.All() {
		if err != nil {
			t.Fatal(err)
		}
		if n.N != want {
			t.Fatalf("got %d, want %d", n.N, want)
		}
		want++
	}
	if want != 1000 {
		t.Errorf("got %d messages", want)
	}
	if _, err := s.Recv(); err != io.EOF {
		t.Errorf("after the end: %v", err)
	}
}

func TestATypedServerStreamsErrorComesAfterItsMessages(t *testing.T) {
	leaktest.Check(t)
	c := streams(t)
	s, err := micro.ServerStream[number](context.Background(), c, "numbers", "Numbers.Count", &number{13})
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	var last error
	for _, err := range s.All() {
		if last = err; err == nil {
			count++
		}
	}
	var e *microerrors.Error
	if count != 13 || !errors.As(last, &e) || e.Code != 400 || e.Detail != "unlucky" {
		t.Errorf("%d messages, then %v", count, last)
	}
}

func TestLeavingATypedStreamEarlyEndsIt(t *testing.T) {
	leaktest.Check(t)
	c := streams(t)
	s, err := micro.ServerStream[number](context.Background(), c, "numbers", "Numbers.Count", &number{1 << 30})
	if err != nil {
		t.Fatal(err)
	}
	for n, err := range s.All() {
		if err != nil || n.N == 3 {
			break
		}
	}
	<-s.Context().Done() // the server never ends by itself
}

func TestATypedClientStreamIsAnsweredOnce(t *testing.T) {
	leaktest.Check(t)
	c := streams(t)
	s, err := micro.ClientStream[number, number](context.Background(), c, "numbers", "Numbers.Sum")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		if err := s.Send(&number{i}); err != nil {
			t.Fatal(err)
		}
	}
	sum, err := s.CloseAndRecv()
	if err != nil || sum.N != 4950 {
		t.Errorf("got %v, %v", sum, err)
	}
}

func TestATypedBidiStreamAnswersWhileItListens(t *testing.T) {
	leaktest.Check(t)
	c := streams(t)
	s, err := micro.BidiStream[number, number](context.Background(), c, "numbers", "Numbers.Double")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		if err := s.Send(&number{i}); err != nil {
			t.Fatal(err)
		}
		if n, err := s.Recv(); err != nil || n.N != 2*i {
			t.Fatalf("got %v, %v", n, err)
		}
	}
	if err := s.CloseSend(); err != nil {
		t.Error(err)
	}
	if _, err := s.Recv(); err != io.EOF {
		t.Errorf("at the end: %v", err)
	}
}

func TestAUnaryEndpointIsNoStreamAndAStreamNoUnary(t *testing.T) {
	leaktest.Check(t)
	c := streams(t)
	_, err := micro.Call[number](context.Background(), c, "numbers", "Numbers.Count", &number{1})
	if microerrors.From("", err).GRPCCode() != microerrors.CodeUnimplemented {
		t.Errorf("a unary call of a stream: %v", err)
	}
	s, err := micro.ServerStream[number](context.Background(), c, "numbers", "Numbers.Echo", &number{1})
	if err == nil {
		_, err = s.Recv()
	}
	if microerrors.From("", err).GRPCCode() != microerrors.CodeUnimplemented {
		t.Errorf("a stream of a unary endpoint: %v", err)
	}
	_, err = micro.Call[number](context.Background(), c, "numbers", "Numbers.Nope", &number{1})
	if e := microerrors.From("", err); e.Code != 404 {
		t.Errorf("an unknown endpoint: %v", fmt.Sprint(err))
	}
}
