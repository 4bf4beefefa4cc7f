package direct_test

import (
	"testing"

	"github.com/seed-9a4e2794/micro/broker"
	"github.com/seed-9a4e2794/micro/broker/brokertest"
	"github.com/seed-9a4e2794/micro/internal/leaktest"
)

var promise = brokertest.Promise{CountsSubscribers: true}

func open(t *testing.T) brokertest.Harness {
	n := newNetwork()
	return brokertest.Harness{New: func(t *testing.T) broker.Broker {
		b, _ := n.node(t)
		return b
	}}
}

func TestDirectKeepsTheContract(t *testing.T) {
	leaktest.Check(t)
	brokertest.Run(t, open, promise)
}

func TestDirectKeepsTheContractInBubbles(t *testing.T) {
	brokertest.RunInBubbles(t, open, promise)
}
