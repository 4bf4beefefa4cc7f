// Client calls the typed example and publishes to it.
//
// Run it while the service runs:
//
//	go run ./examples/typed
//	go run ./examples/typed/client
package main

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/seed-9a4e2794/micro"
	"github.com/seed-9a4e2794/micro/client"
	microerrors "github.com/seed-9a4e2794/micro/errors"
	"github.com/seed-9a4e2794/micro/examples/typed/shop"
)

func main() {
	service := micro.NewService(micro.Name("shop.client"))
	service.Init()
	c := service.Client()
	ctx := context.Background()

	rsp, err := micro.Call[shop.PriceResponse](ctx, c, "shop", "Shop.Price", &shop.PriceRequest{Item: "tea"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("tea costs", rsp.Cents, "cents")

	// What a handler returns comes back as an *errors.Error.
	_, err = micro.Call[shop.PriceResponse](ctx, c, "shop", "Shop.Price", &shop.PriceRequest{Item: "gold"})
	var e *microerrors.Error
	if !errors.As(err, &e) {
		log.Fatal(err)
	}
	fmt.Println(e.Code, e.Detail)

	if err := micro.Publish(ctx, c, "shop.orders", &shop.Order{Item: "tea"}, client.RequireSubscriber()); err != nil {
		log.Fatal(err)
	}
}
