// Client opens each kind of stream of the stream example.
//
// Run it while the service runs:
//
//	go run ./examples/stream
//	go run ./examples/stream/client
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"time"

	"github.com/seed-9a4e2794/micro"
	"github.com/seed-9a4e2794/micro/client"
)

type Number struct {
	N int `json:"n"`
}

func main() {
	service := micro.NewService(micro.Name("stats.client"))
	service.Init()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for _, run := range []func(context.Context, client.Client) error{count, sum, double} {
		if err := run(ctx, service.Client()); err != nil {
			log.Fatal(err)
		}
	}
}

// open opens a stream to an endpoint.
func open(ctx context.Context, c client.Client, endpoint string) (client.Stream, error) {
	return c.Stream(ctx, c.NewRequest("stats", endpoint, &Number{}, client.StreamingRequest()))
}

// closeSend says that nothing more is sent. Receiving goes on.
func closeSend(s client.Stream) error {
	return s.(client.CloseSender).CloseSend()
}

// count sends one number and receives many.
func count(ctx context.Context, c client.Client) error {
	stream, err := open(ctx, c, "Stats.Count")
	if err != nil {
		return err
	}
	defer stream.Close()
	if err := stream.Send(&Number{N: 3}); err != nil {
		return err
	}
	for {
		var rsp Number
		err := stream.Recv(&rsp)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		fmt.Println("count:", rsp.N)
	}
}

// sum sends many numbers and receives one.
func sum(ctx context.Context, c client.Client) error {
	stream, err := open(ctx, c, "Stats.Sum")
	if err != nil {
		return err
	}
	defer stream.Close()
	for n := 1; n <= 4; n++ {
		if err := stream.Send(&Number{N: n}); err != nil {
			return err
		}
	}
	if err := closeSend(stream); err != nil {
		return err
	}
	var rsp Number
	if err := stream.Recv(&rsp); err != nil {
		return err
	}
	fmt.Println("sum:", rsp.N)
	return nil
}

// double sends a number and receives one, three times.
func double(ctx context.Context, c client.Client) error {
	stream, err := open(ctx, c, "Stats.Double")
	if err != nil {
		return err
	}
	defer stream.Close()
	for n := 1; n <= 3; n++ {
		if err := stream.Send(&Number{N: n}); err != nil {
			return err
		}
		var rsp Number
		if err := stream.Recv(&rsp); err != nil {
			return err
		}
		fmt.Println("double:", rsp.N)
	}
	if err := closeSend(stream); err != nil {
		return err
	}
	if err := stream.Recv(new(Number)); err != io.EOF {
		return fmt.Errorf("the stream did not end: %v", err)
	}
	return nil
}
