package client

import (
	"reflect"
	"sync"
	"sync/atomic"

	"github.com/seed-9a4e2794/micro/codec"
	"github.com/seed-9a4e2794/micro/internal/codecs"
	"github.com/seed-9a4e2794/micro/registry"
)

// plain returns the codec for the plain structs of a call to one of our own
// nodes, or else the one given. The node refuses it when its types are laid out
// otherwise, as while a new version is rolled out.
func (w *work) plain(p *parts, node *registry.Node, to target, other codec.Codec) codec.Codec {
	if w.rsp == nil || to.protocol != "" {
		return other
	}
	pair := codecs.PairOf(reflect.TypeOf(w.body), reflect.TypeOf(w.rsp))
	if pair == nil || p.mismatched.has(node, pair.Name()) {
		return other
	}
	return pair
}

// mismatched remembers which nodes do not read which content types. A node is
// known by its id, so a new process is asked anew.
type mismatched struct {
	some  atomic.Bool // there are any, which is the exception
	mu    sync.Mutex
	nodes map[mismatch]struct{}
}

type mismatch struct{ node, address, contentType string }

// maxMismatched is how many are remembered; beyond it all are forgotten, and
// asked again.
const maxMismatched = 4096

func (m *mismatched) has(node *registry.Node, contentType string) bool {
	if !m.some.Load() {
		return false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	_, has := m.nodes[mismatch{node.Id, node.Address, contentType}]
	return has
}

func (m *mismatched) add(node *registry.Node, contentType string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.nodes == nil || len(m.nodes) >= maxMismatched {
		m.nodes = make(map[mismatch]struct{})
	}
	m.nodes[mismatch{node.Id, node.Address, contentType}] = struct{}{}
	m.some.Store(true)
}
