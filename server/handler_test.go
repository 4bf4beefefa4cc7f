package server_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-9a4e2794/micro/client"
	"github.com/seed-9a4e2794/micro/codec"
	codecbytes "github.com/seed-9a4e2794/micro/codec/bytes"
	microerrors "github.com/seed-9a4e2794/micro/errors"
	"github.com/seed-9a4e2794/micro/metadata"
	"github.com/seed-9a4e2794/micro/server"
)

type hidden struct{}

func (*hidden) Hello(context.Context, *Ask, *Answer) error { return nil }

// Mixed has methods of all shapes.
type Mixed struct{}

func (*Mixed) Hello(_ context.Context, req *Ask, rsp *Answer) error {
	rsp.Text = "Hello " + req.Name
	return nil
}

func (*Mixed) Each(_ context.Context, s server.Stream) error { return nil }

// sender is a part of server.Stream, as generated code has it.
type sender interface{ Send(any) error }

func (*Mixed) Out(_ context.Context, s sender) error { return nil }

func (*Mixed) NoError(context.Context, *Ask, *Answer)            {}
func (*Mixed) NoContext(*Ask, *Answer) error                     { return nil }
func (*Mixed) ByValue(context.Context, Ask, *Answer) error       { return nil }
func (*Mixed) Unexported(context.Context, *hidden, *Ask) error   { return nil }
func (*Mixed) TooMany(context.Context, *Ask, *Answer, int) error { return nil }
func (*Mixed) Other(context.Context, fmt.Stringer) error         { return nil }

// Empty has no endpoint.
type Empty struct{}

func TestMethodsOfTheRightShapeBecomeEndpointsAndTheOthersAreLogged(t *testing.T) {
	var log bytes.Buffer
	s := server.NewServer(server.Logger(slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))))
	h := s.NewHandler(new(Mixed), server.EndpointMetadata("Mixed.Hello", map[string]string{"safe": "true"}))
	must(t, s.Handle(h))
	var names []string
	for _, e := range h.Endpoints() {
		names = append(names, e.Name)
		if stream := e.Metadata["stream"] == "true"; stream != (e.Name != "Mixed.Hello") {
			t.Errorf("%s is described with %v", e.Name, e.Metadata)
		}
		if e.Name == "Mixed.Hello" && (e.Metadata["safe"] != "true" || e.Request.Name != "Ask" || e.Request.Values[0].Name != "name") {
			t.Errorf("described as %+v with %+v", e, e.Request)
		}
	}
	if want := []string{"Mixed.Each", "Mixed.Hello", "Mixed.Out"}; !slices.Equal(names, want) {
		t.Errorf("the endpoints are %v, want %v", names, want)
	}
	for _, skipped := range []string{"NoError", "NoContext", "ByValue", "Unexported", "TooMany", "Other"} {
		if !strings.Contains(log.String(), "Mixed."+skipped+" reason=") {
			t.Errorf("nothing is logged of %s: %s", skipped, log.String())
		}
	}
}

func TestHandlersThatCannotBeUsedSayWhy(t *testing.T) {
	for _, c := range []struct {
		value any
		texts []string
	}{
		{nil, []string{"nil"}},
		{new(hidden), []string{"hidden is not exported"}},
		{new(Empty), []string{"Empty", "func(context.Context, *Req, *Rsp) error", "func(context.Context, server.Stream) error"}},
		{func() {}, []string{"no name"}},
	} {
		s := server.NewServer()
		want(t, s.Handle(s.NewHandler(c.value)), c.texts...)
	}
	s := server.NewServer()
	must(t, s.Handle(hello()))
	want(t, s.Handle(hello()), "Greeter.Hello is handled already")
	want(t, s.Handle(server.Typed(strings.Repeat("x", 600), func(context.Context, *Ask) (*Answer, error) { return nil, nil })), "600 bytes", "512")
	want(t, s.Handle(nil), "not a handler of this package")
}

