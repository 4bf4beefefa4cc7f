package server_test

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-9a4e2794/micro/broker"
	"github.com/seed-9a4e2794/micro/broker/direct"
	brokermemory "github.com/seed-9a4e2794/micro/broker/memory"
	"github.com/seed-9a4e2794/micro/client"
	microerrors "github.com/seed-9a4e2794/micro/errors"
	"github.com/seed-9a4e2794/micro/internal/ctxkey"
	"github.com/seed-9a4e2794/micro/metadata"
	"github.com/seed-9a4e2794/micro/server"
	"github.com/seed-9a4e2794/micro/transport"
)

// identified is a transport whose callers have proven to be somebody.
type identified struct {
	transport.Transport
	peer transport.Peer
}

// as gives the callers of a world's transport an identity.
func (w *world) as(name string) server.Option {
	return server.Transport(identified{w.transport, transport.Peer{Remote: "192.0.2.7:40000", Secure: true,
		Identity: &transport.Identity{Name: name, Chain: []*x509.Certificate{{}}}}})
}

func (i identified) Listen(ctx context.Context, addr string) (transport.Listener, error) {
	l, err := i.Transport.Listen(ctx, addr)
	return identifiedListener{l, &i.peer}, err
}

type identifiedListener struct {
	transport.Listener
	peer *transport.Peer
}

func (l identifiedListener) Accept(serve func(transport.Socket), opts ...transport.AcceptOption) error {
	lookup := transport.NewAcceptOptions(opts...).Lookup
	return l.Listener.Accept(func(s transport.Socket) { serve(identifiedSocket{s, l.with(s.Context())}) },
		append(opts, transport.WithUnary(func(m transport.Method) (transport.Unary, error) {
			u, err := lookup(m)
			if u == nil {
				return nil, err
			}
			return func(ctx context.Context, body transport.Body) (transport.Message, error) { return u(l.with(ctx), body) }, nil
		}))...)
}

func (l identifiedListener) with(ctx context.Context) context.Context {
	return context.WithValue(ctx, ctxkey.Peer{}, l.peer)
}

type identifiedSocket struct {
	transport.Socket
	ctx context.Context
}

func (s identifiedSocket) Context() context.Context { return s.ctx }

// code returns the gRPC code of an error.
func code(err error) microerrors.Code {
	if err == nil {
		return microerrors.CodeOK
	}
	return microerrors.From("", err).GRPCCode()
}

// count returns what has been counted of an endpoint.
func count(t testing.TB, s server.Server, endpoint string) server.EndpointStats {
	t.Helper()
	for _, e := range s.(interface{ Stats() []server.EndpointStats }).Stats() {
		if e.Name == endpoint {
			return e
		}
	}
	t.Fatalf("nothing is counted of %s", endpoint)
	return server.EndpointStats{}
}

