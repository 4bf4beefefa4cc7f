package server_test

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/seed-9a4e2794/micro/server"
)

// deafRouter answers without reading.
type deafRouter struct{}

func (deafRouter) ServeRequest(_ context.Context, _ server.Request, rsp server.Response) error {
	return rsp.Write([]byte(`{"text":"routed"}`))
}

func TestARouterThatDoesNotReadAnswersInTheRequestsEncodingAndIsCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		s := w.serve(t, nil, server.WithRouter(deafRouter{}))
		got, err := ask(w.client(t), "Any.Thing", "")
		if err != nil || got != "routed" {
			t.Errorf("got %q, %v", got, err)
		}
		synctest.Wait() // the router answers before it returns
		for _, e := range s.(interface{ Stats() []server.EndpointStats }).Stats() {
			if e.Name == "Router" && e.Requests == 1 && e.Errors == 0 && e.InFlight == 0 {
				return
			}
		}
		t.Error("the call was not counted")
	})
}