func TestUnaryCallsOfStructsAndFunctions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		empty := server.Typed("Greeter.Nothing", func(context.Context, *Ask) (*Answer, error) { return nil, nil })
		s := w.serve(t, []server.Handler{server.NewServer().NewHandler(new(Mixed)), hello(), empty})
		c := w.client(t)
		for _, endpoint := range []string{"Mixed.Hello", "Greeter.Hello"} {
			if got, err := ask(c, endpoint, "Ada"); err != nil || got != "Hello Ada" {
				t.Errorf("%s answered %q, %v", endpoint, got, err)
			}
		}
		if got, err := ask(c, "Greeter.Nothing", "Ada"); err != nil || got != "" {
			t.Errorf("a nil answer came as %q, %v", got, err)
		}
		must(t, s.Handle(server.Typed("Late.Hello", func(context.Context, *Ask) (*Answer, error) { return &Answer{"late"}, nil })))
		if got, err := ask(c, "Late.Hello", ""); err != nil || got != "late" {
			t.Errorf("a handler added later answered %q, %v", got, err)
		}
		synctest.Wait()
		w.registry.mu.Lock()
		defer w.registry.mu.Unlock()
		if n := len(w.registry.last.Endpoints); n != 6 {
			t.Errorf("%d endpoints are registered after the addition", n)
		}
	})
}

func TestErrorsOfCallsThatCannotBeServedSayWhatThereIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		inside := server.Typed("Debug.Secret", func(context.Context, *Ask) (*Answer, error) { return nil, nil }, server.InternalHandler(true))
		bad := server.Typed("Greeter.Unencodable", func(context.Context, *Ask) (*map[string]any, error) {
			return &map[string]any{"f": func() {}}, nil
		})
		w.serve(t, []server.Handler{server.NewServer().NewHandler(new(Mixed)), hello(), inside, bad})
		c := w.client(t)
		raw := func(ctype string, body string, endpoint string) error {
			var rsp codecbytes.Frame
			return c.Call(t.Context(), c.NewRequest("greeter", endpoint, &codecbytes.Frame{Data: []byte(body)}, client.WithContentType(ctype)), &rsp)
		}
		for _, k := range []struct {
			name  string
			err   error
			code  microerrors.Code
			texts []string
		}{
			{"unknown endpoint", raw("application/json", "{}", "Greeter.Helo"), microerrors.CodeNotFound, []string{`no endpoint \"Greeter.Helo\"`, "available: Greeter.Hello, Greeter.Unencodable, Mixed.Each"}},
			{"not JSON", raw("application/json", "{", "Greeter.Hello"), microerrors.CodeInvalidArgument, []string{"400", "Greeter.Hello: the request is not what the endpoint takes", "JSON"}},
			{"other JSON", raw("application/json", `{"name":1}`, "Greeter.Hello"), microerrors.CodeInvalidArgument, []string{"the request is not what the endpoint takes"}},
			{"a type that has no protobuf", raw("application/protobuf", "", "Greeter.Unencodable"), microerrors.CodeInternal, []string{"no struct"}},
			{"an answer that has no JSON", raw("application/json", "{}", "Greeter.Unencodable"), microerrors.CodeInternal, []string{"json", "func()"}},
			{"a stream called", raw("application/json", "{}", "Mixed.Each"), microerrors.CodeUnimplemented, []string{"Mixed.Each is a stream: use Stream"}},
		} {
			var e *microerrors.Error
			if !errors.As(k.err, &e) || e.GRPCCode() != k.code {
				t.Errorf("%s: got %v, want the code %v", k.name, k.err, k.code)
				continue
			}
			want(t, k.err, k.texts...)
			if strings.Contains(k.err.Error(), "Secret") {
				t.Errorf("%s: an internal endpoint is told: %v", k.name, k.err)
			}
		}
		s, err := c.Stream(t.Context(), c.NewRequest("greeter", "Greeter.Hello", &Ask{}))
		must(t, err)
		want(t, s.Recv(new(Answer)), "Greeter.Hello is not a stream: use Call")
	})
}

func newOdd() codec.Codec { return odd{} }

// odd is a codec that only clients have.
type odd struct{ codecbytes.Codec }

func (odd) Name() string { return "application/odd" }

func TestUnknownContentTypeIsAnErrorThatListsTheKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.serve(t, []server.Handler{hello()})
		c := w.client(t, client.Codec("application/odd", newOdd))
		var rsp codecbytes.Frame
		err := c.Call(t.Context(), c.NewRequest("greeter", "Greeter.Hello", &codecbytes.Frame{}, client.WithContentType("application/odd")), &rsp)
		want(t, err, "400", `application/odd`, "application/json, application/octet-stream, application/protobuf")
	})
}

