package mucp

import (
	"strings"
	"sync"
)

// names is a small set of names that callers chose. When it is full, any one of
// them makes room.
type names struct {
	mu  sync.RWMutex
	set map[string]struct{}
}

const (
	maxNames = 16  // in a set
	maxName  = 256 // bytes of one
)

func (n *names) has(name string) bool {
	n.mu.RLock()
	defer n.mu.RUnlock()
	_, ok := n.set[name]
	return ok
}

func (n *names) add(name string) {
	if len(name) > maxName {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.set == nil {
		n.set = make(map[string]struct{}, maxNames)
	}
	if len(n.set) >= maxNames {
		for old := range n.set {
			delete(n.set, old)
			break
		}
	}
	n.set[strings.Clone(name)] = struct{}{}
}
