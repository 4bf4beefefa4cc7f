package client_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/seed-9a4e2794/micro/client"
	"github.com/seed-9a4e2794/micro/client/selector"
	"github.com/seed-9a4e2794/micro/codec/bytes"
	microerrors "github.com/seed-9a4e2794/micro/errors"
	"github.com/seed-9a4e2794/micro/metadata"
	"github.com/seed-9a4e2794/micro/registry"
	"github.com/seed-9a4e2794/micro/server"
	"github.com/seed-9a4e2794/micro/transport"
)

// downRegistry cannot be asked.
type downRegistry struct{ registry.Registry }

func (downRegistry) Watch(context.Context, ...registry.WatchOption) (registry.Watcher, error) {
	return nil, fmt.Errorf("etcd: %w", registry.ErrUnavailable)
}

func TestErrorsAreToldApartAndSayWhatWasTried(t *testing.T) {
	kinds := map[string]error{
		"deadline": context.DeadlineExceeded, "canceled": context.Canceled, "refused": microerrors.ErrRefused,
		"not found": registry.ErrNotFound, "registry unavailable": registry.ErrUnavailable, "none available": selector.ErrNoneAvailable,
		"unreachable": transport.ErrUnreachable, "lost": transport.ErrLost,
	}
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	filter := client.WithSelectOption(selector.WithFilter(selector.FilterVersion("none")))
	for _, k := range []struct {
		name     string
		kinds    []string // those that match, and no others
		code     int32
		attempts int // -1: it is the handler's, nothing is said
		nodes    bool
		ask      func(w *world, c client.Client) error
	}{
		{"unknown service", []string{"not found"}, 404, 1, false, func(w *world, c client.Client) error {
			return c.Call(context.Background(), c.NewRequest("nobody", "Greeter.Hello", &Ask{}), nil)
		}},
		{"registry down", []string{"registry unavailable"}, 503, 1, false, func(w *world, c client.Client) error {
			_ = c.Init(client.Registry(downRegistry{}), client.Selector(selector.New(selector.Config{Registry: downRegistry{}, Logger: w.log})))
			defer c.Options().Selector.Close()
			_, err := ask(context.Background(), c, "Greeter.Hello", "")
			return err
		}},
		{"filtered away", []string{"none available"}, 503, 1, false, func(w *world, c client.Client) error {
			_, err := ask(context.Background(), c, "Greeter.Hello", "", filter)
			return err
		}},
		{"deadline", []string{"deadline"}, 408, 1, true, func(w *world, c client.Client) error {
			_, err := ask(context.Background(), c, "Greeter.Hello", "wait", client.WithRequestTimeout(time.Second))
			return err
		}},
		{"cancelled", []string{"canceled"}, 499, 1, false, func(w *world, c client.Client) error {
			_, err := ask(ended, c, "Greeter.Hello", "")
			return err
		}},
		{"refused", []string{"refused"}, 503, 2, true, func(w *world, c client.Client) error {
			f := &failing{err: always(errRefusedTest)}
			_, err := ask(context.Background(), c, "Greeter.Hello", "", client.WithCallWrapper(f.wrap))
			return err
		}},
		{"unreachable", []string{"unreachable"}, 503, 2, true, func(w *world, c client.Client) error {
			_, err := ask(context.Background(), c, "Greeter.Hello", "", client.WithAddress("x:1", "y:1"))
			return err
		}},
		{"a machine that does not answer", []string{"unreachable"}, 503, 1, true, func(w *world, c client.Client) error {
			w.transport.onDial(func(ctx context.Context, _ string) error {
				<-ctx.Done()
				return fmt.Errorf("%w: %w", transport.ErrUnreachable, ctx.Err())
			})
			_, err := ask(context.Background(), c, "Greeter.Hello", "", client.WithDialTimeout(time.Second), client.WithRetries(0))
			return err
		}},
		{"lost", []string{"lost"}, 503, 1, true, func(w *world, c client.Client) error {
			_, err := ask(context.Background(), c, "Greeter.Hello", "cut")
			return err
		}},
		{"handler's", nil, 418, -1, true, func(w *world, c client.Client) error {
			_, err := ask(context.Background(), c, "Greeter.Hello", "teapot")
			return err
		}},
		{"an answer of another type", nil, 500, 1, true, func(w *world, c client.Client) error {
			return c.Call(context.Background(), c.NewRequest("greeter", "Greeter.Hello", &Ask{"Ada"}), new([]int))
		}},
		{"an unknown content type", nil, 400, 1, true, func(w *world, c client.Client) error {
			return c.Call(context.Background(), c.NewRequest("greeter", "Greeter.Hello", &Ask{}, client.WithContentType("text/odd")), nil)
		}},
		{"a call wrapper's own", nil, 500, 1, true, func(w *world, c client.Client) error {
			f := &failing{err: always(errors.New("the wrapper says no"))}
			_, err := ask(context.Background(), c, "Greeter.Hello", "", client.WithCallWrapper(f.wrap))
			return err
		}},
	} {
		t.Run(k.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				var n atomic.Int64
				w.serve(t, "a", answering(&n, func(ctx context.Context, req *Ask) (*Answer, error) {
					switch req.Name {
					case "wait":
						<-ctx.Done()
					case "cut":
						w.transport.cut()
						<-ctx.Done()
					case "teapot":
						return nil, microerrors.New("greeter", "short and stout", 418)
					}
					return &Answer{"Hello " + req.Name}, nil
				}))
				err := k.ask(w, w.client(t))
				if err == nil {
					t.Fatal("no error")
				}
				for name, kind := range kinds {
					expected := false
					for _, want := range k.kinds {
						expected = expected || want == name
					}
					if errors.Is(err, kind) != expected {
						t.Errorf("errors.Is says %v for %s: %v", !expected, name, err)
					}
				}
				e, ok := err.(*microerrors.Error)
				if !ok || e.Code != k.code || e.Detail == "" || e.Status == "" && k.code != 418 {
					t.Errorf("want the code %d, got %#v", k.code, err)
				}
				var tried *client.Tried
				if k.attempts < 0 {
					if errors.As(err, &tried) {
						t.Errorf("the handler's error is wrapped: %v", err)
					}
					return
				}
				got := attempts(t, err)
				if len(got) != k.attempts {
					t.Errorf("%d attempts are listed: %v", len(got), err)
				}
				for _, a := range got {
					if (a.Address != "") != k.nodes || a.Err == nil {
						t.Errorf("listed is %+v", a)
					}
					if a.Address != "" && !strings.Contains(e.Detail, a.Address) {
						t.Errorf("the text does not name %s: %s", a.Address, e.Detail)
					}
				}
				if !strings.Contains(e.Detail, "Greeter.Hello") {
					t.Errorf("the text does not name the endpoint: %s", e.Detail)
				}
			})
		})
	}
}

