package selector

import (
	"math/rand/v2"
	"time"

	"github.com/seed-9a4e2794/micro/registry"
)

// The default strategy is the power of two choices (Mitzenmacher, "The Power
// of Two Choices in Randomized Load Balancing", IEEE TPDS 12(10), 2001): draw
// two nodes and take the one with less load. Load is calls under way plus one,
// times average latency, after Finagle's "peak EWMA" balancer and Envoy's
// least request; the latency counts only where it differs by more than
// sameLatency, because smaller differences are noise and would send all the
// calls of a quiet client to one node.

const (
	sameLatency = 2
	// draws is how often two nodes are drawn blindly before all are looked at.
	draws = 4
)

// moment is the time of a pick, read from the clock when it is first needed:
// in a service where all is well it never is.
type moment struct {
	base time.Time
	at   int64
}

func (m *moment) now() int64 {
	if m.at == 0 {
		m.at = int64(time.Since(m.base))
	}
	return m.at
}

// entry is a node and what is known of it.
type entry struct {
	node  *registry.Node
	state *state
}

// is reports whether the entry is that node, or a newer record of it.
func (e *entry) is(n *registry.Node) bool {
	return n != nil && (e.node == n || e.node.Id == n.Id && e.node.Address == n.Address)
}

// choose picks one of the entries, of which there is at least one: a node that
// is in order, or has waited long enough to be tried again, and is not avoid;
// else avoid if it is in order; else any, since all are as bad.
func choose(entries []entry, avoid *registry.Node, m *moment) (e *entry, probe int64) {
	if n := len(entries); n > 1 {
		for range draws {
			a, b := two(entries)
			if a.is(avoid) || b.is(avoid) || !a.state.open(m) || !b.state.open(m) {
				continue
			}
			e = better(a, b, m)
			if probe, ok := e.state.claim(m); ok {
				return e, probe
			}
		}
	}
	for range draws { // again only when another pick has claimed the same probe
		e = sample(entries, avoid, m, false)
		if e == nil {
			break
		}
		if probe, ok := e.state.claim(m); ok {
			return e, probe
		}
	}
	var avoided *entry
	if avoid != nil {
		for i := range entries {
			if entries[i].is(avoid) {
				avoided = &entries[i]
				if probe, ok := avoided.state.claim(m); ok {
					return avoided, probe
				}
				break
			}
		}
	}
	if e = sample(entries, avoid, m, true); e != nil {
		return e, 0
	}
	return avoided, 0
}

// two draws two different entries of at least two.
func two(entries []entry) (a, b *entry) {
	r := rand.Uint64()
	n := uint64(len(entries))
	i := (r >> 32) * n >> 32
	j := (r & (1<<32 - 1)) * (n - 1) >> 32
	if j >= i {
		j++
	}
	return &entries[i], &entries[j]
}

// better returns the one with less load, a when they have the same.
func better(a, b *entry, m *moment) *entry {
	la, lb := a.state.average(), b.state.average()
	// A node without a latency is taken to be like the other one: it gets its
	// share, and no more, until it has answered.
	differ := la != 0 && lb != 0 && !same(la, lb)
	if differ {
		la, lb = a.state.faded(la, m.now()), b.state.faded(lb, m.now())
		differ = !same(la, lb)
	}
	if !differ {
		la, lb = 1, 1
	}
	if float64(b.state.inflight.Load()+1)*lb < float64(a.state.inflight.Load()+1)*la {
		return b
	}
	return a
}

func same(a, b float64) bool { return a < b*sameLatency && b < a*sameLatency }

// sample looks at all entries but avoid, the closed ones only if all is set,
// draws two of them with equal chances (reservoir sampling: Vitter, "Random
// Sampling with a Reservoir", ACM TOMS 11(1), 1985) and returns the better
// one, or nil when there is none.
func sample(entries []entry, avoid *registry.Node, m *moment, all bool) *entry {
	var a, b *entry
	seen := 0
	for i := range entries {
		e := &entries[i]
		if e.is(avoid) || !all && !e.state.open(m) {
			continue
		}
		seen++
		switch {
		case seen == 1:
			a = e
		case seen == 2:
			b = e
		default:
			switch rand.IntN(seen) {
			case 0:
				a = e
			case 1:
				b = e
			}
		}
	}
	if b == nil {
		return a
	}
	if rand.Uint64()&1 == 0 { // which one wins a tie
		a, b = b, a
	}
	return better(a, b, m)
}
