package memory_test

import (
	"testing"

	"github.com/seed-9a4e2794/micro/transport"
	"github.com/seed-9a4e2794/micro/transport/memory"
	"github.com/seed-9a4e2794/micro/transport/transporttest"
)

func TestTransport(t *testing.T) {
	transporttest.Run(t, transporttest.Config{
		New:  func(*testing.T) transport.Transport { return memory.New(memory.Config{MaxMessage: 1 << 20}) },
		Addr: "memory:0",
	})
}
