package registry

import (
	"cmp"
	"container/list"
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"sync"
)

// Feed is what backends are made of: it holds the nodes that are known and
// tells watchers of changes, by the rule of [Watcher]. It starts no goroutine.
// A watcher that does not read holds nobody up, and what waits for it is at
// most one result for each node that is there and one for each that it knew.
//
// The zero Feed is empty and ready. All methods may run concurrently.
type Feed struct {
	mu       sync.Mutex
	seq      uint64
	services map[string]*feedService
	watchers map[*feedWatcher]struct{}
	closed   bool
}

type feedService struct {
	nodes  map[string]feedNode // by node id
	merged []*Service          // made when asked for, nil after a change
}

type feedNode struct {
	service *Service // holds this node only
	seq     uint64   // grows with each change: the newest decides a version's endpoints
}

type nodeKey struct{ name, id string }

// Put adds or replaces the nodes of s. A node whose record is the same as
// before makes no result. s is kept and must not be changed afterwards.
func (f *Feed) Put(s *Service) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.put(s)
}

func (f *Feed) put(s *Service) {
	for _, n := range s.Nodes {
		one := s
		if len(s.Nodes) > 1 {
			c := *s
			c.Nodes = []*Node{n}
			one = &c
		}
		fs := f.services[s.Name]
		if fs == nil {
			fs = &feedService{nodes: make(map[string]feedNode)}
			if f.services == nil {
				f.services = make(map[string]*feedService)
			}
			f.services[s.Name] = fs
		}
		old, known := fs.nodes[n.Id]
		if known && (old.service == one || reflect.DeepEqual(old.service, one)) {
			continue
		}
		f.seq++
		fs.nodes[n.Id] = feedNode{one, f.seq}
		fs.merged = nil
		action := Create
		if known {
			action = Update
		}
		f.tell(nodeKey{s.Name, n.Id}, action, one)
	}
}

// Remove removes a node. A node that is not there is ignored.
func (f *Feed) Remove(name, id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.remove(name, id)
}

func (f *Feed) remove(name, id string) {
	fs := f.services[name]
	if fs == nil {
		return
	}
	old, known := fs.nodes[id]
	if !known {
		return
	}
	delete(fs.nodes, id)
	fs.merged = nil
	if len(fs.nodes) == 0 {
		delete(f.services, name)
	}
	f.tell(nodeKey{name, id}, Delete, old.service)
}

// Replace makes the nodes of all the only ones: it puts them and removes what
// is not among them. The services are kept and must not be changed afterwards.
func (f *Feed) Replace(all []*Service) {
	f.mu.Lock()
	defer f.mu.Unlock()
	stay := make(map[nodeKey]struct{}, len(all))
	for _, s := range all {
		for _, n := range s.Nodes {
			stay[nodeKey{s.Name, n.Id}] = struct{}{}
		}
	}
	for name, fs := range f.services {
		for id := range fs.nodes {
			if _, ok := stay[nodeKey{name, id}]; !ok {
				f.remove(name, id)
			}
		}
	}
	for _, s := range all {
		f.put(s)
	}
}

// Get returns the service under that name, one Service a version, nil when
// there is none. Equal calls return the same slice until something changes.
func (f *Feed) Get(name string) []*Service {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.get(name)
}

func (f *Feed) get(name string) []*Service {
	fs := f.services[name]
	if fs == nil {
		return nil
	}
	if fs.merged == nil {
		fs.merged = Merge(fs.parts())
	}
	return fs.merged
}

// parts returns the nodes in the order they were put, the newest last.
func (fs *feedService) parts() []*Service {
	nodes := slices.Collect(maps.Values(fs.nodes))
	slices.SortFunc(nodes, func(a, b feedNode) int { return cmp.Compare(a.seq, b.seq) })
	parts := make([]*Service, len(nodes))
	for i, n := range nodes {
		parts[i] = n.service
	}
	return parts
}

