package port_test

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	codecbytes "github.com/seed-9a4e2794/micro/codec/bytes"
	microerrors "github.com/seed-9a4e2794/micro/errors"
	"github.com/seed-9a4e2794/micro/internal/leaktest"
	"github.com/seed-9a4e2794/micro/transport"
	"github.com/seed-9a4e2794/micro/transport/credentials"
	"github.com/seed-9a4e2794/micro/transport/port"
)

// stopping is a port that can be stopped in a test.
type stopping struct {
	ln   transport.Listener
	done chan error // what Accept has returned
}

func start(t *testing.T, tr *port.Transport) *stopping {
	t.Helper()
	ln, err := tr.Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &stopping{ln, make(chan error, 1)}
	go func() {
		s.done <- ln.Accept(func(s transport.Socket) { s.Finish(nil, nil) }, transport.WithUnary(lookup))
	}()
	return s
}

func (s *stopping) stop(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := errors.Join(s.ln.Shutdown(ctx), <-s.done); err != nil {
		t.Error(err)
	}
}

// lost makes calls until one fails, and returns that error unless it says that
// the call was surely not executed. With fresh each call has a connection of
// its own.
func lost(ctx context.Context, dialer transport.Transport, addr string, fresh bool, answered func()) error {
	var conn transport.Conn
	defer func() {
		if conn != nil {
			conn.Close()
		}
	}()
	for {
		err := func() (err error) {
			if conn == nil {
				if conn, err = dialer.Dial(ctx, addr); err != nil {
					conn = nil
					return err
				}
			}
			reply, err := conn.Call(ctx, transport.Request{Method: transport.Method{Service: "greeter", Endpoint: "Greeter.Hello"},
				Message: transport.Message{Value: []byte("hi"), Codec: codecbytes.Codec{}}})
			if err != nil {
				return err
			}
			reply.Body.Release()
			if fresh {
				conn.Close()
				conn = nil
			}
			return nil
		}()
		switch {
		case err == nil:
			answered()
		case errors.Is(err, microerrors.ErrRefused), errors.Is(err, transport.ErrUnreachable):
			return nil
		default:
			return err
		}
	}
}

func TestACallIsAnsweredOrSurelyNotExecutedWhenThePortStops(t *testing.T) {
	leaktest.Check(t)
	const rounds, callers = 6, 6
	for _, cfg := range []port.Config{{}, secured(t, credentials.ClientsAny)} {
		tr := port.New(cfg)
		for _, name := range []string{"micro", "grpc", "grpc-web", "connect"} { // go-micro's wire cannot say it
			dialer, err := tr.Protocol(name, false)
			if err != nil {
				t.Fatal(err)
			}
			for i := range 2 * rounds {
				s := start(t, tr)
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
				var calls sync.WaitGroup
				ready := make(chan struct{}, callers)
				for range callers {
					calls.Go(func() {
						once := sync.OnceFunc(func() { ready <- struct{}{} })
						if err := lost(ctx, dialer, s.ln.Addr(), i%2 == 0, once); err != nil {
							t.Errorf("%s, TLS %v: %v", name, cfg.ServerTLS != nil, err)
						}
					})
				}
				for range callers {
					select {
					case <-ready:
					case <-ctx.Done():
						t.Fatal("no answers")
					}
				}
				s.stop(t)
				calls.Wait()
				cancel()
			}
		}
	}
}

func TestWhoHasConnectedBeforeTheStopIsStillAnswered(t *testing.T) {
	leaktest.Check(t)
	tr := port.New(port.Config{})
	for _, tt := range []struct {
		name, sends string
		answered    func(net.Conn) error
	}{ // not HTTP/1.1: net/http closes a connection whose request it has read when it stops
		{"the native wire", "\xa7micro\x01\n" + "\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", func(conn net.Conn) error {
			preamble := make([]byte, 8)
			_, err := io.ReadFull(conn, preamble)
			return err
		}},
		{"a caller that says nothing", "", func(conn net.Conn) error {
			if n, err := conn.Read(make([]byte, 1)); n > 0 || err == nil {
				return errors.New("it was answered")
			}
			return nil
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := start(t, tr)
			conn, err := net.Dial("tcp", s.ln.Addr())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
				t.Fatal(err)
			}
			if _, err := call(t, tr, "micro", s.ln.Addr()); err != nil { // the one before has been accepted, then
				t.Fatal(err)
			}
			stopped := make(chan struct{})
			go func() {
				defer close(stopped)
				s.stop(t)
			}()
			for { // until no more is accepted
				other, err := net.Dial("tcp", s.ln.Addr())
				if err != nil {
					break
				}
				other.Close()
			}
			if _, err := io.WriteString(conn, tt.sends); err != nil {
				t.Fatal(err)
			}
			if err := tt.answered(conn); err != nil {
				t.Errorf("not answered: %v", err)
			}
			conn.Close()
			<-stopped
		})
	}
}