func TestPanicOfAHandlerIs500WithItsStackInTheLogAndTheConnectionLivesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		release := make(chan struct{})
		slow := server.Typed("Greeter.Slow", func(context.Context, *Ask) (*Answer, error) {
			<-release
			return &Answer{"slow"}, nil
		})
		boom := server.Typed("Greeter.Boom", func(context.Context, *Ask) (*Answer, error) { panic("boom-value") })
		s := w.serve(t, []server.Handler{hello(), slow, boom})
		c := w.client(t)
		done := make(chan error, 1)
		go func() {
			_, err := ask(c, "Greeter.Slow", "")
			done <- err
		}()
		synctest.Wait()
		_, err := ask(c, "Greeter.Boom", "")
		want(t, err, "500", "Greeter.Boom: the handler panicked")
		if strings.Contains(err.Error(), "goroutine") {
			t.Errorf("the stack went to the caller: %v", err)
		}
		if w.log.count(`at="server_test.`) == 0 || w.log.count("server/handler_test.go:") == 0 || w.log.count("runtime.gopanic") > 0 {
			t.Errorf("the log does not say where the handler panicked, or says too much:\n%s", w.log)
		}
		if got, err := ask(c, "Greeter.Hello", "Ada"); err != nil || got != "Hello Ada" {
			t.Errorf("afterwards: %q, %v", got, err)
		}
		close(release)
		if err := <-done; err != nil {
			t.Errorf("another call on the connection: %v", err)
		}
		for _, e := range s.(interface{ Stats() []server.EndpointStats }).Stats() {
			if wantErr := uint64(0); e.Name == "Greeter.Boom" && e.Errors != 1 || e.Name != "Greeter.Boom" && e.Errors != wantErr || e.InFlight != 0 {
				t.Errorf("counted %+v", e.Snapshot)
			}
		}
	})
}

func TestAHandlerThatEndsItsGoroutineIsAnsweredFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		exit := server.Typed("Greeter.Exit", func(context.Context, *Ask) (*Answer, error) {
			runtime.Goexit()
			return nil, nil
		})
		stream := server.TypedServerStream("Greeter.ExitStream", func(context.Context, *Ask, server.SendStream[Answer]) error {
			runtime.Goexit()
			return nil
		})
		s := w.serve(t, []server.Handler{hello(), exit, stream})
		c := w.client(t)
		began := time.Now()
		_, err := ask(c, "Greeter.Exit", "")
		want(t, err, "500", "the handler ended its goroutine without an answer")
		st, err := client.OpenServerStream[Answer](context.Background(), c, "greeter", "Greeter.ExitStream", &Ask{})
		if err == nil {
			_, err = st.Recv()
		}
		want(t, err, "500", "the handler ended its goroutine without an answer")
		if took := time.Since(began); took != 0 {
			t.Errorf("the callers waited %v", took)
		}
		if got, err := ask(c, "Greeter.Hello", "Ada"); err != nil || got != "Hello Ada" {
			t.Errorf("afterwards: %q, %v", got, err)
		}
		for _, e := range s.(interface{ Stats() []server.EndpointStats }).Stats() {
			if e.Name == "Greeter.Exit" && (e.Errors != 1 || e.InFlight != 0) {
				t.Errorf("counted %+v", e.Snapshot)
			}
		}
	})
}

func TestARegistrationThatNobodyChecksIsInTheLog(t *testing.T) {
	w := newWorld()
	s := w.server()
	_ = s.Handle(s.NewHandler(new(struct{})))
	_ = s.Subscribe(s.NewSubscriber("topic", func(string) {}))
	if n := w.log.count("was not registered"); n != 2 {
		t.Errorf("%d lines of the log say that a registration failed, want 2", n)
	}
}

