package memory_test

import (
	"context"
	"fmt"

	"github.com/seed-9a4e2794/micro/broker"
	"github.com/seed-9a4e2794/micro/broker/memory"
)

func Example() {
	ctx := context.Background()
	orders := memory.New()
	mails := orders.Peer() // another service of the same program
	for _, b := range []broker.Broker{orders, mails} {
		if err := b.Connect(ctx); err != nil {
			fmt.Println(err)
			return
		}
	}
	_, err := mails.Subscribe(ctx, "order.placed", func(_ context.Context, e broker.Event) error {
		fmt.Printf("mail about %s\n", e.Message().Body)
		return nil
	}, broker.Queue("mails"))
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := orders.Publish(ctx, "order.placed", &broker.Message{Body: []byte("order 7")}, broker.RequireSubscriber()); err != nil {
		fmt.Println(err)
	}
	for _, b := range []broker.Broker{mails, orders} { // waits for the handler
		if err := b.Disconnect(ctx); err != nil {
			fmt.Println(err)
		}
	}
	// Output: mail about order 7
}
