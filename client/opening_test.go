package client_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-9a4e2794/micro/client"
	"github.com/seed-9a4e2794/micro/metadata"
	"github.com/seed-9a4e2794/micro/server"
	"github.com/seed-9a4e2794/micro/transport"
)

// clogged is a transport whose connections do not get a stream's opening out.
type clogged struct{ transport.Transport }

type cloggedConn struct{ transport.Conn }

func (c clogged) Dial(ctx context.Context, addr string) (transport.Conn, error) {
	conn, err := c.Transport.Dial(ctx, addr)
	return cloggedConn{conn}, err
}

func (cloggedConn) Open(ctx context.Context, _ transport.Request) (transport.Socket, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func TestTheRequestTimeoutBoundsTheOpeningOfAStreamAndNotItsLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.serve(t, "a", server.NewServer().NewHandler(new(Streams)))
		c := w.client(t, client.Transport(clogged{w.transport}))
		began := time.Now()
		_, err := c.Stream(context.Background(), c.NewRequest("greeter", "Streams.Echo", &Ask{}), client.WithRequestTimeout(2*time.Second))
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != 2*time.Second {
			t.Errorf("after %v: %v", time.Since(began), err)
		}

		c = w.client(t)
		s := open(context.Background(), t, c, "Streams.Echo", client.WithRequestTimeout(2*time.Second))
		<-time.After(time.Minute)
		must(t, s.Send(&Ask{"Ada"}))
		must(t, s.Recv(new(Answer)))
		must(t, s.Close())
	})
}

func TestWhatACallerAcceptsIsNotPassedOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		seen := make(chan metadata.Metadata, 1)
		w.serve(t, "a", server.Typed("Greeter.Hello", func(ctx context.Context, _ *Ask) (*Answer, error) {
			md, _ := metadata.FromContext(ctx)
			seen <- md
			return new(Answer), nil
		}))
		ctx := metadata.NewContext(t.Context(), metadata.Metadata{"Accept": "application/json", "X-Kept": "1"})
		_, err := ask(ctx, w.client(t), "Greeter.Hello", "")
		must(t, err)
		md := <-seen
		if v, has := md.Get("accept"); has {
			t.Errorf("accept is %q", v)
		}
		if v, _ := md.Get("x-kept"); v != "1" {
			t.Errorf("the metadata is %v", md)
		}
	})
}