func TestErrorsOfHandlersComeAcrossAsTheyAre(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		detailed := microerrors.NewCode("shop", microerrors.CodeAborted, "twice")
		detailed.Details = []microerrors.Detail{{Type: "google.rpc.RetryInfo", Value: []byte{1, 2}}}
		results := map[string]error{
			"teapot":   microerrors.New("shop", "short and stout", 418),
			"notfound": microerrors.NotFound("shop", "no %s", "tea"),
			"detailed": detailed,
			"plain":    errors.New("plain text"),
			"wrapped":  fmt.Errorf("outer: %w", microerrors.Forbidden("shop", "no")),
			"deadline": fmt.Errorf("db: %w", context.DeadlineExceeded),
			"canceled": context.Canceled,
			"refused":  microerrors.Refuse("other", microerrors.CodeUnavailable, "the next service is full"),
			"sentinel": fmt.Errorf("x: %w", microerrors.ErrRefused),
		}
		runs := 0
		w.serve(t, []server.Handler{server.Typed("Greeter.Fail", func(_ context.Context, req *Ask) (*Answer, error) {
			runs++
			return nil, results[req.Name]
		})})
		c := w.client(t)
		for name, check := range map[string]func(e *microerrors.Error) bool{
			"teapot": func(e *microerrors.Error) bool {
				return e.Id == "shop" && e.Code == 418 && e.Detail == "short and stout" && e.Status == "I'm a teapot"
			},
			"notfound": func(e *microerrors.Error) bool {
				return e.Code == 404 && e.Detail == "no tea" && e.GRPCCode() == microerrors.CodeNotFound
			},
			"detailed": func(e *microerrors.Error) bool {
				return e.GRPCCode() == microerrors.CodeAborted && len(e.Details) == 1 && string(e.Details[0].Value) == "\x01\x02"
			},
			"plain":    func(e *microerrors.Error) bool { return e.Id == "greeter" && e.Code == 500 && e.Detail == "plain text" },
			"wrapped":  func(e *microerrors.Error) bool { return e.Id == "shop" && e.Code == 403 },
			"deadline": func(e *microerrors.Error) bool { return errors.Is(e, context.DeadlineExceeded) && e.Code == 408 },
			"canceled": func(e *microerrors.Error) bool { return errors.Is(e, context.Canceled) },
			"refused": func(e *microerrors.Error) bool {
				return !e.Refused && e.GRPCCode() == microerrors.CodeUnavailable && e.Id == "other"
			},
			"sentinel": func(e *microerrors.Error) bool { return !e.Refused },
		} {
			runs = 0
			_, err := ask(c, "Greeter.Fail", name)
			var e *microerrors.Error
			if !errors.As(err, &e) || !check(e) {
				t.Errorf("%s came as %#v", name, e)
			}
			if runs != 1 {
				t.Errorf("%s: executed %d times", name, runs)
			}
			if errors.Is(err, microerrors.ErrRefused) {
				t.Errorf("%s came as refused: %v", name, err)
			}
		}
	})
}

func TestWrappersRunFirstFirstAndSeeTheRequestAndMayChangeTheAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		var order []string
		wrapper := func(name string) server.Option {
			return server.WrapHandler(func(next server.HandlerFunc) server.HandlerFunc {
				return func(ctx context.Context, req server.Request, rsp any) error {
					order = append(order, name)
					if name == "outer" && !req.Stream() {
						body, err := req.Read()
						if req.Service() != "greeter" || req.Method() != req.Endpoint() || req.ContentType() != "application/json" ||
							req.Codec().Name() != "application/json" || req.Header()["X-User"] != "42" || string(body) != `{"name":"Ada"}` || err != nil {
							t.Errorf("the wrapper sees %s %s %s %v %s %v", req.Service(), req.Endpoint(), req.ContentType(), req.Header(), body, err)
						}
						if _, err := req.Read(); err != io.EOF {
							t.Errorf("a second Read returned %v", err)
						}
						if got, ok := req.Body().(*Ask); !ok || got.Name != "Ada" {
							t.Errorf("the body is %v", req.Body())
						}
					}
					if _, ok := rsp.(server.Stream); ok != req.Stream() {
						t.Errorf("on a stream (%v) rsp is %T", req.Stream(), rsp)
					}
					err := next(ctx, req, rsp)
					if a, ok := rsp.(*Answer); ok {
						a.Text += " " + name
					}
					order = append(order, name+" end")
					return err
				}
			})
		}
		w.serve(t, []server.Handler{hello(), server.NewServer().NewHandler(new(Mixed))}, wrapper("outer"), wrapper("inner"))
		c := w.client(t, client.ContentType("application/json"))
		ctx := metadata.NewContext(t.Context(), metadata.Metadata{"X-User": "42"})
		for _, endpoint := range []string{"Greeter.Hello", "Mixed.Hello"} {
			order = nil
			var rsp Answer
			must(t, c.Call(ctx, c.NewRequest("greeter", endpoint, &Ask{"Ada"}), &rsp))
			if rsp.Text != "Hello Ada inner outer" {
				t.Errorf("answered %q", rsp.Text)
			}
			if got := strings.Join(order, ","); got != "outer,inner,inner end,outer end" {
				t.Errorf("the order is %s", got)
			}
		}
		order = nil
		s, err := c.Stream(ctx, c.NewRequest("greeter", "Mixed.Each", &Ask{}))
		must(t, err)
		if err := s.Recv(new(Answer)); err != io.EOF {
			t.Errorf("the stream ended with %v", err)
		}
		if got := strings.Join(order, ","); got != "outer,inner,inner end,outer end" {
			t.Errorf("on a stream the order is %s", got)
		}
	})
}

