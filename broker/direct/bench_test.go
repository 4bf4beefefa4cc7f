package direct_test

import (
	"context"
	"testing"

	"github.com/seed-9a4e2794/micro/broker"
	"github.com/seed-9a4e2794/micro/broker/direct"
)

// BenchmarkPublishToAnotherNode measures all but the network: choosing the
// node, the header both ways, and handing the message over.
func BenchmarkPublishToAnotherNode(b *testing.B) {
	n := newNetwork()
	var nodes [2]*direct.Broker
	for i := range nodes {
		br, err := direct.New(direct.Config{Registry: n.reg, Sender: n})
		if err != nil {
			b.Fatal(err)
		}
		addr := []string{"127.0.0.1:1", "127.0.0.1:2"}[i]
		br.Advertise(addr)
		n.nodes[addr] = br
		if err := br.Connect(b.Context()); err != nil {
			b.Fatal(err)
		}
		defer br.Disconnect(context.Background())
		nodes[i] = br
	}
	handled := make(chan struct{}, 1)
	h := func(context.Context, broker.Event) error { handled <- struct{}{}; return nil }
	if _, err := nodes[1].Subscribe(b.Context(), "t", h, broker.Queue("q")); err != nil {
		b.Fatal(err)
	}
	m := &broker.Message{Header: map[string]string{"Content-Type": "application/json"}, Body: make([]byte, 256)}
	for nodes[0].Publish(b.Context(), "t", m, broker.RequireSubscriber()) != nil {
	}
	<-handled
	b.ReportAllocs()
	for b.Loop() {
		if err := nodes[0].Publish(b.Context(), "t", m); err != nil {
			b.Fatal(err)
		}
		<-handled
	}
}
