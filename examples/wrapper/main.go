// Wrapper is a service with wrappers: functions around every call that it
// serves and every event that it receives.
//
// Run it, and call it from a second terminal:
//
//	go run ./examples/wrapper
//	go run ./examples/wrapper/client
package main

import (
	"context"
	"fmt"
	"log"

	"github.com/seed-9a4e2794/micro"
	"github.com/seed-9a4e2794/micro/errors"
	"github.com/seed-9a4e2794/micro/metadata"
	"github.com/seed-9a4e2794/micro/server"
)

type HelloRequest struct {
	Name string `json:"name"`
}

type HelloResponse struct {
	Message string `json:"message"`
}

type Greeter struct{}

func (*Greeter) Hello(ctx context.Context, req *HelloRequest, rsp *HelloResponse) error {
	rsp.Message = "Hello " + req.Name
	return nil
}

// logCalls is a HandlerWrapper: it prints every call.
func logCalls(next server.HandlerFunc) server.HandlerFunc {
	return func(ctx context.Context, req server.Request, rsp any) error {
		err := next(ctx, req, rsp)
		if err != nil {
			fmt.Println("called:", req.Endpoint(), "failed")
		} else {
			fmt.Println("called:", req.Endpoint())
		}
		return err
	}
}

// requireUser is a HandlerWrapper: it lets nobody in who does not say who they
// are.
func requireUser(next server.HandlerFunc) server.HandlerFunc {
	return func(ctx context.Context, req server.Request, rsp any) error {
		md, _ := metadata.FromContext(ctx)
		if user, _ := md.Get("X-User"); user == "" {
			return errors.Unauthorized("wrapped.greeter", "%s wants to know the X-User", req.Endpoint())
		}
		return next(ctx, req, rsp)
	}
}

// logEvents is a SubscriberWrapper: it prints every event.
func logEvents(next server.SubscriberFunc) server.SubscriberFunc {
	return func(ctx context.Context, msg server.Message) error {
		fmt.Println("event of topic:", msg.Topic())
		return next(ctx, msg)
	}
}

func main() {
	service := micro.NewService(
		micro.Name("wrapped.greeter"),
		micro.WrapHandler(logCalls, requireUser), // the first runs first
		micro.WrapSubscriber(logEvents),
	)
	service.Init()
	if err := micro.RegisterHandler(service.Server(), new(Greeter)); err != nil {
		log.Fatal(err)
	}
	err := micro.RegisterSubscriber("greetings", service.Server(), func(ctx context.Context, msg *HelloRequest) error {
		fmt.Println("greeted:", msg.Name)
		return nil
	})
	if err != nil {
		log.Fatal(err)
	}
	if err := service.Run(); err != nil {
		log.Fatal(err)
	}
}
