package main

import (
	"context"

	"github.com/seed-9a4e2794/micro/bench/internal/echo"
)

// peer is one way to make a call, measured beside the others. To add one,
// write a file with a function that returns it and name that here.
type peer struct {
	name string
	// what says in a line what is measured.
	what string
	// serve echoes messages to those who connect to addr, a loopback address
	// of its choice, until stop is called.
	serve func() (addr string, stop func(), err error)
	// dial connects once to addr; all callers share what it returns. size is
	// the encoded length of the messages to come.
	dial func(ctx context.Context, addr string, size int) (client, error)
}

// client is the calling side of a peer.
type client interface {
	// call sends m and returns the answer. It is called by many at once, each
	// with a message of its own.
	call(ctx context.Context, m *echo.Message) (*echo.Message, error)
	close() error
}

// loopback is where servers listen.
const loopback = "127.0.0.1:0"

func peers() []peer {
	return []peer{rawTCP(), rawProto(), grpcGo(), connectGRPC(), microGRPC(), nativeWire(), nativePort(), micro()}
}
