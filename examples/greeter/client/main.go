// Client calls the greeter.
//
// Run it while the greeter runs:
//
//	go run ./examples/greeter
//	go run ./examples/greeter/client
package main

import (
	"context"
	"fmt"
	"log"

	"github.com/seed-9a4e2794/micro"
)

type HelloRequest struct {
	Name string `json:"name"`
}

type HelloResponse struct {
	Message string `json:"message"`
}

func main() {
	service := micro.NewService(micro.Name("greeter.client"))
	service.Init()
	client := service.Client()
	req := client.NewRequest("greeter", "Greeter.Hello", &HelloRequest{Name: "Ada"})
	var rsp HelloResponse
	if err := client.Call(context.Background(), req, &rsp); err != nil {
		log.Fatal(err)
	}
	fmt.Println(rsp.Message)
}
