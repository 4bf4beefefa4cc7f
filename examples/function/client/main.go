// Client calls the function example once.
//
// Run it while the function waits:
//
//	go run ./examples/function
//	go run ./examples/function/client
package main

import (
	"context"
	"fmt"
	"log"

	"github.com/seed-9a4e2794/micro"
)

type ResizeRequest struct {
	Image string `json:"image"`
}

type ResizeResponse struct {
	Thumbnail string `json:"thumbnail"`
}

func main() {
	service := micro.NewService(micro.Name("images.client"))
	service.Init()
	rsp, err := micro.Call[ResizeResponse](context.Background(), service.Client(), "images", "Images.Resize", &ResizeRequest{Image: "cat.png"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(rsp.Thumbnail)
}
