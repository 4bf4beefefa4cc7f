package mucp

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/seed-9a4e2794/micro/codec"
	"github.com/seed-9a4e2794/micro/errors"
	"github.com/seed-9a4e2794/micro/internal/leaktest"
	"github.com/seed-9a4e2794/micro/transport"
)

// billing serves under one name, and refuses strict calls of others.
func billing(t *testing.T) (addr string, s *Server, lookups *atomic.Int32) {
	t.Helper()
	lookups = new(atomic.Int32)
	refuse := func(m transport.Method) error {
		if m.Strict && m.Service != "billing" {
			return errors.Refuse("billing", errors.CodeUnavailable, "this is billing, not %s", m.Service)
		}
		return nil
	}
	u := greeter()
	u["Echo.Socket"] = nil
	s, addr = serve(t, Config{}, u, func(sock transport.Socket) {
		if err := refuse(sock.Method()); err != nil {
			_ = sock.Finish(nil, err) // fails with the connection
			return
		}
		greetStream(sock)
	})
	s.opts.Lookup = func(m transport.Method) (transport.Unary, error) {
		lookups.Add(1)
		if err := refuse(m); err != nil {
			return nil, err
		}
		return u.lookup(m)
	}
	return addr, s, lookups
}

func TestStrictCallOfAnotherServiceIsRefused(t *testing.T) {
	leaktest.Check(t)
	addr, _, lookups := billing(t)
	c := dial(t, addr, Config{})
	ask := func(service, endpoint string, strict bool) error {
		r := request1(endpoint, codec.Bytes, "x")
		r.Method.Service, r.Method.Strict = service, strict
		_, err := c.Call(context.Background(), r)
		return err
	}
	for range 3 { // whatever is remembered of those before
		if err := ask("orders", "Echo.Echo", false); err != nil {
			t.Errorf("a call that is not strict: %v", err)
		}
		if err := ask("billing", "Echo.Echo", true); err != nil {
			t.Errorf("a strict call of the service: %v", err)
		}
		for _, endpoint := range []string{"Echo.Echo", "Orders.Get"} {
			if err := ask("orders", endpoint, true); err == nil || !errors.From("", err).Refused {
				t.Errorf("a strict call of %s of another service: %v", endpoint, err)
			}
		}
	}
	before := lookups.Load()
	for range 5 {
		if err := ask("billing", "Echo.Echo", true); err != nil {
			t.Error(err)
		}
	}
	if n := lookups.Load() - before; n != 0 {
		t.Errorf("%d lookups for a name and an endpoint that are known", n)
	}
	r := request1("Greeter.Stream", codec.JSON, "{}")
	r.Method.Service, r.Method.Strict = "orders", true
	sock, err := c.Open(context.Background(), r)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := sock.Recv(); err == nil || !errors.From("", err).Refused {
		t.Errorf("a strict stream of another service: %v", err)
	}
	sock.Reset()
}

func TestNamesThatCallersChooseAreNotRemembered(t *testing.T) {
	leaktest.Check(t)
	addr, s, _ := billing(t)
	c := dial(t, addr, Config{})
	for i := range 40 {
		r := request1("Echo.Echo", codec.Bytes, "x")
		r.Method.Service = fmt.Sprintf("name-%d", i)
		if _, err := c.Call(context.Background(), r); err != nil {
			t.Fatal(err)
		}
	}
	n := 0
	s.found.Range(func(any, any) bool { n++; return true })
	if n != 1 {
		t.Errorf("%d functions are remembered for one endpoint", n)
	}
	var set names
	for i := range 100 {
		set.add(fmt.Sprintf("name-%d", i))
	}
	set.add(longText(maxName + 1))
	if len(set.set) != maxNames || set.has(longText(maxName+1)) || !set.has("name-99") {
		t.Errorf("%d names are remembered", len(set.set))
	}
}