func TestSilentMachineLeavesTimeForAnotherNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		var n atomic.Int64
		w.serve(t, "b", answering(&n, well))
		w.transport.onDial(func(ctx context.Context, addr string) error {
			if addr != "a:1" {
				return nil
			}
			<-ctx.Done()
			return fmt.Errorf("%w: %w", transport.ErrUnreachable, ctx.Err())
		})
		c := w.client(t)
		got, err := ask(t.Context(), c, "Greeter.Hello", "Ada", client.WithAddress("a:1"), client.WithRetries(0), client.WithRequestTimeout(time.Second))
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("alone: %q, %v", got, err)
		}
		w.node(t, "a")
		for range 20 {
			if got, err := ask(t.Context(), c, "Greeter.Hello", "Ada", client.WithRequestTimeout(time.Second)); err != nil || got != "Hello Ada" {
				t.Errorf("got %q, %v", got, err)
			}
		}
	})
}

func TestAddressesReplaceDiscovery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		var a, b atomic.Int64
		w.serve(t, "a", answering(&a, well))
		w.serve(t, "b", answering(&b, well))
		c := w.client(t)
		call := func(addrs ...string) {
			t.Helper()
			err := c.Call(t.Context(), c.NewRequest("whatever", "Greeter.Hello", &Ask{"Ada"}), nil, client.WithAddress(addrs...))
			if err != nil {
				t.Errorf("%v: %v", addrs, err)
			}
		}
		for range 10 {
			call("a:1")
		}
		if a.Load() != 10 || b.Load() != 0 {
			t.Errorf("one address: %d and %d", a.Load(), b.Load())
		}
		for range 200 {
			call("a:1", "b:1")
		}
		if b.Load() < 50 || a.Load() < 60 {
			t.Errorf("two addresses: %d and %d", a.Load()-10, b.Load())
		}
		for range 20 {
			call("nowhere:1", "b:1") // the other one after the one that is not there
		}
	})
}

func TestSelectOptionsChooseAmongTheNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		var a, b atomic.Int64
		w.serve(t, "a", answering(&a, well))
		w.serve(t, "b", answering(&b, well))
		c := w.client(t)
		for range 50 {
			_, err := ask(t.Context(), c, "Greeter.Hello", "", client.WithSelectOption(selector.WithFilter(func(in []*registry.Service) []*registry.Service {
				out := *in[0]
				out.Nodes = out.Nodes[1:]
				return []*registry.Service{&out}
			})))
			must(t, err)
		}
		if a.Load() != 0 || b.Load() != 50 {
			t.Errorf("the filter let through %d and %d", a.Load(), b.Load())
		}
		rr := selector.NewRoundRobin()
		for range 50 {
			_, err := ask(t.Context(), c, "Greeter.Hello", "", client.WithSelectOption(selector.WithStrategy(rr)))
			must(t, err)
		}
		if a.Load() != 25 || b.Load() != 75 {
			t.Errorf("round robin gave %d and %d", a.Load(), b.Load()-50)
		}
	})
}

// simple is a selector with the methods of the contract and no more.
type simple struct {
	node  *registry.Node
	marks []error
	asked []string
}

func (s *simple) Select(_ context.Context, service string, opts ...selector.SelectOption) (selector.Next, error) {
	s.asked = append(s.asked, fmt.Sprint(service, len(opts)))
	return func() (*registry.Node, error) { return s.node, nil }, nil
}
func (s *simple) Mark(_ string, _ *registry.Node, err error) { s.marks = append(s.marks, err) }
func (s *simple) Close() error                               { return nil }

func TestSelectorNeedsNoMoreThanItsContract(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		var n atomic.Int64
		w.serve(t, "a", answering(&n, well))
		s := &simple{node: &registry.Node{Id: "a", Address: "a:1"}}
		c := w.client(t, client.Selector(s))
		_, err := ask(t.Context(), c, "Greeter.Hello", "")
		must(t, err)
		_, err = ask(t.Context(), c, "Greeter.Helo", "", client.WithSelectOption(selector.WithFilter()))
		want(t, err, "no endpoint")
		if len(s.marks) != 2 || s.marks[0] != nil || s.marks[1] == nil || fmt.Sprint(s.asked) != "[greeter0 greeter1]" {
			t.Errorf("asked %v, marked %v", s.asked, s.marks)
		}
		s.node = nil
		if _, err := ask(t.Context(), c, "Greeter.Hello", ""); !errors.Is(err, selector.ErrNoneAvailable) {
			t.Errorf("without a node: %v", err)
		}
	})
}

func TestCallWrappersRunFirstFirstAroundEachAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		var n atomic.Int64
		var seen string
		w.serve(t, "a", answering(&n, func(ctx context.Context, req *Ask) (*Answer, error) {
			seen, _ = metadata.Get(ctx, "X-Wrapped")
			return well(ctx, req)
		}))
		var order []string
		wrapper := func(name string) client.CallWrapper {
			return func(next client.CallFunc) client.CallFunc {
				return func(ctx context.Context, node *registry.Node, req client.Request, rsp any, opts client.CallOptions) error {
					order = append(order, name)
					if node.Address != "a:1" || req.Service() != "greeter" || req.Body().(*Ask).Name != "Ada" || req.Codec().Name() != "application/json" {
						t.Errorf("%s sees %v %v", name, node, req)
					}
					err := next(metadata.Set(ctx, "X-Wrapped", name), node, req, rsp, opts)
					rsp.(*Answer).Text += " " + name
					return err
				}
			}
		}
		c := w.client(t, client.WrapCall(wrapper("first"), wrapper("second")))
		got, err := ask(t.Context(), c, "Greeter.Hello", "Ada", client.WithCallWrapper(wrapper("third")))
		if err != nil || got != "Hello Ada third second first" || strings.Join(order, ",") != "first,second,third" || seen != "third" {
			t.Errorf("got %q, %v in the order %v with %q", got, err, order, seen)
		}
		order = nil // the options of one call do not stay
		got, err = ask(t.Context(), c, "Greeter.Hello", "Ada")
		if err != nil || got != "Hello Ada second first" {
			t.Errorf("afterwards %q, %v", got, err)
		}
	})
}

