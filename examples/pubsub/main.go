// Pubsub is a service that receives the events of a topic, with a struct and
// with a function. The topic has the service's own name, which does not matter:
// events and calls have nothing to do with each other.
//
// Run it, as often as you like, and publish from another terminal:
//
//	go run ./examples/pubsub
//	go run ./examples/pubsub/publisher
package main

import (
	"log"

	"github.com/seed-9a4e2794/micro"
	"github.com/seed-9a4e2794/micro/examples/pubsub/subscriber"
)

func main() {
	service := micro.NewService(
		micro.Name("go.micro.srv.broker"),
		micro.Version("latest"),
	)
	service.Init()

	// A struct: every exported method receives each event.
	micro.RegisterSubscriber("go.micro.srv.broker", service.Server(), new(subscriber.Broker))
	// A function.
	micro.RegisterSubscriber("go.micro.srv.broker", service.Server(), subscriber.Handler)

	if err := service.Run(); err != nil {
		log.Fatal(err)
	}
}