func TestRulesAllowWhatTheyMatchAndNothingElse(t *testing.T) {
	for _, tt := range []struct {
		rule               server.Rule
		identity, endpoint string // the identity "-" is none
		want               bool
	}{
		{server.Rule{Identity: "orders", Endpoint: "Greeter.Hello"}, "orders", "Greeter.Hello", true},
		{server.Rule{Identity: "orders", Endpoint: "Greeter.Hello"}, "Orders", "Greeter.Hello", false},
		{server.Rule{Identity: "orders", Endpoint: "Greeter.Hello"}, "orders", "Greeter.HelloAll", false},
		{server.Rule{Identity: "orders", Endpoint: "Greeter.Hello"}, "orders2", "Greeter.Hello", false},
		{server.Rule{Identity: "orders", Endpoint: "Greeter.Hello"}, "-", "Greeter.Hello", false},
		{server.Rule{Identity: "orders", Endpoint: "Greeter.*"}, "orders", "Greeter.Hello", true},
		{server.Rule{Identity: "orders", Endpoint: "Greeter.*"}, "orders", "Greeters.Hello", false},
		{server.Rule{Identity: "orders", Endpoint: "*.Hello"}, "orders", "a.b.Hello", true},
		{server.Rule{Identity: "orders", Endpoint: "*.Hello"}, "orders", "Hello", false},
		{server.Rule{Identity: "orders", Endpoint: "*"}, "orders", "Debug.Stats", true},
		{server.Rule{Identity: "spiffe://prod/*", Endpoint: "*"}, "spiffe://prod/a/b", "x", true},
		{server.Rule{Identity: "spiffe://prod/*", Endpoint: "*"}, "spiffe://production/a", "x", false},
		{server.Rule{Identity: "*prod*", Endpoint: "*"}, "spiffe://prod/a", "x", true},
		{server.Rule{Identity: "*prod*", Endpoint: "*"}, "spiffe://test/a", "x", false},
		{server.Rule{Identity: "a*b", Endpoint: "*"}, "axb", "x", false},
		{server.Rule{Identity: "a*b", Endpoint: "*"}, "a*b", "x", true},
		{server.Rule{Identity: "*", Endpoint: "x"}, "orders", "x", true},
		{server.Rule{Identity: "*", Endpoint: "x"}, "", "x", true},
		{server.Rule{Identity: "*", Endpoint: "x"}, "-", "x", false},
		{server.Rule{Identity: server.Anyone, Endpoint: "x"}, "-", "x", true},
		{server.Rule{Identity: server.Anyone, Endpoint: "x"}, "orders", "x", true},
		{server.Rule{Identity: server.Anyone, Endpoint: "x"}, "-", "y", false},
		{server.Rule{Endpoint: "x"}, "orders", "x", false},
		{server.Rule{Endpoint: "x"}, "", "x", false},
		{server.Rule{Endpoint: "x"}, "-", "x", false},
		{server.Rule{Identity: "orders"}, "orders", "x", false},
		{server.Rule{}, "", "", false},
	} {
		var who *transport.Identity
		if tt.identity != "-" {
			who = &transport.Identity{Name: tt.identity}
		}
		other := server.Rule{Identity: "nobody", Endpoint: "*"}
		for _, rules := range [][]server.Rule{{tt.rule}, {tt.rule, other}, {other, tt.rule}} {
			if err := server.Allow(rules...)(t.Context(), who, tt.endpoint); (err == nil) != tt.want {
				t.Errorf("%+v for %q and %q: %v", rules, tt.identity, tt.endpoint, err)
			}
		}
	}
	if server.Allow()(t.Context(), &transport.Identity{Name: "a"}, "x") == nil {
		t.Error("no rules allow a call")
	}
}

