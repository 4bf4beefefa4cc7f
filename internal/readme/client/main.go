package main

import (
	"context"
	"fmt"
	"log"

	"github.com/seed-9a4e2794/micro"
)

type Request struct{ Name string }
type Response struct{ Message string }

func main() {
	service := micro.NewService(micro.Name("client"))
	service.Init()
	rsp, err := micro.Call[Response](context.Background(), service.Client(), "greeter", "Greeter.Hello", &Request{Name: "Ada"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(rsp.Message)
}
