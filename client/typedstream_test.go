package client_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/seed-9a4e2794/micro/client"
	microerrors "github.com/seed-9a4e2794/micro/errors"
	"github.com/seed-9a4e2794/micro/server"
)

// Wrong sends what is not an Answer, and waits for the end.
type Wrong struct{ ended chan struct{} }

func (w *Wrong) Server(ctx context.Context, s server.Stream) error {
	if err := s.Send(&struct{ Text int }{1}); err != nil {
		return err
	}
	<-ctx.Done()
	close(w.ended)
	return nil
}

// Silent ends without an answer.
func (w *Wrong) Silent(context.Context, server.Stream) error { return nil }

func TestATypedStreamThatIsNotUnderstoodIsClosed(t *testing.T) {
	for _, kind := range []string{"All", "CloseAndRecv"} {
		t.Run(kind, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				wrong := &Wrong{make(chan struct{})}
				w.serve(t, "a", server.NewServer().NewHandler(wrong))
				c := w.client(t)
				// The context does not end before the stream has.
				var err error
				switch kind {
				case "All":
					s, oerr := client.OpenServerStream[Answer](context.Background(), c, "greeter", "Wrong.Server", &Ask{})
					must(t, oerr)
					n := 0
					for m, e := range s.All() {
						if n++; m != nil {
							t.Errorf("got %v", m)
						}
						err = e
					}
					if n != 1 {
						t.Errorf("%d errors were yielded", n)
					}
				default:
					s, oerr := client.OpenClientStream[Ask, Answer](context.Background(), c, "greeter", "Wrong.Server")
					must(t, oerr)
					_, err = s.CloseAndRecv()
				}
				if err == nil {
					t.Error("no error")
				}
				<-wrong.ended // or the bubble is deadlocked
			})
		})
	}
}

func TestAStreamThatEndsWithoutAnAnswerSaysWhichOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.serve(t, "a", server.NewServer().NewHandler(new(Wrong)))
		s, err := client.OpenClientStream[Ask, Answer](t.Context(), w.client(t), "greeter", "Wrong.Silent")
		must(t, err)
		_, err = s.CloseAndRecv()
		var e *microerrors.Error
		if !errors.As(err, &e) {
			t.Fatalf("got %T", err)
		}
		want(t, err, "greeter", "Wrong.Silent", "without an answer")
	})
}
