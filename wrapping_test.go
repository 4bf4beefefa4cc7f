package micro_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-9a4e2794/micro"
	"github.com/seed-9a4e2794/micro/client"
	"github.com/seed-9a4e2794/micro/registry"
)

func TestAClientWrapperMayUseTheServicesClientWhileItWraps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		var s micro.Service
		asked := 0
		var called error
		s = micro.NewService(w.options(micro.WrapClient(func(c client.Client) client.Client {
			asked++
			_ = s.Client().Options()
			_ = s.Client().NewRequest("a", "b", nil)
			called = s.Client().Call(context.Background(), s.Client().NewRequest("a", "b", nil), nil)
			return c
		}))...)
		began := time.Now()
		_ = s.Client().Options()
		if asked != 1 || called == nil || time.Since(began) > time.Minute {
			t.Errorf("the wrapper was asked %d times in %v; its call: %v", asked, time.Since(began), called)
		}
		_ = s.Client().String()
		if asked != 1 {
			t.Errorf("the wrapper was asked %d times", asked)
		}
	})
}

func TestAClientGivenToInitGetsTheOptionsGivenBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		calls := 0
		note := func(next client.CallFunc) client.CallFunc {
			return func(ctx context.Context, n *registry.Node, req client.Request, rsp any, o client.CallOptions) error {
				calls++
				return next(ctx, n, req, rsp, o)
			}
		}
		s := micro.NewService(w.options(micro.WrapCall(note))...)
		c := client.NewClient()
		if err := s.Init(micro.Client(c)); err != nil {
			t.Fatal(err)
		}
		if n := len(c.Options().CallOptions.CallWrappers); n != 1 {
			t.Errorf("the client has %d call wrappers", n)
		}
	})
}
