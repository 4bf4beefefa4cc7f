// Package broker is the contract of events: publish to a topic, subscribe to
// it, alone or in a queue that shares the work.
//
// The packages beside this one are backends and say each what they promise;
// brokertest checks that a backend keeps this contract and its promise.
package broker

import (
	"context"
	"errors"
)

var (
	// ErrNotConnected says that Connect has not been called, or Disconnect has.
	ErrNotConnected = errors.New("broker not connected")
	// ErrNoSubscriber is returned by Publish with RequireSubscriber when the
	// message reached nobody.
	ErrNoSubscriber = errors.New("no subscriber was reached")
	// ErrUnavailable says that the broker could not be asked.
	ErrUnavailable = errors.New("broker unavailable")
)

// Broker carries events. All methods may run concurrently.
type Broker interface {
	// Connect makes the broker ready. Connecting twice is no error. A broker
	// that is away is reported as ErrUnavailable; the broker goes on trying.
	Connect(ctx context.Context) error
	// Disconnect ends all subscriptions, waits for handlers that run until ctx
	// ends, and lets go of what Connect took. A broker may be connected again.
	Disconnect(ctx context.Context) error
	// Publish sends m to the subscribers of topic. m belongs to the caller
	// again when Publish returns. A nil error means what the backend promises,
	// no more; that nobody listens is an error only with RequireSubscriber.
	Publish(ctx context.Context, topic string, m *Message, opts ...PublishOption) error
	// Subscribe calls h for each message of topic, concurrently unless the
	// backend promises an order. Subscribing before Connect is allowed and
	// takes effect with it.
	Subscribe(ctx context.Context, topic string, h Handler, opts ...SubscribeOption) (Subscriber, error)
}

// Handler handles one event. The context ends when the subscription is given
// up, and carries the message's header as metadata. Unless the subscription
// has DisableAutoAck, returning nil acknowledges the event and returning an
// error refuses it; a panic is an error.
type Handler func(ctx context.Context, e Event) error

// Message is what is published.
type Message struct {
	// Header holds metadata. Keys are kept in the case they have.
	Header map[string]string
	Body   []byte
}

// Event is a message being delivered. Its message is shared by all handlers of
// the process and must not be changed.
type Event interface {
	Topic() string
	Message() *Message
	// Ack says that the event has been handled. With a backend that promises
	// at most once it does nothing.
	Ack() error
	// Nack says that it has not, and asks for it to be delivered again where
	// the backend promises that.
	Nack() error
}

// Subscriber is one subscription.
type Subscriber interface {
	Options() SubscribeOptions
	Topic() string
	// Unsubscribe ends the subscription: no handler starts after it returns,
	// and those that run have been waited for until ctx ended. Calling it
	// again is no error.
	Unsubscribe(ctx context.Context) error
}

// PublishOptions are the options of Publish.
type PublishOptions struct {
	// RequireSubscriber makes Publish fail with ErrNoSubscriber when the
	// message reached nobody.
	RequireSubscriber bool
}

// PublishOption sets a PublishOptions.
type PublishOption func(*PublishOptions)

// RequireSubscriber makes Publish fail when the message reached nobody.
func RequireSubscriber() PublishOption {
	return func(o *PublishOptions) { o.RequireSubscriber = true }
}

// NewPublishOptions applies opts to the zero PublishOptions.
func NewPublishOptions(opts ...PublishOption) PublishOptions {
	var o PublishOptions
	for _, f := range opts {
		f(&o)
	}
	return o
}

// SubscribeOptions are the options of Subscribe.
type SubscribeOptions struct {
	// AutoAck acknowledges an event when its handler returns nil. It is on by
	// default.
	AutoAck bool
	// Queue names the group that shares the messages: each message goes to one
	// subscriber of the queue. Empty is no group: each subscriber gets each
	// message.
	Queue string
}

// SubscribeOption sets a SubscribeOptions.
type SubscribeOption func(*SubscribeOptions)

// Queue joins the subscription to a queue.
func Queue(name string) SubscribeOption {
	return func(o *SubscribeOptions) { o.Queue = name }
}

// DisableAutoAck leaves it to the handler to call Ack or Nack.
func DisableAutoAck() SubscribeOption {
	return func(o *SubscribeOptions) { o.AutoAck = false }
}

// NewSubscribeOptions applies opts to the default SubscribeOptions.
func NewSubscribeOptions(opts ...SubscribeOption) SubscribeOptions {
	o := SubscribeOptions{AutoAck: true}
	for _, f := range opts {
		f(&o)
	}
	return o
}
