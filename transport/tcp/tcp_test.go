package tcp_test

import (
	"context"
	"net"
	"path/filepath"
	"testing"

	"github.com/seed-9a4e2794/micro/transport"
	"github.com/seed-9a4e2794/micro/transport/tcp"
	"github.com/seed-9a4e2794/micro/transport/transporttest"
)

func TestTransport(t *testing.T) {
	transporttest.Run(t, transporttest.Config{
		New:  func(*testing.T) transport.Transport { return tcp.New(tcp.Config{MaxMessage: 1 << 20}) },
		Addr: "127.0.0.1:0",
	})
}

func TestAUnixSocketIsDialledByTheAddressItWasGivenAndOneLeftBehindIsTakenOver(t *testing.T) {
	tr := tcp.New(tcp.Config{})
	path := filepath.Join(t.TempDir(), "s")
	left, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	left.SetUnlinkOnClose(false)
	left.Close() // as a process that was killed leaves it
	ln, err := tr.Listen(context.Background(), "unix:"+path)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- ln.Accept(func(transport.Socket) {}) }()
	conn, err := tr.Dial(context.Background(), ln.Addr())
	if err != nil {
		t.Fatalf("dialling %s: %v", ln.Addr(), err)
	}
	if _, err := tr.Listen(context.Background(), "unix:"+path); err == nil {
		t.Error("a socket in use was taken over")
	}
	conn.Close()
	ln.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
