package server_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/seed-9a4e2794/micro/broker"
	"github.com/seed-9a4e2794/micro/client"
	"github.com/seed-9a4e2794/micro/metadata"
	"github.com/seed-9a4e2794/micro/server"
)

// inbox notes who got what.
type inbox struct {
	mu  sync.Mutex
	got map[string][]string
}

func (b *inbox) add(who, what string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.got == nil {
		b.got = make(map[string][]string)
	}
	b.got[who] = append(b.got[who], what)
}

func (b *inbox) of(who string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Join(b.got[who], ",")
}

// Several has two methods, which both get each event.
type Several struct{ box *inbox }

func (s *Several) First(_ context.Context, e *Ask) error {
	s.box.add("first", e.Name)
	e.Name = "changed" // its own copy
	return nil
}

func (s *Several) Second(_ context.Context, e Ask) error {
	s.box.add("second", e.Name)
	return nil
}

// Wrong has a method that is no subscriber.
type Wrong struct{}

func (*Wrong) Event(context.Context, *Ask, string) error { return nil }

func publish(t testing.TB, c client.Client, topic string, event any) {
	t.Helper()
	must(t, c.Publish(context.Background(), c.NewMessage(topic, event)))
}

func TestEventsReachFunctionsValuesAndAllMethodsOfAStruct(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		s := w.server()
		box := new(inbox)
		for _, sub := range []server.Subscriber{
			s.NewSubscriber("news", func(ctx context.Context, e *Ask) error {
				topic, _ := metadata.Get(ctx, "micro-topic")
				box.add("func", e.Name+"@"+topic)
				return nil
			}),
			s.NewSubscriber("news", func(_ context.Context, e Ask) error { box.add("value", e.Name); return nil }),
			s.NewSubscriber("news", &Several{box}),
			s.NewSubscriber("proto", func(_ context.Context, e *wrapperspb.StringValue) error { box.add("proto", e.Value); return nil }),
			server.TypedSubscriber("news", func(_ context.Context, e *Ask) error { box.add("typed", e.Name); return nil }),
		} {
			must(t, s.Subscribe(sub))
		}
		must(t, s.Start())
		defer func() { must(t, s.Stop()) }()
		must(t, s.Subscribe(s.NewSubscriber("late", func(_ context.Context, e *Ask) error { box.add("late", e.Name); return nil })))
		c := w.client(t)
		publish(t, c, "news", &Ask{"Ada"})
		publish(t, c, "proto", wrapperspb.String("Grace"))
		publish(t, c, "late", &Ask{"Edsger"})
		synctest.Wait()
		for who, want := range map[string]string{"func": "Ada@news", "value": "Ada", "first": "Ada", "second": "Ada", "typed": "Ada", "proto": "Grace", "late": "Edsger"} {
			if got := box.of(who); got != want {
				t.Errorf("%s got %q, want %q", who, got, want)
			}
		}
		w.registry.mu.Lock()
		defer w.registry.mu.Unlock()
		topics := 0
		for _, e := range w.registry.last.Endpoints {
			if e.Metadata["subscriber"] == "true" && e.Metadata["topic"] != "" {
				topics++
			}
		}
		if topics != 7 {
			t.Errorf("%d subscribers are registered", topics)
		}
	})
}

func TestSubscribersThatCannotBeUsedSayWhichShapeIsNeeded(t *testing.T) {
	const shape = "func(context.Context, *T) error"
	for _, c := range []struct {
		topic string
		value any
		texts []string
	}{
		{"", func(context.Context, *Ask) error { return nil }, []string{"needs a topic"}},
		{"t", nil, []string{"nil"}},
		{"t", func(*Ask) error { return nil }, []string{"func(*server_test.Ask) error", shape}},
		{"t", func(context.Context, *Ask) {}, []string{shape}},
		{"t", func(context.Context, ...*Ask) error { return nil }, []string{shape}},
		{"t", func(context.Context, any) error { return nil }, []string{"which type to decode into", shape}},
		{"t", new(Wrong), []string{"Wrong.Event", shape}},
		{"t", new(Empty), []string{"Empty", shape}},
		{"t", 7, []string{"int", shape}},
	} {
		s := server.NewServer()
		want(t, s.Subscribe(s.NewSubscriber(c.topic, c.value)), c.texts...)
	}
	s := server.NewServer()
	sub := s.NewSubscriber("t", func(context.Context, *Ask) error { return nil })
	must(t, s.Subscribe(sub))
	want(t, s.Subscribe(sub), "topic t", "already")
	want(t, s.Subscribe(nil), "not a subscriber of this package")
	want(t, server.NewServer(server.Registry(newWorld().registry)).Subscribe(server.TypedSubscriber("", func(context.Context, *Ask) error { return nil })), "needs a topic")
}

