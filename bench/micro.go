package main

import (
	"context"
	"io"
	"log/slog"

	framework "github.com/seed-9a4e2794/micro"
	"github.com/seed-9a4e2794/micro/bench/internal/echo"
	microclient "github.com/seed-9a4e2794/micro/client"
	"github.com/seed-9a4e2794/micro/registry"
	"github.com/seed-9a4e2794/micro/registry/memory"
	"github.com/seed-9a4e2794/micro/registry/static"
	"github.com/seed-9a4e2794/micro/server"
)

// micro is the whole client and server of this module, as programs use them.
func micro() peer {
	return peer{
		name:  "micro",
		what:  "micro.Call and a typed handler: selector, statistics and a deadline of 5 s on every call",
		serve: serveMicro,
		dial: func(_ context.Context, addr string, _ int) (client, error) {
			r, err := static.New(static.Config{Services: []*registry.Service{{Name: "bench", Nodes: []*registry.Node{{Id: "bench-1", Address: addr}}}}})
			if err != nil {
				return nil, err
			}
			return microClient{microclient.NewClient(microclient.Registry(r))}, nil
		},
	}
}

// serveMicro is a server as programs have it.
func serveMicro() (string, func(), error) {
	s := server.NewServer(server.Name("bench"), server.Address(loopback), server.Registry(memory.New()), server.Logger(slog.New(slog.DiscardHandler)))
	h := server.Typed("Echo.Echo", func(_ context.Context, m *echo.Message) (*echo.Message, error) { return m, nil })
	if err := s.Handle(h); err != nil {
		return "", nil, err
	}
	if err := s.Start(); err != nil {
		return "", nil, err
	}
	// What it could not finish has been measured by then.
	return s.Options().Address, func() { _ = s.Stop() }, nil
}

type microClient struct{ c microclient.Client }

func (c microClient) call(ctx context.Context, m *echo.Message) (*echo.Message, error) {
	return framework.Call[echo.Message](ctx, c.c, "bench", "Echo.Echo", m)
}

func (c microClient) close() error { return c.c.(io.Closer).Close() }
