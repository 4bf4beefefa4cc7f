package client

import (
	"context"
	"crypto/rand"
	stderrors "errors"
	"fmt"
	"time"

	"github.com/seed-9a4e2794/micro/broker"
	"github.com/seed-9a4e2794/micro/broker/direct"
	"github.com/seed-9a4e2794/micro/errors"
	"github.com/seed-9a4e2794/micro/metadata"
)

const (
	// closeTimeout bounds the disconnecting of a broker that the client made.
	closeTimeout = 5 * time.Second
	// connectTimeout bounds the connecting of it.
	connectTimeout = 5 * time.Second
)

func (c *client) NewMessage(topic string, msg any, opts ...MessageOption) Message {
	o := MessageOptions{ContentType: c.Options().ContentType}
	for _, f := range opts {
		f(&o)
	}
	return &message{topic: topic, payload: msg, contentType: o.ContentType}
}

// message implements Message.
type message struct {
	topic, contentType string
	payload            any
}

func (m *message) Topic() string       { return m.topic }
func (m *message) Payload() any        { return m.payload }
func (m *message) ContentType() string { return m.contentType }

func (c *client) Publish(ctx context.Context, msg Message, opts ...PublishOption) error {
	var o PublishOptions
	for _, f := range opts {
		f(&o)
	}
	p, err := c.parts()
	if err != nil {
		return errors.Wrap(clientId, errors.CodeUnavailable, err)
	}
	enc, err := p.codecs.Find(msg.ContentType(), msg.Payload())
	if err != nil {
		return errors.Wrap(clientId, errors.CodeInvalidArgument, err)
	}
	body, err := enc.Append(nil, msg.Payload())
	if err != nil {
		return errors.Wrap(clientId, errors.CodeInvalidArgument, err)
	}
	topic := msg.Topic()
	if o.Exchange != "" {
		topic = o.Exchange
	}
	header := make(map[string]string)
	for _, f := range p.header(ctx) {
		metadata.Metadata(header).Set(f.Key, f.Value)
	}
	header["Content-Type"] = enc.Name()
	header["Micro-Topic"] = topic
	header["Micro-Id"] = rand.Text()
	b, err := c.broker(ctx, p)
	if err != nil {
		err = fmt.Errorf("publish to %s: %w", topic, err)
		code := errors.From(clientId, err).GRPCCode()
		if code == errors.CodeUnknown {
			code = errors.CodeUnavailable
		}
		return errors.Wrap(clientId, code, err)
	}
	var popts []broker.PublishOption
	if o.RequireSubscriber {
		popts = append(popts, broker.RequireSubscriber())
	}
	if err := b.Publish(ctx, topic, &broker.Message{Header: header, Body: body}, popts...); err != nil {
		e := errors.From(clientId, err)
		if e.GRPCCode() != errors.CodeUnknown {
			return e
		}
		return errors.Wrap(clientId, errors.CodeUnavailable, fmt.Errorf("publish to %s: %w", topic, err))
	}
	return nil
}

// broker returns the connected broker, making it at first use if none was
// given.
func (c *client) broker(ctx context.Context, p *parts) (broker.Broker, error) {
	if b, err := c.joined(); b != nil || err != nil {
		return b, err
	}
	// One at a time connects, and without the lock: it may take a while.
	select {
	case c.joining <- struct{}{}:
		defer func() { <-c.joining }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	b, err := c.joined()
	if b != nil || err != nil {
		return b, err
	}
	c.mu.Lock()
	b = c.opts.Broker
	c.mu.Unlock()
	leave := func() error { return nil } // a broker that was given is its owner's
	if b == nil {
		d, err := direct.New(direct.Config{Registry: p.registry, Sender: c, Logger: p.log})
		if err != nil {
			return nil, err
		}
		b = d
		leave = func() error {
			ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
			defer cancel()
			return d.Disconnect(ctx)
		}
	}
	wait, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	if err := b.Connect(wait); err != nil {
		if ctx.Err() != nil { // the next to publish goes on connecting
			return nil, stderrors.Join(fmt.Errorf("connecting the broker: %w", ctx.Err()), leave())
		}
		// A broker that is away goes on trying by itself; publishing says how it is.
		p.log.Warn("the broker is not ready yet", "error", err)
	}
	c.mu.Lock()
	closed := c.closed
	if !closed {
		c.events = b
		c.made = append(c.made, leave)
	}
	c.mu.Unlock()
	if closed {
		return nil, stderrors.Join(errClientClosed, leave())
	}
	return b, nil
}

// joined returns the broker if it has been connected.
func (c *client) joined() (broker.Broker, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, errClientClosed
	}
	return c.events, nil
}
