package client_test

import (
	"context"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/seed-9a4e2794/micro/client"
	"github.com/seed-9a4e2794/micro/internal/leaktest"
	registrymemory "github.com/seed-9a4e2794/micro/registry/memory"
	"github.com/seed-9a4e2794/micro/server"
	"github.com/seed-9a4e2794/micro/transport/port"
)

// Counter is a handler with a stream that the server ends, whatever the caller
// still wants to send.
type Counter struct{}

const counted = 20

func (*Counter) Count(_ context.Context, s server.Stream) error {
	for range counted {
		if err := s.Send(&Answer{"one"}); err != nil {
			return err
		}
	}
	return nil
}

// streamProtocols are those that have streams.
var streamProtocols = [...]string{"micro", "grpc", "grpc-web", "connect", "mucp"}

// counter serves Counter on a port for every protocol, and returns a client.
func counter(t *testing.T) client.Client {
	t.Helper()
	leaktest.Check(t)
	reg := registrymemory.New()
	s := server.NewServer(server.Name("counter"), server.Address("127.0.0.1:0"), server.Registry(reg), server.Transport(port.New(port.Config{})), server.Logger(slog.New(slog.DiscardHandler)))
	must(t, s.Handle(s.NewHandler(new(Counter))))
	must(t, s.Start())
	c := client.NewClient(client.Registry(reg), client.Transport(port.New(port.Config{})))
	t.Cleanup(func() {
		must(t, c.(io.Closer).Close())
		must(t, s.Stop())
	})
	return c
}

func TestMessagesOfAStreamThatTheServerHasEndedAreReceived(t *testing.T) {
	c := counter(t)
	for _, protocol := range streamProtocols {
		t.Run(protocol, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			s, err := c.Stream(ctx, c.NewRequest("counter", "Counter.Count", &Ask{}, client.StreamingRequest()), client.WithProtocol(protocol))
			must(t, err)
			select {
			case <-s.Context().Done(): // all has been sent, and nothing taken
			case <-time.After(100 * time.Millisecond): // not every protocol tells
			}
			n := 0
			for ; ; n++ {
				var a Answer
				if err = s.Recv(&a); err != nil {
					break
				}
			}
			if n != counted || err != io.EOF {
				t.Errorf("%d messages of %d, then %v", n, counted, err)
			}
		})
	}
}

func TestAStreamHasTheEncodingOfItsRequestInEveryProtocol(t *testing.T) {
	c := counter(t)
	for _, protocol := range streamProtocols {
		t.Run(protocol, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			s, err := client.OpenBidiStream[Ask, Answer](ctx, c, "counter", "Counter.Count", client.WithProtocol(protocol))
			must(t, err)
			defer s.Close()
			if err := s.Send(&Ask{"JSON"}); err != nil && err != io.EOF {
				t.Errorf("Send: %v", err)
			}
			if a, err := s.Recv(); err != nil || a.Text != "one" {
				t.Errorf("got %v, %v", a, err)
			}
		})
	}
}