func TestRulesAllocateNothing(t *testing.T) {
	allow := server.Allow(server.Rule{Identity: "billing", Endpoint: "*"}, server.Rule{Identity: "orders", Endpoint: "Greeter.*"})
	who := &transport.Identity{Name: "orders"}
	if n := testing.AllocsPerRun(100, func() {
		if err := allow(context.Background(), who, "Greeter.Hello"); err != nil {
			t.Error(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// reach has every kind of endpoint called and returns the codes, by endpoint.
func reach(t *testing.T, w *world) map[string]microerrors.Code {
	t.Helper()
	c := w.client(t)
	out := make(map[string]microerrors.Code)
	for _, e := range []string{"Greeter.Hello", "Mixed.Hello", "Debug.Health"} {
		_, err := ask(c, e, "Ada")
		out[e] = code(err)
	}
	st, err := client.OpenServerStream[Answer](t.Context(), c, "greeter", "Greeter.Count", &Ask{})
	if err == nil {
		_, err = st.Recv()
	}
	out["Greeter.Count"] = code(err)
	nodes, err := w.registry.GetService(t.Context(), "greeter")
	must(t, err)
	err = c.(direct.Sender).Send(t.Context(), nodes[0].Nodes[0], &direct.Delivery{Topic: "news", Broadcast: true, Message: &broker.Message{Body: []byte("{}")}})
	out[direct.DeliverEndpoint] = code(err)
	return out
}

// postbox is a broker whose events come over the service's own port.
type postbox struct {
	*brokermemory.Broker
	box *inbox
}

func (p *postbox) Advertise(string) {}

func (p *postbox) Deliver(_ context.Context, d *direct.Delivery) error {
	p.box.add("delivered", d.Topic)
	return nil
}

// everything starts a server with every kind of endpoint and notes what is
// reached.
func (w *world) everything(t *testing.T, box *inbox, opts ...server.Option) server.Server {
	t.Helper()
	seen := func(next server.HandlerFunc) server.HandlerFunc {
		return func(ctx context.Context, req server.Request, rsp any) error {
			box.add("wrapper", req.Endpoint())
			return next(ctx, req, rsp)
		}
	}
	health := server.Typed("Debug.Health", func(context.Context, *Ask) (*Answer, error) { return nil, nil }, server.InternalHandler(true))
	stream := server.TypedServerStream("Greeter.Count", func(_ context.Context, _ *Ask, s server.SendStream[Answer]) error {
		return s.Send(new(Answer))
	})
	base := []server.Option{server.Broker(&postbox{brokermemory.New(), box}), server.WrapHandler(seen)}
	return w.serve(t, []server.Handler{hello(), server.NewServer().NewHandler(new(Mixed)), stream, health}, append(base, opts...)...)
}

func TestEveryKindOfCallIsAskedForBeforeAnythingSeesIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, tt := range []struct {
			rules []server.Rule
			proof bool
			want  func(endpoint string) microerrors.Code
		}{
			{[]server.Rule{{Identity: "orders", Endpoint: "*"}}, true, func(string) microerrors.Code { return microerrors.CodeOK }},
			{[]server.Rule{{Identity: "billing", Endpoint: "*"}}, true, func(string) microerrors.Code { return microerrors.CodePermissionDenied }},
			{[]server.Rule{{Identity: "*", Endpoint: "*"}}, false, func(string) microerrors.Code { return microerrors.CodeUnauthenticated }},
			{[]server.Rule{{Identity: server.Anyone, Endpoint: "*"}}, false, func(string) microerrors.Code { return microerrors.CodeOK }},
			{[]server.Rule{{Identity: "orders", Endpoint: "Greeter.*"}, {Identity: server.Anyone, Endpoint: "Debug.Health"}}, true, func(e string) microerrors.Code {
				if strings.HasPrefix(e, "Greeter.") || e == "Debug.Health" {
					return microerrors.CodeOK
				}
				return microerrors.CodePermissionDenied
			}},
		} {
			w, box := newWorld(), new(inbox)
			opts := []server.Option{server.Authorize(server.Allow(tt.rules...))}
			if tt.proof {
				opts = append(opts, w.as("orders"))
			}
			s := w.everything(t, box, opts...)
			for endpoint, got := range reach(t, w) {
				if want := tt.want(endpoint); got != want {
					t.Errorf("%+v: %s answers %s, not %s", tt.rules, endpoint, got, want)
				}
				seen := strings.Contains(","+box.of("wrapper")+",", ","+endpoint+",")
				if endpoint == direct.DeliverEndpoint {
					seen = box.of("delivered") == "news"
				}
				if seen != (tt.want(endpoint) == microerrors.CodeOK) {
					t.Errorf("%+v: a wrapper or the broker saw the call of %s: %t", tt.rules, endpoint, seen)
				}
			}
			synctest.Wait()
			for _, endpoint := range []string{"Greeter.Hello", "Greeter.Count", "Mixed.Hello"} {
				e := count(t, s, endpoint)
				failed := uint64(0)
				if tt.want(endpoint) != microerrors.CodeOK {
					failed = 1
				}
				if e.Requests != 1 || e.Errors != failed || e.InFlight != 0 {
					t.Errorf("%+v: of %s is counted %d requests, %d errors, %d in flight", tt.rules, endpoint, e.Requests, e.Errors, e.InFlight)
				}
			}
		}
	})
}

func TestARoutersCallsAreAskedForByTheNameThatTheCallerGave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		s := w.serve(t, nil, server.WithRouter(deafRouter{}), w.as("orders"),
			server.Authorize(server.Allow(server.Rule{Identity: "orders", Endpoint: "Any.*"})))
		c := w.client(t)
		if got, err := ask(c, "Any.Thing", ""); err != nil || got != "routed" {
			t.Errorf("got %q, %v", got, err)
		}
		if _, err := ask(c, "Other.Thing", ""); code(err) != microerrors.CodePermissionDenied {
			t.Errorf("got %v", err)
		}
		synctest.Wait()
		if e := count(t, s, "Router"); e.Requests != 2 || e.Errors != 1 || e.InFlight != 0 {
			t.Errorf("counted %d requests, %d errors, %d in flight", e.Requests, e.Errors, e.InFlight)
		}
	})
}

func TestADenialTellsTheCallerNothingAboutOthersAndTheLogWhy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.serve(t, []server.Handler{hello()}, w.as("orders"), server.Authorize(func(context.Context, *transport.Identity, string) error {
			return errors.New("only billing may do this")
		}))
		c := w.client(t)
		_, err := ask(c, "Greeter.Hello", "Ada")
		want(t, err, "403", `\"orders\" may not call this`, "Greeter.Hello")
		if strings.Contains(err.Error(), "billing") || errors.Is(err, microerrors.ErrRefused) {
			t.Errorf("the caller gets %v", err)
		}
		for _, text := range []string{"a call was denied", "endpoint=Greeter.Hello", "identity=orders", "remote=192.0.2.7:40000", `reason="only billing may do this"`} {
			if w.log.count(text) != 1 {
				t.Errorf("the log does not have %q once:\n%s", text, w.log)
			}
		}
		_, err = ask(c, "Greeter.Bye", "Ada")
		want(t, err, "403", "Greeter.Bye")
		if strings.Contains(err.Error(), "Greeter.Hello") {
			t.Errorf("the caller learns of endpoints: %v", err)
		}
	})
}