func TestQueueSharesEventsAndBroadcastDoesNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		var all, queued inbox
		for range 3 {
			s := w.server(server.Broker(w.broker.Peer()))
			must(t, s.Subscribe(s.NewSubscriber("t", func(_ context.Context, e *Ask) error { all.add("x", e.Name); return nil })))
			must(t, s.Subscribe(s.NewSubscriber("t", func(_ context.Context, e *Ask) error { queued.add("x", e.Name); return nil }, server.SubscriberQueue("q"))))
			must(t, s.Start())
			defer func() { must(t, s.Stop()) }()
		}
		c := w.client(t)
		defer w.broker.Disconnect(t.Context())
		for range 4 {
			publish(t, c, "t", &Ask{"e"})
		}
		synctest.Wait()
		if a, q := strings.Count(all.of("x"), "e"), strings.Count(queued.of("x"), "e"); a != 12 || q != 4 {
			t.Errorf("4 events came %d times to 3 nodes and %d times to their queue", a, q)
		}
	})
}

func TestEventsThatFailDoNotEndTheSubscription(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		s := w.server()
		box := new(inbox)
		must(t, s.Subscribe(s.NewSubscriber("t", func(_ context.Context, e *Ask) error {
			switch e.Name {
			case "panic":
				panic("boom-event")
			case "error":
				return errors.New("not today")
			}
			box.add("ok", e.Name)
			return nil
		})))
		must(t, s.Start())
		defer func() { must(t, s.Stop()) }()
		c := w.client(t)
		publish(t, c, "t", &Ask{"panic"})
		publish(t, c, "t", &Ask{"error"})
		must(t, w.broker.Publish(t.Context(), "t", &broker.Message{Header: map[string]string{"Content-Type": "application/json"}, Body: []byte("{")}))
		must(t, w.broker.Publish(t.Context(), "t", &broker.Message{Header: map[string]string{"content-type": "application/strange"}}))
		must(t, w.broker.Publish(t.Context(), "t", &broker.Message{Body: []byte(`{"name":"bare"}`)}))
		synctest.Wait()
		if got := box.of("ok"); got != "bare" {
			t.Errorf("handled %q", got)
		}
		if w.log.count("boom-event") == 0 || w.log.count("subscriber_test.go") == 0 {
			t.Error("the panic and its stack are not in the log")
		}
	})
}

func TestSubscriberWrappersRunFirstFirstAndSeeTheEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		var mu sync.Mutex
		var order []string
		wrapper := func(name string) server.Option {
			return server.WrapSubscriber(func(next server.SubscriberFunc) server.SubscriberFunc {
				return func(ctx context.Context, m server.Message) error {
					mu.Lock()
					defer mu.Unlock()
					order = append(order, name)
					if _, ok := m.Payload().(*Ask); !ok || m.Topic() != "t" || m.ContentType() != "application/json" {
						t.Errorf("the wrapper sees %s %s %T", m.Topic(), m.ContentType(), m.Payload())
					}
					if body := m.(interface{ Body() []byte }).Body(); string(body) != `{"name":"Ada"}` {
						t.Errorf("the body is %s", body)
					}
					if name == "outer" {
						mu.Unlock()
						defer mu.Lock()
					}
					return next(ctx, m)
				}
			})
		}
		s := w.server(wrapper("outer"), wrapper("inner"))
		must(t, s.Subscribe(server.TypedSubscriber("t", func(_ context.Context, e *Ask) error {
			order = append(order, e.Name)
			return nil
		})))
		must(t, s.Start())
		defer func() { must(t, s.Stop()) }()
		publish(t, w.client(t), "t", &Ask{"Ada"})
		synctest.Wait()
		if got := strings.Join(order, ","); got != "outer,inner,Ada" {
			t.Errorf("the order is %s", got)
		}
	})
}