func TestWrapperThatPassesOnAnotherAnswerIsAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.serve(t, []server.Handler{server.NewServer().NewHandler(new(Mixed)), hello()}, server.WrapHandler(func(next server.HandlerFunc) server.HandlerFunc {
			return func(ctx context.Context, req server.Request, _ any) error { return next(ctx, req, new(int)) }
		}))
		c := w.client(t)
		_, err := ask(c, "Mixed.Hello", "")
		want(t, err, "500", "a wrapper passed", "*int", "*server_test.Answer")
		_, err = ask(c, "Greeter.Hello", "")
		want(t, err, "500")
	})
}

// proxy is a Router.
type proxy struct{ fail error }

func (p *proxy) ServeRequest(_ context.Context, req server.Request, rsp server.Response) error {
	if p.fail != nil {
		return p.fail
	}
	rsp.WriteHeader(map[string]string{"X-Routed": req.Endpoint()})
	for {
		b, err := req.Read()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if err := rsp.Write([]byte(fmt.Sprintf(`{"text":%q}`, req.Endpoint()+" "+rsp.Codec().Name()+" "+string(b)))); err != nil {
			return err
		}
	}
}

func TestRouterServesEverythingButInternalEndpoints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		inside := server.Typed("Debug.Health", func(context.Context, *Ask) (*Answer, error) { return &Answer{"internal"}, nil }, server.InternalHandler(true))
		p := new(proxy)
		w.serve(t, []server.Handler{hello(), inside}, server.WithRouter(p))
		c := w.client(t)
		for _, endpoint := range []string{"Greeter.Hello", "Any.Thing"} {
			var head metadata.Header
			got, err := ask(c, endpoint, "Ada", client.WithReplyHeader(&head))
			if want := endpoint + ` application/json {"name":"Ada"}`; err != nil || got != want {
				t.Errorf("%s answered %q, %v", endpoint, got, err)
			}
			if v, _ := head.Get("x-routed"); v != endpoint {
				t.Errorf("the header of the reply is %v", head)
			}
		}
		if got, err := ask(c, "Debug.Health", ""); err != nil || got != "internal" {
			t.Errorf("an internal endpoint answered %q, %v", got, err)
		}
		s, err := c.Stream(t.Context(), c.NewRequest("greeter", "Any.Stream", &Ask{}))
		must(t, err)
		for _, name := range []string{"Ada", "Grace"} {
			must(t, s.Send(&Ask{name}))
			var rsp Answer
			if err := s.Recv(&rsp); err != nil || !strings.Contains(rsp.Text, name) {
				t.Errorf("the stream answered %q, %v", rsp.Text, err)
			}
		}
		must(t, s.(client.CloseSender).CloseSend())
		if err := s.Recv(new(Answer)); err != io.EOF {
			t.Errorf("the stream ended with %v", err)
		}
		p.fail = microerrors.Refuse("behind", microerrors.CodeUnavailable, "full")
		_, err = ask(c, "Any.Thing", "")
		if want(t, err, "full"); errors.Is(err, microerrors.ErrRefused) {
			t.Errorf("refused is passed on: %v", err)
		}
	})
}
