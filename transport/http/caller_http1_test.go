package http_test

import (
	"context"
	nethttp "net/http"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/seed-9a4e2794/micro/errors"
	"github.com/seed-9a4e2794/micro/internal/leaktest"
	"github.com/seed-9a4e2794/micro/transport/http"
)

func TestSlowCallOverHTTP1LeavesTheConnectionToTheOthers(t *testing.T) {
	leaktest.Check(t)
	s := newSite(t, http.Connect, false, func(server *nethttp.Server) {
		server.Protocols = new(nethttp.Protocols)
		server.Protocols.SetHTTP1(true)
	})
	s.echo()
	s.unary("Slow", func(ctx context.Context, _ *connect.Request[str]) (*connect.Response[str], error) {
		<-ctx.Done()
		return nil, ctx.Err()
	})
	c := s.dial()
	r := ask("Slow", "")
	r.Deadline = time.Now().Add(2100 * time.Millisecond) // silence speaks from 2 s on
	if _, err := c.Call(context.Background(), r); code(err) != errors.CodeDeadlineExceeded {
		t.Errorf("the slow call: %v", err)
	}
	if err := c.Err(); err != nil {
		t.Errorf("the connection is condemned: %v", err)
	}
	if got, err := call(t, c, ask("Echo", "x")); err != nil || got != "x" {
		t.Errorf("another call: %q, %v", got, err)
	}
}