func TestMetadataTravelsBothWays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		var n atomic.Int64
		var got metadata.Metadata
		onward := w.client(t, client.From("middle"))
		w.serve(t, "a", answering(&n, func(ctx context.Context, req *Ask) (*Answer, error) {
			got, _ = metadata.FromContext(ctx)
			must(t, metadata.SetHeader(ctx, "X-Head", "h1", "h2"))
			must(t, metadata.SetTrailer(ctx, "X-Trail", "t"))
			if req.Name == "fail" {
				return nil, errors.New("failed")
			}
			return &Answer{}, nil
		}), server.Typed("Greeter.Onward", func(ctx context.Context, req *Ask) (*Answer, error) {
			text, err := ask(ctx, onward, "Greeter.Hello", req.Name)
			return &Answer{text}, err
		}))
		c := w.client(t, client.From("caller"))
		md := metadata.Metadata{"X-User": "42", "Content-Type": "text/of-an-event"}
		ctx := metadata.NewContext(t.Context(), md)
		for _, name := range []string{"", "fail"} {
			var head, trail metadata.Header
			_, err := ask(ctx, c, "Greeter.Hello", name, client.WithReplyHeader(&head), client.WithReplyTrailer(&trail))
			if (err != nil) != (name == "fail") {
				t.Errorf("%q: %v", name, err)
			}
			if v, _ := trail.Get("X-Trail"); fmt.Sprint(head.Values("X-Head")) != "[h1 h2]" || v != "t" {
				t.Errorf("%q: the reply has %v and %v", name, head, trail)
			}
			if got["X-User"] != "42" || got["Micro-From-Service"] != "caller" || got["Content-Type"] == "text/of-an-event" {
				t.Errorf("the handler got %v", got)
			}
		}
		// The service that began it stays named.
		_, err := ask(ctx, c, "Greeter.Onward", "")
		if err != nil || got["Micro-From-Service"] != "caller" || got["X-User"] != "42" {
			t.Errorf("passed on: %v, %v", got, err)
		}
		if len(md) != 2 || md["X-User"] != "42" {
			t.Errorf("the caller's map was changed to %v", md)
		}
		_, err = ask(t.Context(), onward, "Greeter.Hello", "")
		if err != nil || got["Micro-From-Service"] != "middle" {
			t.Errorf("alone: %v, %v", got, err)
		}
	})
}

// oldMessage is a message as the protobuf module of before 2020 made them.
type oldMessage struct {
	Value string `protobuf:"bytes,1,opt,name=value,proto3"`
}

func (m *oldMessage) Reset()         { *m = oldMessage{} }
func (m *oldMessage) String() string { return m.Value }
func (*oldMessage) ProtoMessage()    {}

