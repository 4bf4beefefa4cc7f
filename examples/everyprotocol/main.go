// Everyprotocol is a service with one endpoint, which every client of HTTP,
// Connect, gRPC and gRPC-Web can call on the service's only port.
//
// Run it, and call it from a second terminal:
//
//	go run ./examples/everyprotocol
//	go run ./examples/everyprotocol/client
package main

import (
	"context"
	"log"

	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/seed-9a4e2794/micro"
	"github.com/seed-9a4e2794/micro/server"
)

func hello(_ context.Context, name *wrapperspb.StringValue) (*wrapperspb.StringValue, error) {
	return wrapperspb.String("Hello " + name.GetValue()), nil
}

func main() {
	service := micro.NewService(micro.Name("everyprotocol"))
	service.Init()
	// It changes nothing, so that it may be called with GET.
	if err := micro.Handle(service, "Greeter.Hello", hello, server.Safe("Greeter.Hello")); err != nil {
		log.Fatal(err)
	}
	if err := service.Run(); err != nil {
		log.Fatal(err)
	}
}