func TestAnErrorOfTheFrameworkGoesToTheCallerAsItIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.serve(t, []server.Handler{hello()}, server.Authorize(func(ctx context.Context, who *transport.Identity, _ string) error {
			if token, _ := metadata.Get(ctx, "Authorization"); token == "Bearer good" && who == nil {
				return nil
			}
			return fmt.Errorf("checked: %w", microerrors.Refuse("tokens", microerrors.CodeUnauthenticated, "the token has expired"))
		}))
		c := w.client(t)
		_, err := ask(c, "Greeter.Hello", "Ada")
		want(t, err, "401", "the token has expired", `"id":"tokens"`)
		if errors.Is(err, microerrors.ErrRefused) {
			t.Error("the call counts as one that another node may take")
		}
		var rsp Answer
		ctx := metadata.NewContext(t.Context(), metadata.Metadata{"Authorization": "Bearer good"})
		must(t, c.Call(ctx, c.NewRequest("greeter", "Greeter.Hello", &Ask{"Ada"}), &rsp))
	})
}

func TestAnAuthorizerThatPanicsOrEndsDeniesAndIsCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		s := w.serve(t, []server.Handler{hello()}, server.Authorize(func(ctx context.Context, _ *transport.Identity, _ string) error {
			if how, _ := metadata.Get(ctx, "How"); how == "panic" {
				panic("secret")
			}
			runtime.Goexit()
			return nil
		}))
		c := w.client(t)
		for _, tt := range []struct{ how, want string }{{"panic", "could not be decided"}, {"exit", "ended its goroutine"}} {
			var rsp Answer
			err := c.Call(metadata.NewContext(t.Context(), metadata.Metadata{"How": tt.how}), c.NewRequest("greeter", "Greeter.Hello", &Ask{"Ada"}), &rsp)
			want(t, err, "500", tt.want)
			if strings.Contains(err.Error(), "secret") || rsp.Text != "" {
				t.Errorf("the caller gets %v, %q", err, rsp.Text)
			}
		}
		if w.log.count("authorizer panicked") != 1 || w.log.count("authorize_test.go:") != 1 {
			t.Errorf("the log does not say where it panicked, once:\n%s", w.log)
		}
		if e := count(t, s, "Greeter.Hello"); e.Requests != 2 || e.Errors != 2 || e.InFlight != 0 {
			t.Errorf("counted %d requests, %d errors, %d in flight", e.Requests, e.Errors, e.InFlight)
		}
	})
}

func TestAFloodOfDenialsDoesNotFloodTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		s := w.serve(t, []server.Handler{hello()}, server.Authorize(server.Allow()))
		c := w.client(t)
		const calls = 500
		var group sync.WaitGroup
		for range calls {
			group.Go(func() {
				if _, err := ask(c, "Greeter.Hello", "Ada"); code(err) != microerrors.CodeUnauthenticated {
					t.Errorf("got %v", err)
				}
			})
		}
		group.Wait()
		if n := w.log.count("a call was denied"); n != 10 {
			t.Errorf("%d lines for %d denials in one second, not 10", n, calls)
		}
		<-time.After(time.Second)
		_, err := ask(c, "Greeter.Hello", "Ada")
		want(t, err, "401")
		if w.log.count("a call was denied") != 11 || w.log.count("not_logged=490") != 1 {
			t.Errorf("the next line does not say that 490 were left out:\n%s", w.log)
		}
		synctest.Wait()
		if e := count(t, s, "Greeter.Hello"); e.Errors != calls+1 {
			t.Errorf("%d errors are counted, not %d", e.Errors, calls+1)
		}
	})
}

func TestAuthorizeNilAsksNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.serve(t, []server.Handler{hello()}, server.Authorize(server.Allow()), server.Authorize(nil))
		if got, err := ask(w.client(t), "Greeter.Hello", "Ada"); err != nil || got != "Hello Ada" {
			t.Errorf("got %q, %v", got, err)
		}
	})
}
