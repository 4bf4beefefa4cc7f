package direct_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/seed-9a4e2794/micro/broker"
	"github.com/seed-9a4e2794/micro/broker/direct"
	"github.com/seed-9a4e2794/micro/metadata"
	"github.com/seed-9a4e2794/micro/registry"
	"github.com/seed-9a4e2794/micro/registry/memory"
	"github.com/seed-9a4e2794/micro/transport"
)

// network is nodes that reach each other by address, with faults.
type network struct {
	reg registry.Registry

	mu     sync.Mutex
	nodes  map[string]*direct.Broker
	down   map[string]error // what Send to an address returns instead
	copies map[string]int   // deliveries that went to an address
	last   int
}

func newNetwork() *network {
	return &network{reg: memory.New(), nodes: make(map[string]*direct.Broker), down: make(map[string]error), copies: make(map[string]int)}
}

// Send encodes the delivery and decodes it again, as a real sender has to.
func (n *network) Send(ctx context.Context, node *registry.Node, d *direct.Delivery) error {
	n.mu.Lock()
	b, err := n.nodes[node.Address], n.down[node.Address]
	n.copies[node.Address]++
	n.mu.Unlock()
	if err != nil {
		return err
	}
	if b == nil {
		return fmt.Errorf("%s: %w", node.Address, transport.ErrUnreachable)
	}
	h, err := d.Header()
	if err != nil {
		return err
	}
	for i := range h { // a transport may put its own fields beside them
		h[i].Key = string(bytes.ToLower([]byte(h[i].Key)))
	}
	h = append(metadata.Header{{Key: "content-type", Value: "application/octet-stream"}}, h...)
	arrived, err := direct.ParseDelivery(h, bytes.Clone(d.Message.Body))
	if err != nil {
		return err
	}
	return b.Deliver(ctx, arrived)
}

// fail makes sends to addr return err; nil makes them arrive again.
func (n *network) fail(addr string, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.down[addr] = err
}

// sent returns how many deliveries went to addr.
func (n *network) sent(addr string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.copies[addr]
}

// node returns a broker with an address, not connected.
func (n *network) node(t *testing.T, edit ...func(*direct.Config)) (*direct.Broker, string) {
	t.Helper()
	cfg := direct.Config{Registry: n.reg, Sender: n, Logger: slog.New(slog.DiscardHandler)}
	for _, f := range edit {
		f(&cfg)
	}
	b, err := direct.New(cfg)
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.last++
	addr := fmt.Sprintf("127.0.0.1:%d", 10000+n.last)
	n.nodes[addr] = b
	b.Advertise(addr)
	return b, addr
}

// connected returns a broker with an address that is disconnected at the end.
func (n *network) connected(t *testing.T, edit ...func(*direct.Config)) (*direct.Broker, string) {
	t.Helper()
	b, addr := n.node(t, edit...)
	if err := b.Connect(t.Context()); err != nil {
		t.Fatalf("Connect: %v", err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := b.Disconnect(ctx); err != nil && !t.Failed() {
			t.Errorf("Disconnect: %v", err)
		}
	})
	return b, addr
}

func subscribe(t *testing.T, b *direct.Broker, topic string, h broker.Handler, opts ...broker.SubscribeOption) broker.Subscriber {
	t.Helper()
	s, err := b.Subscribe(t.Context(), topic, h, opts...)
	if err != nil {
		t.Fatalf("Subscribe: %v", err)
	}
	return s
}

func publish(t *testing.T, b *direct.Broker, topic string, opts ...broker.PublishOption) {
	t.Helper()
	if err := b.Publish(t.Context(), topic, &broker.Message{Header: map[string]string{"K": "v"}, Body: []byte("body")}, opts...); err != nil {
		t.Fatalf("Publish: %v", err)
	}
}