func TestEncodingFollowsTheMessageUnlessChosen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		var ctype string
		w.serve(t, "a",
			server.Typed("Echo.Proto", func(_ context.Context, m *wrapperspb.StringValue) (*wrapperspb.StringValue, error) { return m, nil }),
			server.Typed("Echo.Struct", func(_ context.Context, m *Ask) (*Ask, error) { return m, nil }),
			server.Typed("Echo.Bytes", func(_ context.Context, m *bytes.Frame) (*bytes.Frame, error) { return m, nil }))
		spy := func(next client.CallFunc) client.CallFunc {
			return func(ctx context.Context, node *registry.Node, req client.Request, rsp any, opts client.CallOptions) error {
				ctype = req.Codec().Name()
				return next(ctx, node, req, rsp, opts)
			}
		}
		c := w.client(t, client.WrapCall(spy))
		for _, k := range []struct {
			endpoint string
			req, rsp any
			choose   string
			want     string
			text     func(rsp any) string
		}{
			{"Echo.Proto", wrapperspb.String("Ada"), new(wrapperspb.StringValue), "", "application/protobuf", func(r any) string { return r.(*wrapperspb.StringValue).Value }},
			{"Echo.Proto", wrapperspb.String("Ada"), new(wrapperspb.StringValue), "application/json", "application/json", func(r any) string { return r.(*wrapperspb.StringValue).Value }},
			{"Echo.Proto", &oldMessage{"Ada"}, new(oldMessage), "", "application/protobuf", func(r any) string { return r.(*oldMessage).Value }},
			{"Echo.Struct", &Ask{"Ada"}, new(Ask), "", "application/json", func(r any) string { return r.(*Ask).Name }},
			{"Echo.Struct", &Ask{"Ada"}, new(Ask), "application/json; charset=utf-8", "application/json", func(r any) string { return r.(*Ask).Name }},
			{"Echo.Bytes", []byte("Ada"), new([]byte), "", "application/octet-stream", func(r any) string { return string(*r.(*[]byte)) }},
			// Raw frames go through any encoding, one way or both.
			{"Echo.Struct", &bytes.Frame{Data: []byte(`{"name":"Ada"}`)}, new(bytes.Frame), "application/json", "application/json", func(r any) string {
				return strings.Trim(strings.TrimPrefix(string(r.(*bytes.Frame).Data), `{"name":`), `"}`)
			}},
			{"Echo.Struct", &bytes.Frame{Data: []byte(`{"name":"Ada"}`)}, new(Ask), "application/json", "application/json", func(r any) string { return r.(*Ask).Name }},
			{"Echo.Struct", &Ask{"Ada"}, new(bytes.Frame), "", "application/json", func(r any) string {
				return strings.Trim(strings.TrimPrefix(string(r.(*bytes.Frame).Data), `{"name":`), `"}`)
			}},
			{"Echo.Proto", &bytes.Frame{Data: []byte("\x0a\x03Ada")}, new(bytes.Frame), "application/protobuf", "application/protobuf", func(r any) string {
				return string(r.(*bytes.Frame).Data[2:])
			}},
			{"Echo.Bytes", &bytes.Frame{Data: []byte("Ada")}, new(bytes.Frame), "application/protobuf", "application/protobuf", func(r any) string { return string(r.(*bytes.Frame).Data) }},
		} {
			var opts []client.RequestOption
			if k.choose != "" {
				opts = append(opts, client.WithContentType(k.choose))
			}
			err := c.Call(t.Context(), c.NewRequest("greeter", k.endpoint, k.req, opts...), k.rsp)
			if err != nil || ctype != k.want || k.text(k.rsp) != "Ada" {
				t.Errorf("%s with %T as %q: sent as %s, answered %v, %v", k.endpoint, k.req, k.choose, ctype, k.rsp, err)
			}
		}
		must(t, c.Init(client.ContentType("application/json")))
		err := c.Call(t.Context(), c.NewRequest("greeter", "Echo.Proto", wrapperspb.String("Ada")), new(wrapperspb.StringValue))
		if err != nil || ctype != "application/json" {
			t.Errorf("with a client's own default: %s, %v", ctype, err)
		}
	})
}

func TestInitAfterTheFirstCallLeavesThePartsInUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, other := newWorld(), newWorld()
		w.serve(t, "a", server.Typed("Greeter.Hello", func(_ context.Context, a *Ask) (*Answer, error) { return &Answer{a.Name}, nil }))
		c := w.client(t)
		for range 2 {
			if err := c.Call(t.Context(), c.NewRequest("greeter", "Greeter.Hello", &Ask{"Ada"}), new(Answer)); err != nil {
				t.Fatal(err)
			}
			must(t, c.Init(client.Registry(other.registry), client.Transport(other.transport), client.Retries(0)))
		}
		if c.Options().CallOptions.Retries != 0 {
			t.Error("a setting of later calls was not taken")
		}
	})
}
