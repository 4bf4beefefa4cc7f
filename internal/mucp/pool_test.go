package mucp

import (
	"bufio"
	"context"
	stderrors "errors"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-9a4e2794/micro/codec"
	"github.com/seed-9a4e2794/micro/errors"
	"github.com/seed-9a4e2794/micro/internal/leaktest"
	"github.com/seed-9a4e2794/micro/transport"
)

// peer is a server that has do for each request of each connection, until that
// returns false.
func peer(t *testing.T, do func(conn net.Conn, number, request int) bool) (addr string, accepted *atomic.Int32) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	accepted = new(atomic.Int32)
	var group sync.WaitGroup
	group.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			number := int(accepted.Add(1))
			group.Go(func() {
				defer conn.Close()
				r := bufio.NewReader(conn)
				for i := 1; ; i++ {
					req, err := http.ReadRequest(r)
					if err == nil {
						_, err = io.Copy(io.Discard, req.Body)
					}
					if err != nil || !do(conn, number, i) {
						return
					}
				}
			})
		}
	})
	t.Cleanup(func() { ln.Close(); group.Wait() })
	return ln.Addr().String(), accepted
}

func answering(conn net.Conn, _, _ int) bool {
	_, err := io.WriteString(conn, ok("", "x"))
	return err == nil
}

func TestCallsOneAfterTheOtherUseOneConnection(t *testing.T) {
	leaktest.Check(t)
	addr, accepted := peer(t, answering)
	c := dial(t, addr, Config{})
	for range 20 {
		if got, err := ask(c, "A.B", codec.Bytes, ""); err != nil || got != "x" {
			t.Fatal(got, err)
		}
	}
	if n := accepted.Load(); n != 1 {
		t.Errorf("%d connections", n)
	}
	c.Close()
}

func TestAnIdleConnectionThatThePeerHasClosedIsNotUsed(t *testing.T) {
	leaktest.Check(t)
	shut := make(chan struct{}, 1)
	addr, accepted := peer(t, func(conn net.Conn, number, _ int) bool {
		answering(conn, 0, 0)
		if number == 1 {
			conn.Close()
			shut <- struct{}{}
			return false
		}
		return true
	})
	c := dial(t, addr, Config{})
	if _, err := ask(c, "A.B", codec.Bytes, ""); err != nil {
		t.Fatal(err)
	}
	within(t, shut)
	for deadline := time.Now().Add(wait); ; { // until the end has come here
		c.(*client).mu.Lock()
		gone := len(c.(*client).idle) == 1 && !c.(*client).idle[0].alive()
		c.(*client).mu.Unlock()
		if gone {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the end of the connection was not seen")
		}
	}
	if _, err := ask(c, "A.B", codec.Bytes, ""); err != nil {
		t.Errorf("a call after the peer had closed: %v", err)
	}
	if n := accepted.Load(); n != 2 {
		t.Errorf("%d connections", n)
	}
	c.Close()
}

func TestAnIdleConnectionThatSaysSomethingUnaskedIsNotUsed(t *testing.T) {
	leaktest.Check(t)
	addr, accepted := peer(t, func(conn net.Conn, number, _ int) bool {
		text := ok("", "x")
		if number == 1 {
			text += ok("", "the answer to nothing")
		}
		_, err := io.WriteString(conn, text)
		return err == nil
	})
	c := dial(t, addr, Config{})
	for range 3 {
		if got, err := ask(c, "A.B", codec.Bytes, ""); err != nil || got != "x" {
			t.Errorf("got %q, %v", got, err)
		}
	}
	if n := accepted.Load(); n != 2 {
		t.Errorf("%d connections", n)
	}
	c.Close()
}

// A call whose answer does not come may have been executed, and is made once.
func TestACallWhoseConnectionBreaksIsLostAndNotRepeated(t *testing.T) {
	leaktest.Check(t)
	var requests atomic.Int32
	addr, _ := peer(t, func(conn net.Conn, _, request int) bool {
		requests.Add(1)
		if request == 1 {
			return answering(conn, 0, 0)
		}
		return false
	})
	c := dial(t, addr, Config{})
	if _, err := ask(c, "A.B", codec.Bytes, ""); err != nil {
		t.Fatal(err)
	}
	_, err := ask(c, "A.B", codec.Bytes, "")
	if !stderrors.Is(err, transport.ErrLost) || stderrors.Is(err, errors.ErrRefused) {
		t.Errorf("got %v", err)
	}
	if n := requests.Load(); n != 2 {
		t.Errorf("%d requests were made for two calls", n)
	}
	if err := c.Err(); err != nil {
		t.Errorf("a broken TCP connection is the end of all: %v", err)
	}
	c.Close()
}

