package server

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync"

	"github.com/seed-9a4e2794/micro/broker"
	"github.com/seed-9a4e2794/micro/codec"
	"github.com/seed-9a4e2794/micro/registry"
)

// subscriber implements Subscriber.
type subscriber struct {
	topic string
	value any
	sinks []*sink
	descs []*registry.Endpoint
	opts  SubscriberOptions
	err   error // why it cannot be used
}

// sink is one function that gets the events.
type sink struct {
	newMsg func() any // a pointer to decode into
	// call handles what newMsg made and the codec filled; payload is that, or
	// what it points to when the function takes the event by value.
	payload func(msg any) any
	call    func(ctx context.Context, payload any) error
}

func (s *subscriber) Topic() string                   { return s.topic }
func (s *subscriber) Subscriber() any                 { return s.value }
func (s *subscriber) Endpoints() []*registry.Endpoint { return s.descs }
func (s *subscriber) Options() SubscriberOptions      { return s.opts }

// shapeOfSubscriber is what error messages ask for.
const shapeOfSubscriber = "func(context.Context, *T) error"

func newSubscriber(topic string, v any, opts ...SubscriberOption) *subscriber {
	s := &subscriber{topic: topic, value: v, opts: NewSubscriberOptions(opts...)}
	val := reflect.ValueOf(v)
	switch {
	case topic == "":
		s.err = errors.New("server: a subscriber needs a topic")
	case !val.IsValid():
		s.err = errors.New("server: the subscriber is nil")
	case val.Kind() == reflect.Func:
		s.err = s.add("Func", val, val.Type())
	default:
		name := nameOf(val.Type())
		for i := range val.NumMethod() {
			m := val.Type().Method(i)
			if err := s.add(name+"."+m.Name, val.Method(i), val.Method(i).Type()); err != nil {
				s.err = err
				return s
			}
		}
		if len(s.sinks) == 0 {
			s.err = fmt.Errorf("server: subscriber %s has no exported method of the shape %s", val.Type(), shapeOfSubscriber)
		}
	}
	return s
}

// add adds a function of type t.
func (s *subscriber) add(name string, fn reflect.Value, t reflect.Type) error {
	if t.NumIn() != 2 || t.In(0) != reflect.TypeFor[context.Context]() || t.NumOut() != 1 || t.Out(0) != reflect.TypeFor[error]() || t.IsVariadic() {
		return fmt.Errorf("server: subscriber %s is a %s, not of the shape %s", name, t, shapeOfSubscriber)
	}
	arg := t.In(1)
	k := &sink{
		call: func(ctx context.Context, payload any) error {
			err, _ := fn.Call([]reflect.Value{reflect.ValueOf(ctx), reflect.ValueOf(payload)})[0].Interface().(error)
			return err
		},
		payload: func(msg any) any { return msg },
	}
	switch arg.Kind() {
	case reflect.Pointer:
		k.newMsg = func() any { return reflect.New(arg.Elem()).Interface() }
	case reflect.Interface:
		return fmt.Errorf("server: subscriber %s takes a %s; it has to say which type to decode into: %s", name, arg, shapeOfSubscriber)
	default:
		k.newMsg = func() any { return reflect.New(arg).Interface() }
		k.payload = func(msg any) any { return reflect.ValueOf(msg).Elem().Interface() }
	}
	s.sinks = append(s.sinks, k)
	s.describe(name, arg)
	return nil
}

func (s *subscriber) describe(name string, t reflect.Type) {
	s.descs = append(s.descs, &registry.Endpoint{Name: name, Request: describe(t),
		Metadata: map[string]string{"subscriber": "true", "topic": s.topic}})
}

// TypedSubscriber returns a subscriber that handles the events of a topic with
// a function. No reflection takes place when it is called.
func TypedSubscriber[T any](topic string, fn func(context.Context, *T) error, opts ...SubscriberOption) Subscriber {
	s := &subscriber{topic: topic, value: fn, opts: NewSubscriberOptions(opts...)}
	if topic == "" {
		s.err = errors.New("server: a subscriber needs a topic")
		return s
	}
	s.sinks = []*sink{{
		newMsg:  func() any { return new(T) },
		payload: func(msg any) any { return msg },
		call:    func(ctx context.Context, payload any) error { return fn(ctx, payload.(*T)) },
	}}
	s.describe("Func", reflect.TypeFor[T]())
	return s
}

// subscription is a subscriber of a running server.
type subscription struct {
	sub *subscriber

	// Guarded by the server's lock.
	active broker.Subscriber // nil until the broker has it
	busy   bool              // somebody is subscribing it
	// dropped says that Subscribe returned an error for it: who has it still
	// must not make it live.
	dropped bool
}

// handle returns the broker's handler for a subscriber.
func (s *server) handle(run *running, sub *subscriber) broker.Handler {
	wrappers := run.opts.SubWrappers
	calls := make([]SubscriberFunc, len(sub.sinks))
	for i, k := range sub.sinks {
		f := func(ctx context.Context, msg Message) error { return k.call(ctx, msg.Payload()) }
		for j := len(wrappers) - 1; j >= 0; j-- {
			f = wrappers[j](f)
		}
		calls[i] = f
	}
	return func(ctx context.Context, e broker.Event) error {
		if len(calls) == 1 {
			return s.event(ctx, run, e, sub.sinks[0], calls[0])
		}
		errs := make([]error, len(calls))
		var group sync.WaitGroup
		for i, k := range sub.sinks {
			group.Go(func() { errs[i] = s.event(ctx, run, e, k, calls[i]) })
		}
		group.Wait()
		return errors.Join(errs...)
	}
}

// event decodes an event for one function and calls it.
func (s *server) event(ctx context.Context, run *running, e broker.Event, k *sink, call SubscriberFunc) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = s.panicked(run, "event of topic "+e.Topic(), p)
		}
	}()
	m := e.Message()
	ctype := headerValue(m.Header, "Content-Type")
	msg := k.newMsg()
	c, err := run.codecs.Find(ctype, msg)
	if err != nil {
		return err
	}
	if err := c.Unmarshal(m.Body, msg); err != nil {
		return fmt.Errorf("event of topic %s: %w", e.Topic(), err)
	}
	if ctype == "" {
		ctype = c.Name()
	}
	return call(ctx, &event{topic: e.Topic(), contentType: ctype, payload: k.payload(msg), message: m, codec: c})
}

// event implements Message.
type event struct {
	topic, contentType string
	payload            any
	message            *broker.Message
	codec              codec.Codec
}

func (e *event) Topic() string       { return e.topic }
func (e *event) Payload() any        { return e.payload }
func (e *event) ContentType() string { return e.contentType }

// Header returns the event's header, which must not be changed.
func (e *event) Header() map[string]string { return e.message.Header }

// Body returns the event undecoded. It must not be changed.
func (e *event) Body() []byte { return e.message.Body }

// Codec returns the codec of the event.
func (e *event) Codec() codec.Codec { return e.codec }
