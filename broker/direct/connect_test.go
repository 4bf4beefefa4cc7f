package direct_test

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-9a4e2794/micro/broker"
	"github.com/seed-9a4e2794/micro/broker/direct"
)

// bare returns a broker of the network that has not been connected.
func (n *network) bare(t *testing.T) *direct.Broker {
	t.Helper()
	b, err := direct.New(direct.Config{Registry: n.reg, Sender: n, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// records returns the addresses of the subscribing nodes that are registered.
func (n *network) records() []string {
	services, err := n.reg.GetService(context.Background(), direct.ServiceName)
	if err != nil {
		return nil
	}
	var out []string
	for _, s := range services {
		for _, node := range s.Nodes {
			out = append(out, node.Address)
		}
	}
	return out
}

func TestABrokerThatOnlyPublishedTakesOverItsAddressWithTheNextConnect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		b := n.bare(t)
		ctx := t.Context()
		if err := b.Connect(ctx); err != nil { // a client that publishes before its server starts
			t.Fatal(err)
		}
		b.Advertise("late:1")
		n.mu.Lock()
		n.nodes["late:1"] = b
		n.mu.Unlock()
		if err := b.Connect(ctx); err != nil {
			t.Fatal(err)
		}
		got := make(chan string, 1)
		if _, err := b.Subscribe(ctx, "topic", func(_ context.Context, e broker.Event) error { got <- string(e.Message().Body); return nil }); err != nil {
			t.Fatal(err)
		}
		if r := n.records(); len(r) != 1 || r[0] != "late:1" {
			t.Errorf("registered are %q, want the address advertised last", r)
		}
		other := n.bare(t)
		if err := other.Connect(ctx); err != nil {
			t.Fatal(err)
		}
		if err := other.Publish(ctx, "topic", &broker.Message{Body: []byte("hello")}); err != nil {
			t.Fatal(err)
		}
		if m := <-got; m != "hello" {
			t.Errorf("got %q", m)
		}
		for _, x := range []*direct.Broker{other, b} {
			if err := x.Disconnect(ctx); err != nil {
				t.Error(err)
			}
		}
	})
}

func TestASubscriptionThatHasEndedIsNotRegisteredAgainByConnect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		b := n.bare(t)
		b.Advertise("a:1")
		n.mu.Lock()
		n.nodes["a:1"] = b
		n.mu.Unlock()
		ctx := t.Context()
		if err := b.Connect(ctx); err != nil {
			t.Fatal(err)
		}
		hold := make(chan struct{})
		if _, err := b.Subscribe(ctx, "topic", func(context.Context, broker.Event) error { <-hold; return nil }); err != nil {
			t.Fatal(err)
		}
		if err := b.Publish(ctx, "topic", &broker.Message{}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		short, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		if err := b.Disconnect(short); err == nil {
			t.Error("Disconnect returned nil with a handler that runs")
		}
		if err := b.Connect(ctx); err != nil {
			t.Fatal(err)
		}
		if r := n.records(); len(r) != 0 {
			t.Errorf("registered are %q, and nothing is subscribed", r)
		}
		close(hold)
		if err := b.Disconnect(ctx); err != nil {
			t.Error(err)
		}
	})
}
