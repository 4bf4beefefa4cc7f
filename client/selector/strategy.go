package selector

import (
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"

	"github.com/seed-9a4e2794/micro/registry"
)

// Random is the Strategy that picks any node, each as likely.
func Random(services []*registry.Service) Next {
	nodes := flatten(services)
	return func() (*registry.Node, error) {
		if len(nodes) == 0 {
			return nil, ErrNoneAvailable
		}
		return nodes[rand.IntN(len(nodes))], nil
	}
}

// RoundRobin is the Strategy that picks one node after the other. As in
// go-micro v1 the turn belongs to the function it returns and begins at any
// node, so that a caller who selects anew for each call gets nodes at random.
// NewRoundRobin makes a Strategy that remembers the turn across calls.
func RoundRobin(services []*registry.Service) Next {
	nodes := flatten(services)
	if len(nodes) == 0 {
		return func() (*registry.Node, error) { return nil, ErrNoneAvailable }
	}
	var turn atomic.Uint64
	turn.Store(uint64(rand.IntN(len(nodes))))
	return func() (*registry.Node, error) {
		return nodes[(turn.Add(1)-1)%uint64(len(nodes))], nil
	}
}

// NewRoundRobin returns a Strategy that picks the node that was picked longest
// ago, and so rotates across calls, whatever part of the nodes filters and
// failures leave of them. It keeps a turn for each service name.
func NewRoundRobin() Strategy {
	var turns sync.Map // service name to *turn
	return func(services []*registry.Service) Next {
		nodes := flatten(services)
		if len(nodes) == 0 {
			return func() (*registry.Node, error) { return nil, ErrNoneAvailable }
		}
		name := services[0].Name
		v, ok := turns.Load(name)
		if !ok {
			v, _ = turns.LoadOrStore(name, &turn{last: make(map[string]uint64)})
		}
		t := v.(*turn)
		return func() (*registry.Node, error) { return t.next(nodes), nil }
	}
}

// turn remembers when each node of a service was last picked.
type turn struct {
	mu   sync.Mutex
	now  uint64
	last map[string]uint64 // node id to the value of now when it was picked
}

func (t *turn) next(nodes []*registry.Node) *registry.Node {
	// Where to begin matters only among nodes that were never picked: clients
	// that start together should not all start with the same one.
	first := rand.IntN(len(nodes))
	t.mu.Lock()
	defer t.mu.Unlock()
	var pick *registry.Node
	oldest := uint64(math.MaxUint64)
	for i := range nodes {
		n := nodes[(first+i)%len(nodes)]
		if at := t.last[n.Id]; at < oldest {
			pick, oldest = n, at
		}
	}
	t.now++
	t.last[pick.Id] = t.now
	if limit := 4*len(nodes) + 64; len(t.last) > limit {
		t.forget(limit / 2)
	}
	return pick
}

// forget drops nodes that were not among the last n picks; most of them are
// gone.
func (t *turn) forget(n int) {
	for id, at := range t.last {
		if t.now-at >= uint64(n) {
			delete(t.last, id)
		}
	}
}

func flatten(services []*registry.Service) []*registry.Node {
	if len(services) == 1 {
		return services[0].Nodes
	}
	var nodes []*registry.Node
	for _, s := range services {
		nodes = append(nodes, s.Nodes...)
	}
	return nodes
}
