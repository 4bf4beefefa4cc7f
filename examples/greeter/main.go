// Greeter is a service with one endpoint, Greeter.Hello.
//
// Run it, and call it from a second terminal:
//
//	go run ./examples/greeter
//	go run ./examples/greeter/client
package main

import (
	"context"
	"log"

	"github.com/seed-9a4e2794/micro"
)

type HelloRequest struct {
	Name string `json:"name"`
}

type HelloResponse struct {
	Message string `json:"message"`
}

type Greeter struct{}

// Hello is an endpoint because it has this shape.
func (*Greeter) Hello(ctx context.Context, req *HelloRequest, rsp *HelloResponse) error {
	rsp.Message = "Hello " + req.Name
	return nil
}

func main() {
	service := micro.NewService(micro.Name("greeter"))
	service.Init()
	if err := micro.RegisterHandler(service.Server(), new(Greeter)); err != nil {
		log.Fatal(err)
	}
	if err := service.Run(); err != nil {
		log.Fatal(err)
	}
}
