package main

import (
	"context"
	"log"

	"github.com/seed-9a4e2794/micro"
)

type Request struct{ Name string }
type Response struct{ Message string }

type Greeter struct{}

func (*Greeter) Hello(ctx context.Context, req *Request, rsp *Response) error {
	rsp.Message = "Hello " + req.Name
	return nil
}

func main() {
	service := micro.NewService(micro.Name("greeter"))
	service.Init() // flags and environment; Run returns its error
	micro.RegisterHandler(service.Server(), new(Greeter))
	if err := service.Run(); err != nil {
		log.Fatal(err)
	}
}
