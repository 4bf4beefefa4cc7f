// Client calls the wrapper example through wrappers of its own: one around the
// client, which sees every call once, and one around the attempts, which sees
// the node of each.
//
// Run it while the service runs:
//
//	go run ./examples/wrapper
//	go run ./examples/wrapper/client
package main

import (
	"context"
	"fmt"
	"log"

	"github.com/seed-9a4e2794/micro"
	"github.com/seed-9a4e2794/micro/client"
	"github.com/seed-9a4e2794/micro/errors"
	"github.com/seed-9a4e2794/micro/metadata"
	"github.com/seed-9a4e2794/micro/registry"
)

type HelloRequest struct {
	Name string `json:"name"`
}

type HelloResponse struct {
	Message string `json:"message"`
}

// counter is a client that prints the calls made through it.
type counter struct {
	client.Client
}

func (c *counter) Call(ctx context.Context, req client.Request, rsp any, opts ...client.CallOption) error {
	fmt.Println("calling:", req.Service(), req.Endpoint())
	return c.Client.Call(ctx, req, rsp, opts...)
}

// count is a Wrapper.
func count(c client.Client) client.Client { return &counter{c} }

// attempts is a CallWrapper: it prints every attempt.
func attempts(next client.CallFunc) client.CallFunc {
	return func(ctx context.Context, node *registry.Node, req client.Request, rsp any, opts client.CallOptions) error {
		err := next(ctx, node, req, rsp, opts)
		fmt.Println("attempt at a node, failed:", err != nil)
		return err
	}
}

func main() {
	service := micro.NewService(
		micro.Name("wrapped.client"),
		micro.WrapClient(count),
		micro.WrapCall(attempts),
	)
	service.Init()
	c := service.Client()
	var rsp HelloResponse

	err := c.Call(context.Background(), c.NewRequest("wrapped.greeter", "Greeter.Hello", &HelloRequest{Name: "Ada"}), &rsp)
	if err == nil {
		log.Fatal("a call without X-User was let in")
	}
	fmt.Println("turned away:", errors.Parse(err.Error()).Code)

	ctx := metadata.NewContext(context.Background(), metadata.Metadata{"X-User": "ada"})
	if err := c.Call(ctx, c.NewRequest("wrapped.greeter", "Greeter.Hello", &HelloRequest{Name: "Ada"}), &rsp); err != nil {
		log.Fatal(err)
	}
	fmt.Println(rsp.Message)

	if err := c.Publish(ctx, c.NewMessage("greetings", &HelloRequest{Name: "Ada"})); err != nil {
		log.Fatal(err)
	}
}