func TestAClientThatCannotConnectAnyMoreSaysSo(t *testing.T) {
	leaktest.Check(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := dial(t, ln.Addr().String(), Config{})
	conn, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	conn.Close()
	_, err = c.Open(context.Background(), request1("A.B", codec.Bytes, ""))
	if !stderrors.Is(err, transport.ErrUnreachable) || !stderrors.Is(err, errors.ErrRefused) {
		t.Errorf("opening a stream: %v", err)
	}
	if c.Err() == nil {
		t.Error("Err is nil")
	}
	if _, err := ask(c, "A.B", codec.Bytes, ""); !stderrors.Is(err, errors.ErrRefused) {
		t.Errorf("a call: %v", err)
	}
}

func TestIdleConnectionsAreClosedInTime(t *testing.T) {
	leaktest.Check(t)
	ended := make(chan struct{})
	addr, _ := peer(t, answering)
	c := dial(t, addr, Config{IdleTimeout: 20 * time.Millisecond})
	if _, err := ask(c, "A.B", codec.Bytes, ""); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(ended)
		for {
			c.(*client).mu.Lock()
			n := len(c.(*client).idle)
			c.(*client).mu.Unlock()
			if n == 0 {
				return
			}
			<-time.After(time.Millisecond)
		}
	}()
	within(t, ended)
	if _, err := ask(c, "A.B", codec.Bytes, ""); err != nil {
		t.Errorf("afterwards: %v", err)
	}
	c.Close()
}

// crowd has a peer that answers nobody until maxConns connections wait, and
// until may is closed.
func crowd(t *testing.T, may chan struct{}) (c *client, full chan struct{}, accepted *atomic.Int32) {
	t.Helper()
	var waiting atomic.Int32
	full = make(chan struct{})
	addr, accepted := peer(t, func(conn net.Conn, _, _ int) bool {
		if waiting.Add(1) == maxConns {
			close(full)
		}
		<-may
		return answering(conn, 0, 0)
	})
	return dial(t, addr, Config{}).(*client), full, accepted
}

func TestManyCallsAtOnceHaveABoundedNumberOfConnections(t *testing.T) {
	leaktest.Check(t)
	may := make(chan struct{})
	c, full, accepted := crowd(t, may)
	var group sync.WaitGroup
	for range maxConns + 20 {
		group.Go(func() {
			if _, err := ask(c, "A.B", codec.Bytes, ""); err != nil {
				t.Error(err)
			}
		})
	}
	within(t, full)
	close(may)
	group.Wait()
	c.mu.Lock()
	idle, busy := len(c.idle), len(c.busy)
	c.mu.Unlock()
	if n := accepted.Load(); n != maxConns || idle != maxConns || busy != 0 || len(c.slots) != 0 {
		t.Errorf("%d connections were made, %d are idle, %d busy, and %d slots taken; want %d, all idle", n, idle, busy, len(c.slots), maxConns)
	}
	// A stream has a connection of its own, for which an idle one makes room.
	s, err := c.Open(context.Background(), request1("A.B", codec.Bytes, ""))
	if err != nil {
		t.Fatal(err)
	}
	c.mu.Lock()
	idle, busy = len(c.idle), len(c.busy)
	c.mu.Unlock()
	if idle != maxConns-1 || busy != 1 {
		t.Errorf("with a stream %d connections are idle and %d busy", idle, busy)
	}
	s.Reset()
	c.Close()
}

func TestACallThatFindsAllConnectionsBusyWaitsWithinItsDeadline(t *testing.T) {
	leaktest.Check(t)
	may := make(chan struct{})
	c, full, accepted := crowd(t, may)
	var group sync.WaitGroup
	for range maxConns {
		group.Go(func() {
			_, _ = ask(c, "A.B", codec.Bytes, "") // Close ends it
		})
	}
	within(t, full)
	r := request1("A.B", codec.Bytes, "")
	r.Deadline = time.Now().Add(50 * time.Millisecond)
	if _, err := c.Call(context.Background(), r); errors.From("", err).GRPCCode() != errors.CodeDeadlineExceeded {
		t.Errorf("a call: %v", err)
	}
	if _, err := c.Open(context.Background(), r); errors.From("", err).GRPCCode() != errors.CodeDeadlineExceeded {
		t.Errorf("a stream: %v", err)
	}
	if n := accepted.Load(); n != maxConns {
		t.Errorf("%d connections were made, want %d", n, maxConns)
	}
	ended := make(chan error, 1)
	go func() {
		_, err := ask(c, "A.B", codec.Bytes, "")
		ended <- err
	}()
	c.Close()
	if err := within(t, ended); !stderrors.Is(err, errors.ErrRefused) || !stderrors.Is(err, transport.ErrClosed) {
		t.Errorf("a call that waits at a client that is closed: %v", err)
	}
	close(may)
	group.Wait()
}

func TestAHeaderOrBodyOverTheLimitOfTheClientIsTooLarge(t *testing.T) {
	leaktest.Check(t)
	for name, text := range map[string]string{
		"header": "HTTP/1.1 200 OK\r\nX: " + longText(20<<10) + "\r\nContent-Length: 0\r\n\r\n",
		"body":   ok("", longText(20<<10)),
		"chunks": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5000\r\n" + longText(0x5000) + "\r\n0\r\n\r\n",
		"length": "HTTP/1.1 200 OK\r\nContent-Length: 9223372036854775807\r\n\r\n",
	} {
		addr, _ := peer(t, func(conn net.Conn, _, _ int) bool {
			_, err := io.WriteString(conn, text)
			return err == nil
		})
		c := dial(t, addr, Config{MaxMessage: 16 << 10, MaxHeader: 8 << 10})
		if _, err := ask(c, "A.B", codec.Bytes, ""); !stderrors.Is(err, transport.ErrTooLarge) {
			t.Errorf("%s: %v", name, err)
		}
		c.Close()
	}
}
