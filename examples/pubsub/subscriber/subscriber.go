// Package subscriber receives the events of the pubsub example.
package subscriber

import (
	"context"
	"fmt"
)

// Message is the event.
type Message struct {
	Say string `json:"say"`
}

// Broker receives events with its methods.
type Broker struct{}

// Handle receives an event.
func (b *Broker) Handle(ctx context.Context, msg *Message) error {
	fmt.Println("Broker.Handle received:", msg.Say)
	return nil
}

// Handler receives an event.
func Handler(ctx context.Context, msg *Message) error {
	fmt.Println("Handler received:", msg.Say)
	return nil
}
