package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/seed-9a4e2794/micro"
	"github.com/seed-9a4e2794/micro/internal/leaktest"
)

type Order struct {
	ID   int  `json:"id"`
	Paid bool `json:"paid"`
}

func TestPublishedEventsReachServicesAndSubscribe(t *testing.T) {
	leaktest.Check(t)
	runtimeDir(t)
	orders := make(chan Order, 1)
	serve(t, func(s micro.Service) {
		err := micro.RegisterSubscriber("orders.created", s.Server(), func(_ context.Context, o *Order) error {
			orders <- *o
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}, micro.Name("mailer"))
	ctx, cancel := context.WithCancel(t.Context())
	out, errs := newScreen(), newScreen()
	done := make(chan int, 1)
	go func() {
		done <- run(ctx, []string{"subscribe", "orders.created"}, strings.NewReader(""), out, errs)
	}()
	errs.await(t, "subscribed to orders.created", 1, 10*time.Second)
	// The service's record says that id is a number.
	if code, stdout, stderr := tryTool(t, "", "publish", "orders.created", "ID=7", "Paid=true"); code != exitOK || stdout != "" || stderr != "" {
		t.Errorf("publish: exit %d, stdout %q, stderr %q", code, stdout, stderr)
	}
	out.await(t, "{\"id\":7,\"paid\":true}\n", 1, 10*time.Second)
	select {
	case o := <-orders:
		if o != (Order{7, true}) {
			t.Errorf("the service got %+v", o)
		}
	case <-time.After(10 * time.Second):
		t.Error("the service got nothing")
	}
	if code, _, stderr := tryTool(t, "", "publish", "orders.created", "idd=7"); code != exitUsage || !strings.Contains(stderr, "did you mean id (int)?") {
		t.Errorf("a wrong field: exit %d, %q", code, stderr)
	}
	if code, _, stderr := tryTool(t, "", "publish", "order.created", "{}"); code != exitOK || !strings.Contains(stderr, "did you mean \"orders.created\"?") {
		t.Errorf("a wrong topic: exit %d, %q", code, stderr)
	}
	cancel()
	if code := <-done; code != exitOK {
		t.Errorf("subscribe ended with %d: %s", code, errs)
	}
}

func TestEventsAreLinesOfJSON(t *testing.T) {
	for in, want := range map[string]string{
		"{\n  \"a\": 1\n}": `{"a":1}`,
		"plain\ntext":      `"plain\ntext"`,
		"":                 `""`,
	} {
		if got := string(asLine([]byte(in))); got != want {
			t.Errorf("%q is printed as %s, want %s", in, got, want)
		}
	}
}
