package micro_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-9a4e2794/micro"
	"github.com/seed-9a4e2794/micro/client"
	"github.com/seed-9a4e2794/micro/internal/leaktest"
)

func TestFunctionServesOneRequestAndIsDone(t *testing.T) {
	leaktest.Check(t)
	for _, tt := range []struct {
		name string
		use  func(ctx context.Context, c client.Client) error
		want string
	}{
		{"request", func(ctx context.Context, c client.Client) error {
			_, err := micro.Call[HelloResponse](ctx, c, "function", "Greeter.Hello", &HelloRequest{"Ada"})
			return err
		}, "handler"},
		{"event", func(ctx context.Context, c client.Client) error {
			return micro.Publish(ctx, c, "topic", &event{1})
		}, "sub event"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				var tr trace
				started := make(chan struct{})
				// A context given late must not undo the function's own end.
				f := micro.NewFunction(w.options(micro.Name("function"), micro.WrapHandler(wrapHandler(&tr, "handler")), micro.WrapSubscriber(wrapSubscriber(&tr, "sub")))...)
				if err := f.Init(micro.Context(context.Background()), micro.AfterStart(func() error { close(started); return nil })); err != nil {
					t.Fatal(err)
				}
				if err := f.Handle(new(Greeter)); err != nil {
					t.Fatal(err)
				}
				if err := f.Subscribe("topic", func(context.Context, *event) error { tr.note("event"); return nil }); err != nil {
					t.Fatal(err)
				}
				done := make(chan error, 1)
				go func() { done <- f.Run() }()
				<-started
				caller := w.run(t, micro.Name("caller"))
				if h := health(t, caller.Client(), f); h.Status != "ok" {
					t.Errorf("health is %+v", h)
				}
				tr.clear()
				<-time.After(time.Minute)
				select {
				case err := <-done:
					t.Fatalf("Run returned %v before the first request", err)
				default:
				}
				if err := tt.use(context.Background(), caller.Client()); err != nil {
					t.Fatal(err)
				}
				select {
				case err := <-done:
					if err != nil {
						t.Errorf("Run returned %v", err)
					}
				case <-time.After(time.Minute):
					t.Fatal("Run does not return")
				}
				if got := tr.String(); got != tt.want {
					t.Errorf("got %q, want %q", got, tt.want)
				}
				if err := f.Done(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

func TestDoneEndsAFunctionThatHasServedNothing(t *testing.T) {
	leaktest.Check(t)
	synctest.Test(t, func(t *testing.T) {
		var f micro.Function
		f = micro.NewFunction(newWorld().options(micro.Context(anHour(t)), micro.AfterStart(func() error { return f.Done() }))...)
		began := time.Now()
		if err := f.Run(); err != nil || time.Since(began) > time.Minute {
			t.Errorf("Run returned %v after %v", err, time.Since(began))
		}
	})
}