// List returns all services, one Service a name and version, sorted by both.
func (f *Feed) List() []*Service {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := make([]*Service, 0, len(f.services))
	for _, name := range slices.Sorted(maps.Keys(f.services)) {
		out = append(out, f.get(name)...)
	}
	return out
}

// Watch returns a watcher that first delivers what is known now. ended, when
// it is not nil, is called once after the watcher has ended.
func (f *Feed) Watch(ctx context.Context, o WatchOptions, ended func()) (Watcher, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("registry: watch: %w", err)
	}
	w := &feedWatcher{
		feed:  f,
		name:  o.Service,
		ended: ended,
		byKey: make(map[nodeKey]*list.Element),
		wake:  make(chan struct{}, 1),
		done:  make(chan struct{}),
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil, fmt.Errorf("registry: watch: it has been closed: %w", ErrUnavailable)
	}
	for name, fs := range f.services {
		if w.name != "" && w.name != name {
			continue
		}
		for id, n := range fs.nodes {
			w.add(nodeKey{name, id}, Create, n.service)
		}
	}
	w.pending.PushBack(&waiting{result: Result{Action: Sync}})
	if f.watchers == nil {
		f.watchers = make(map[*feedWatcher]struct{})
	}
	f.watchers[w] = struct{}{}
	w.unhook = context.AfterFunc(ctx, w.Stop)
	return w, nil
}

// Close stops all watchers; Watch fails afterwards. The nodes stay.
func (f *Feed) Close() {
	f.mu.Lock()
	f.closed = true
	all := slices.Collect(maps.Keys(f.watchers))
	f.mu.Unlock()
	for _, w := range all {
		w.Stop()
	}
}

func (f *Feed) tell(k nodeKey, action string, s *Service) {
	for w := range f.watchers {
		if w.name == "" || w.name == k.name {
			w.add(k, action, s)
		}
	}
}

// feedWatcher holds what its reader has not read yet. All but the channels is
// under the feed's mutex.
type feedWatcher struct {
	feed    *Feed
	name    string
	ended   func()
	pending list.List // of *waiting, in the order of delivery
	byKey   map[nodeKey]*list.Element
	unhook  func() bool
	wake    chan struct{}
	done    chan struct{}
	once    sync.Once
}

type waiting struct {
	key    nodeKey
	result Result
}

// add queues a change, or joins it with the one of the same node that still
// waits, so that a reader who is late hears what is and not all that was.
func (w *feedWatcher) add(k nodeKey, action string, s *Service) {
	if e, ok := w.byKey[k]; ok {
		r := &e.Value.(*waiting).result
		switch {
		case r.Action == Create && action == Delete: // the reader never knew of it
			w.pending.Remove(e)
			delete(w.byKey, k)
			return
		case r.Action == Create: // still new to the reader
		case r.Action == Delete && action == Create: // the reader still holds the old one
			r.Action = Update
		default:
			r.Action = action
		}
		r.Service = s
	} else {
		w.byKey[k] = w.pending.PushBack(&waiting{k, Result{action, s}})
	}
	select {
	case w.wake <- struct{}{}:
	default: // a wake-up waits already
	}
}

func (w *feedWatcher) Next() (*Result, error) {
	for {
		select {
		case <-w.done:
			return nil, ErrWatcherStopped
		default:
		}
		if r := w.pop(); r != nil {
			return r, nil
		}
		select {
		case <-w.wake:
		case <-w.done:
		}
	}
}

func (w *feedWatcher) pop() *Result {
	w.feed.mu.Lock()
	defer w.feed.mu.Unlock()
	e := w.pending.Front()
	if e == nil {
		return nil
	}
	p := w.pending.Remove(e).(*waiting)
	delete(w.byKey, p.key)
	return &p.result
}

func (w *feedWatcher) Stop() {
	w.once.Do(func() {
		w.feed.mu.Lock()
		delete(w.feed.watchers, w)
		w.pending.Init()
		clear(w.byKey)
		unhook := w.unhook
		w.feed.mu.Unlock()
		close(w.done)
		unhook()
		if w.ended != nil {
			w.ended()
		}
	})
}
