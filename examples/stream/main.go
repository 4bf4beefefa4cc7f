// Stream is a service with the three kinds of streams: the server sends many
// messages (Stats.Count), the client does (Stats.Sum), or both (Stats.Double).
//
// Run it, and call it from a second terminal:
//
//	go run ./examples/stream
//	go run ./examples/stream/client
package main

import (
	"context"
	"io"
	"log"

	"github.com/seed-9a4e2794/micro"
	"github.com/seed-9a4e2794/micro/server"
)

type Number struct {
	N int `json:"n"`
}

type Stats struct{}

// Count receives one number and sends all from 1 to it.
func (*Stats) Count(ctx context.Context, stream server.Stream) error {
	var to Number
	if err := stream.Recv(&to); err != nil {
		return err
	}
	for n := 1; n <= to.N; n++ {
		if err := stream.Send(&Number{N: n}); err != nil {
			return err
		}
	}
	return nil // ends the stream
}

// Sum receives numbers until there are no more and sends their sum.
func (*Stats) Sum(ctx context.Context, stream server.Stream) error {
	sum := 0
	for {
		var in Number
		err := stream.Recv(&in)
		if err == io.EOF { // the client has closed its direction
			return stream.Send(&Number{N: sum})
		}
		if err != nil {
			return err
		}
		sum += in.N
	}
}

// Double answers each number as it comes.
func (*Stats) Double(ctx context.Context, stream server.Stream) error {
	for {
		var in Number
		err := stream.Recv(&in)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if err := stream.Send(&Number{N: 2 * in.N}); err != nil {
			return err
		}
	}
}

func main() {
	service := micro.NewService(micro.Name("stats"))
	service.Init()
	if err := micro.RegisterHandler(service.Server(), new(Stats)); err != nil {
		log.Fatal(err)
	}
	if err := service.Run(); err != nil {
		log.Fatal(err)
	}
}
