// Publisher publishes three events to the topic of the pubsub example.
//
// Run it while one or more subscribers run:
//
//	go run ./examples/pubsub
//	go run ./examples/pubsub/publisher
package main

import (
	"context"
	"fmt"
	"log"

	"github.com/seed-9a4e2794/micro"
	"github.com/seed-9a4e2794/micro/client"
	"github.com/seed-9a4e2794/micro/examples/pubsub/subscriber"
)

func main() {
	service := micro.NewService(micro.Name("go.micro.cli.publisher"))
	service.Init()
	publisher := micro.NewPublisher("go.micro.srv.broker", service.Client())
	for i := 1; i <= 3; i++ {
		msg := &subscriber.Message{Say: fmt.Sprint("hello ", i)}
		// Without this option it is no error that nobody listens.
		if err := publisher.Publish(context.Background(), msg, client.RequireSubscriber()); err != nil {
			log.Fatal(err)
		}
		fmt.Println("published:", msg.Say)
	}
}
