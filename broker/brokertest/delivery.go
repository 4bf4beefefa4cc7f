package brokertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"

	"github.com/seed-9a4e2794/micro/broker"
	"github.com/seed-9a4e2794/micro/metadata"
)

func deliveryCases() []testCase {
	return []testCase{{
		name: "Broadcast",
		rule: "a message reaches each subscriber without a queue once, in every process, and no subscriber of another topic",
		run: func(e *env) {
			a, b := e.connected(), e.connected()
			r1, r2, r3, other := e.recorder(), e.recorder(), e.recorder(), e.recorder()
			e.subscribe(a, e.topic, r1.handle)
			e.subscribe(a, e.topic, r2.handle)
			e.subscribe(b, e.topic, r3.handle)
			e.subscribe(b, e.topic+".other", other.handle)
			e.warm(e.topic, []broker.Broker{a, b}, r1, r2, r3)
			e.publishN(a, e.topic, 0, 10)
			e.publishN(b, e.topic, 10, 10)
			e.await(60, "three subscribers to have 20 messages each", r1, r2, r3)
			e.disconnect(a, b)
			for i, r := range []*recorder{r1, r2, r3} {
				e.exactly(0, 20, fmt.Sprintf("subscriber %d", i+1), r)
			}
			e.exactly(0, 0, "the subscriber of another topic", other)
		},
	}, {
		name: "Queue",
		rule: "each message goes to exactly one subscriber of a queue, whatever process it is in, and every one gets some",
		run: func(e *env) {
			a, b := e.connected(), e.connected()
			rs := []*recorder{e.recorder(), e.recorder(), e.recorder()}
			e.subscribe(a, e.topic, rs[0].handle, broker.Queue("q"))
			e.subscribe(b, e.topic, rs[1].handle, broker.Queue("q"))
			e.subscribe(b, e.topic, rs[2].handle, broker.Queue("q"))
			e.warm(e.topic, []broker.Broker{a, b}, rs...)
			e.publishN(a, e.topic, 0, 150)
			e.publishN(b, e.topic, 150, 150)
			e.await(300, "the queue to have 300 messages", rs...)
			e.disconnect(a, b)
			e.exactly(0, 300, "the queue", rs...)
			for i, r := range rs {
				if len(r.got()) == 0 {
					e.Errorf("member %d of the queue got nothing of 300 messages", i+1)
				}
			}
		},
	}, {
		name: "QueuesBesideBroadcast",
		rule: "each queue and each subscriber without one gets every message, independent of the others",
		run: func(e *env) {
			a, b := e.connected(), e.connected()
			q1 := []*recorder{e.recorder(), e.recorder()}
			q2 := []*recorder{e.recorder(), e.recorder()}
			all := []*recorder{e.recorder(), e.recorder()}
			for i, br := range []broker.Broker{a, b} {
				e.subscribe(br, e.topic, q1[i].handle, broker.Queue("one"))
				e.subscribe(br, e.topic, q2[i].handle, broker.Queue("two"))
				e.subscribe(br, e.topic, all[i].handle)
			}
			e.warm(e.topic, []broker.Broker{a}, q1[0], q1[1], q2[0], q2[1], all[0], all[1])
			e.publishN(a, e.topic, 0, 40)
			e.await(160, "two queues and two subscribers to have 40 messages each", q1[0], q1[1], q2[0], q2[1], all[0], all[1])
			e.disconnect(a, b)
			e.exactly(0, 40, "queue one", q1...)
			e.exactly(0, 40, "queue two", q2...)
			e.exactly(0, 40, "the first subscriber without a queue", all[0])
			e.exactly(0, 40, "the second subscriber without a queue", all[1])
		},
	}, {
		name: "MessageUnchanged",
		rule: "header, keys in the case they have, and body arrive as they were published, and the topic with them",
		run: func(e *env) {
			a, b := e.connected(), e.connected()
			r := e.recorder()
			type seen struct {
				topic  string
				header map[string]string
				body   []byte
			}
			got := make(chan seen, 4)
			e.subscribe(b, e.topic, r.skipProbes(func(_ context.Context, ev broker.Event) error {
				got <- seen{ev.Topic(), ev.Message().Header, ev.Message().Body}
				return nil
			}))
			e.warm(e.topic, []broker.Broker{a}, r)
			every := make([]byte, 256)
			for i := range every {
				every[i] = byte(i)
			}
			for _, m := range []*broker.Message{
				{Header: map[string]string{"Content-Type": "application/json", "micro-Topic": "x", "X-ID": "a", "lower": "b=c %41", "Ünicode": "snow ☃ "}, Body: every},
				{Header: map[string]string{"Empty": ""}},
			} {
				e.publish(a, e.topic, m)
				s := wait(e, got, "the message")
				if s.topic != e.topic || !maps.Equal(s.header, m.Header) || !bytes.Equal(s.body, m.Body) {
					e.Errorf("published to %q: %q %q\narrived from %q: %q %q", e.topic, m.Header, m.Body, s.topic, s.header, s.body)
				}
			}
		},
	}, {
		name: "PublisherKeepsItsMessage",
		rule: "Publish does not change the message, and what the publisher does with it afterwards does not change what arrives",
		run: func(e *env) {
			a, b := e.connected(), e.connected()
			ra, rb := e.recorder(), e.recorder()
			release := make(chan struct{})
			got := make(chan string, 4)
			late := func(_ context.Context, ev broker.Event) error {
				<-release
				got <- ev.Message().Header["K"] + string(ev.Message().Body)
				return nil
			}
			e.subscribe(a, e.topic, ra.skipProbes(late))
			e.subscribe(b, e.topic, rb.skipProbes(late))
			e.warm(e.topic, []broker.Broker{a}, ra, rb)
			m := &broker.Message{Header: map[string]string{"K": "v"}, Body: []byte("body")}
			e.publish(a, e.topic, m)
			if len(m.Header) != 1 || m.Header["K"] != "v" || string(m.Body) != "body" {
				e.Errorf("after Publish the message is %q %q, was {K: v} body", m.Header, m.Body)
			}
			m.Header["K"] = "w"
			m.Header["New"] = "x"
			copy(m.Body, "XXXX")
			close(release)
			for range 2 {
				if s := wait(e, got, "the message"); s != "vbody" {
					e.Errorf("got %q, want %q as it was when published", s, "vbody")
				}
			}
		},
	}, {
		name: "MetadataInContext",
		rule: "the header of the message is the metadata of the handler's context, found in any case",
		run: func(e *env) {
			a, b := e.connected(), e.connected()
			r := e.recorder()
			got := make(chan string, 1)
			e.subscribe(b, e.topic, r.skipProbes(func(ctx context.Context, _ broker.Event) error {
				v, _ := metadata.Get(ctx, "X-user-ID")
				got <- v
				return nil
			}))
			e.warm(e.topic, []broker.Broker{a}, r)
			e.publish(a, e.topic, &broker.Message{Header: map[string]string{"x-USER-id": "u1"}})
			if v := wait(e, got, "the handler"); v != "u1" {
				e.Errorf("metadata.Get found %q, want u1", v)
			}
		},
	}, {
		name: "LargeMessage",
		rule: "a body as large as promised arrives whole",
		run: func(e *env) {
			a, b := e.connected(), e.connected()
			r := e.recorder()
			got := make(chan []byte, 1)
			e.subscribe(b, e.topic, r.skipProbes(func(_ context.Context, ev broker.Event) error {
				got <- ev.Message().Body
				return nil
			}))
			e.warm(e.topic, []broker.Broker{a}, r)
			body := make([]byte, e.promise.MaxBody)
			for i := range body {
				body[i] = byte(i * 7 >> 3)
			}
			e.publish(a, e.topic, &broker.Message{Body: body})
			if g := wait(e, got, "the large message"); !bytes.Equal(g, body) {
				e.Errorf("%d bytes arrived and differ from the %d published", len(g), len(body))
			}
		},
	}, {
		name: "ConcurrentPublishers",
		rule: "Publish may run concurrently, and nothing is lost or doubled by it",
		run: func(e *env) {
			a, b := e.connected(), e.connected()
			all, q1, q2 := e.recorder(), e.recorder(), e.recorder()
			e.subscribe(b, e.topic, all.handle)
			e.subscribe(a, e.topic, q1.handle, broker.Queue("q"))
			e.subscribe(b, e.topic, q2.handle, broker.Queue("q"))
			e.warm(e.topic, []broker.Broker{a, b}, all, q1, q2)
			const publishers, each = 8, 50
			errs := make([]error, publishers)
			var wg sync.WaitGroup
			for p := range publishers {
				wg.Go(func() {
					from := []broker.Broker{a, b}[p%2]
					for i := range each {
						errs[p] = errors.Join(errs[p], from.Publish(e.ctx, e.topic, message(p*each+i)))
					}
				})
			}
			wg.Wait()
			if err := errors.Join(errs...); err != nil {
				e.Fatalf("Publish: %v", err)
			}
			e.await(2*publishers*each, "all messages", all, q1, q2)
			e.disconnect(a, b)
			e.exactly(0, publishers*each, "the subscriber without a queue", all)
			e.exactly(0, publishers*each, "the queue", q1, q2)
		},
	}, {
		name: "RequireSubscriber",
		rule: "that nobody listens is no error, but with RequireSubscriber it is ErrNoSubscriber; with a subscriber it is none",
		run: func(e *env) {
			a, b := e.connected(), e.connected()
			e.publish(a, e.topic, message(0))
			if e.promise.CountsSubscribers {
				if err := a.Publish(e.ctx, e.topic, message(0), broker.RequireSubscriber()); !errors.Is(err, broker.ErrNoSubscriber) {
					e.Errorf("Publish with nobody there: %v, want ErrNoSubscriber", err)
				}
			}
			r := e.recorder()
			s := e.subscribe(b, e.topic, r.handle, broker.Queue("q"))
			e.warm(e.topic, []broker.Broker{a}, r)
			e.publish(a, e.topic, message(1), broker.RequireSubscriber())
			e.await(1, "the message", r)
			if err := s.Unsubscribe(e.ctx); err != nil {
				e.Fatalf("Unsubscribe: %v", err)
			}
			if e.promise.CountsSubscribers {
				if err := a.Publish(e.ctx, e.topic, message(2), broker.RequireSubscriber()); !errors.Is(err, broker.ErrNoSubscriber) {
					e.Errorf("Publish after the only subscriber left: %v, want ErrNoSubscriber", err)
				}
			}
		},
	}}
}
