// Typed is a service made of functions: the compiler checks what they take and
// return, and no reflection takes place when they are called.
//
// Run it, and call it from a second terminal:
//
//	go run ./examples/typed
//	go run ./examples/typed/client
package main

import (
	"context"
	"fmt"
	"log"

	"github.com/seed-9a4e2794/micro"
	"github.com/seed-9a4e2794/micro/errors"
	"github.com/seed-9a4e2794/micro/examples/typed/shop"
)

func price(ctx context.Context, req *shop.PriceRequest) (*shop.PriceResponse, error) {
	if req.Item != "tea" {
		return nil, errors.NotFound("shop", "there is no %s", req.Item)
	}
	return &shop.PriceResponse{Cents: 350}, nil
}

func main() {
	service := micro.NewService(micro.Name("shop"))
	service.Init()
	if err := micro.Handle(service, "Shop.Price", price); err != nil {
		log.Fatal(err)
	}
	err := micro.Subscribe(service, "shop.orders", func(ctx context.Context, order *shop.Order) error {
		fmt.Println("ordered:", order.Item)
		return nil
	})
	if err != nil {
		log.Fatal(err)
	}
	if err := service.Run(); err != nil {
		log.Fatal(err)
	}
}
