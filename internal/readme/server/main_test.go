package main

import (
	"testing"

	"github.com/seed-9a4e2794/micro"
	"github.com/seed-9a4e2794/micro/microtest"
)

func TestHello(t *testing.T) {
	net := microtest.New(t)
	greeter := net.NewService(micro.Name("greeter"))
	micro.RegisterHandler(greeter.Server(), new(Greeter))
	net.Start(t, greeter)

	rsp, err := micro.Call[Response](t.Context(), net.Client(t), "greeter", "Greeter.Hello", &Request{Name: "Ada"})
	if err != nil || rsp.Message != "Hello Ada" {
		t.Errorf("got %v, %v", rsp, err)
	}
}
