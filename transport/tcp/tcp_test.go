package tcp_test

import (
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
