// Package orders holds the lines of the README about events, so that they are
// compiled and tested.
package orders

import (
	"context"

	"github.com/seed-9a4e2794/micro"
	"github.com/seed-9a4e2794/micro/server"
)

// Order is an event.
type Order struct{ Item string }

// subscribe makes a service receive orders.
func subscribe(service micro.Service, handler func(ctx context.Context, order *Order) error) {
	// handler is a func(ctx context.Context, order *Order) error
	micro.RegisterSubscriber("orders", service.Server(), handler)

	// of the nodes that have joined a queue, one receives each event
	micro.RegisterSubscriber("orders", service.Server(), handler, server.SubscriberQueue("mail"))
}

// publish publishes an order.
func publish(ctx context.Context, service micro.Service) error {
	publisher := micro.NewPublisher("orders", service.Client())
	err := publisher.Publish(ctx, &Order{Item: "tea"})
	return err
}
