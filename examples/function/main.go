// Function is a service that serves one request and ends.
//
// Run it, call it from a second terminal, and see it end:
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

type Images struct{}

func (*Images) Resize(ctx context.Context, req *ResizeRequest, rsp *ResizeResponse) error {
	fmt.Println("resizing", req.Image)
	rsp.Thumbnail = "small-" + req.Image
	return nil
}

func main() {
	function := micro.NewFunction(micro.Name("images"))
	function.Init()
	if err := function.Handle(new(Images)); err != nil {
		log.Fatal(err)
	}
	if err := function.Run(); err != nil {
		log.Fatal(err)
	}
	fmt.Println("done")
}
