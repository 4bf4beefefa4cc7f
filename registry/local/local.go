// Package local is the registry of one machine. It needs no daemon and no
// network: a directory that belongs to the user holds two files a node, a lock
// that its process keeps and a record of the node. When the process ends,
// however it ends, the kernel drops the lock, and the others know within
// milliseconds.
//
// The directory is the folder "registry" in the first of
//
//   - MICRO_RUNTIME_DIR
//   - XDG_RUNTIME_DIR/micro, if XDG_RUNTIME_DIR is ours
//   - /run/user/UID/micro, if /run/user/UID is ours
//   - micro-UID in the temporary directory
//
// It is refused unless it is ours with mode 0700, so other users neither see
// nor disturb what is in it. Containers meet only where they share it.
package local

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"github.com/seed-9a4e2794/micro/registry"
)

// Config is the configuration of a Registry. The zero Config works.
type Config struct {
	// Dir is the runtime directory, made if it is not there. Empty is the
	// first that fits, as the package comment has it.
	Dir string
	// Logger is told of what goes wrong out of sight; nil is slog.Default().
	Logger *slog.Logger
}

// Registry is a registry in a directory. Any number of them may use the same
// directory, in one process or in many.
type Registry struct {
	store *store
	feed  registry.Feed
	log   *slog.Logger
	tell  func(path string) (notifier, error) // how the engine hears of changes

	mu     sync.Mutex // over owners
	owners map[key]*owner
	closed bool
	hinted bool // the log has been told that this is a container

	watchMu  sync.Mutex // over the engine; the engine's goroutine never takes it
	engine   *engine
	watchers int
}

type key struct{ name, id string }

var _ registry.Registry = (*Registry)(nil)

// New opens the registry. Its error wraps registry.ErrUnavailable when the
// directory cannot be used, and says why.
func New(cfg Config) (*Registry, error) {
	dir := cfg.Dir
	if dir == "" {
		dir = runtimeDir(os.Getenv, os.Geteuid())
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, unavailable("find the runtime directory %q: %w", cfg.Dir, err)
	}
	log := cfg.Logger
	if log == nil {
		log = slog.Default()
	}
	s, err := openStore(dir, log)
	if err != nil {
		return nil, err
	}
	return &Registry{store: s, log: log, tell: newNotifier, owners: make(map[key]*owner)}, nil
}

// container reports whether this looks like a container of Docker, Podman or
// Kubernetes.
func container() bool {
	for _, mark := range []string{"/.dockerenv", "/run/.containerenv"} {
		if _, err := os.Lstat(mark); err == nil {
			return true
		}
	}
	return os.Getenv("KUBERNETES_SERVICE_HOST") != ""
}

// Dir returns the directory that holds the files of the nodes.
func (r *Registry) Dir() string { return filepath.Join(r.store.runtime, folder) }

// Register adds or replaces the nodes of s. They stay until Deregister, Close
// or the end of the process; a TTL is ignored. A record has at most 1 MiB.
//
// Registering again what is registered already is cheap, and mends what was
// deleted from the directory.
//
// When two processes register one node id, the one that did so last counts,
// and the other again when that one has gone.
func (r *Registry) Register(ctx context.Context, s *registry.Service, _ ...registry.RegisterOption) error {
	if err := ready(ctx, "register", s); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return unavailable("register %q: %w", s.Name, errClosed)
	}
	if !r.hinted && container() {
		r.hinted = true
		r.log.Info("registering in a container: services elsewhere are seen only if they share the registry's directory", "dir", r.Dir())
	}
	for _, n := range s.Nodes {
		if err := r.own(s, n); err != nil {
			return fmt.Errorf("register node %q of %q: %w", n.Id, s.Name, err)
		}
	}
	return nil
}

func ready(ctx context.Context, verb string, s *registry.Service) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("local: %s: %w", verb, err)
	}
	return registry.Check(s)
}

func (r *Registry) own(s *registry.Service, n *registry.Node) error {
	service, err := encodeService(s, n)
	if err != nil {
		return err
	}
	st := r.store
	st.mu.Lock()
	defer st.mu.Unlock()
	d, err := st.directory()
	if err != nil {
		return err
	}
	k := key{s.Name, n.Id}
	o := r.owners[k]
	if o != nil && !d.intact(o) {
		// Somebody deleted the lock, or the whole directory. What is left of
		// it is worth nothing to others.
		_ = d.release(o)
		delete(r.owners, k)
		o = nil
	}
	if o != nil && bytes.Equal(o.service, service) {
		if info, err := d.root.Lstat(o.recordFile()); err == nil && info.Mode().IsRegular() {
			d.touch(o)
			return nil
		}
	}
	fresh := o == nil
	if fresh {
		if o, err = d.newOwner(); err != nil {
			return err
		}
	}
	if err := d.write(o.recordFile(), st.now(), service); err != nil {
		if fresh {
			_ = d.release(o)
		}
		return err
	}
	o.service = service
	r.owners[k] = o
	return nil
}

// RegisterPersistent adds or replaces the nodes of s without an owner: they
// stay when the process has gone, until somebody deregisters them. It is for
// nodes that cannot register themselves; nobody sees whether they live.
// Whether they survive a restart of the machine depends on the directory.
func (r *Registry) RegisterPersistent(ctx context.Context, s *registry.Service) error {
	if err := ready(ctx, "register", s); err != nil {
		return err
	}
	st := r.store
	st.mu.Lock()
	defer st.mu.Unlock()
	d, err := st.directory()
	if err != nil {
		return err
	}
	for _, n := range s.Nodes {
		service, err := encodeService(s, n)
		if err == nil {
			err = d.write(keptFile(s.Name, n.Id), st.now(), service)
		}
		if err != nil {
			return fmt.Errorf("register node %q of %q: %w", n.Id, s.Name, err)
		}
	}
	return nil
}

// Deregister removes the nodes of s. A node that this Registry has registered
// is removed, and if another process has registered the same id since, that
// one's stays. A node that only others have registered is removed too, but
// comes back when its process registers it again. Nodes of RegisterPersistent
// are always removed.
func (r *Registry) Deregister(ctx context.Context, s *registry.Service) error {
	if err := ready(ctx, "deregister", s); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var errs []error
	var foreign []string // node ids
	for _, n := range s.Nodes {
		mine, err := r.disown(key{s.Name, n.Id})
		errs = append(errs, err)
		if !mine {
			foreign = append(foreign, n.Id)
		}
	}
	if len(foreign) > 0 {
		errs = append(errs, r.evict(ctx, s.Name, foreign))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("deregister %q: %w", s.Name, err)
	}
	return nil
}

// disown removes this registry's own registration of a node and the one
// without an owner. It reports whether there was one of its own.
func (r *Registry) disown(k key) (mine bool, err error) {
	st := r.store
	st.mu.Lock()
	defer st.mu.Unlock()
	d, err := st.directory()
	if err != nil {
		return false, err
	}
	if o := r.owners[k]; o != nil {
		delete(r.owners, k)
		mine, err = true, d.release(o)
	}
	return mine, errors.Join(err, d.remove(keptFile(k.name, k.id)))
}

// evict removes the records that others have made of these nodes.
func (r *Registry) evict(ctx context.Context, name string, ids []string) error {
	entries, err := r.store.scan(ctx, name)
	if err != nil {
		return err
	}
	gone := make(map[string]bool, len(ids))
	for _, id := range ids {
		gone[id] = true
	}
	st := r.store
	st.mu.Lock()
	defer st.mu.Unlock()
	d, err := st.directory()
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		if gone[e.record.Service.Nodes[0].Id] {
			errs = append(errs, d.remove(e.file))
		}
	}
	return errors.Join(errs...)
}

// GetService reads the directory and returns the service under that name.
func (r *Registry) GetService(ctx context.Context, name string) ([]*registry.Service, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("local: get %q: %w", name, err)
	}
	entries, err := r.store.scan(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("get %q: %w", name, err)
	}
	if len(entries) == 0 {
		return nil, fmt.Errorf("local: %q in %s: %w", name, r.Dir(), registry.ErrNotFound)
	}
	return registry.Merge(newest(entries)), nil
}

// ListServices reads the directory and returns all services with their nodes.
func (r *Registry) ListServices(ctx context.Context) ([]*registry.Service, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("local: list: %w", err)
	}
	entries, err := r.store.scan(ctx, "")
	if err != nil {
		return nil, fmt.Errorf("list: %w", err)
	}
	return registry.Merge(newest(entries)), nil
}

// Watch returns a watcher. The watchers of a Registry share one goroutine,
// which ends with the last of them.
func (r *Registry) Watch(ctx context.Context, opts ...registry.WatchOption) (registry.Watcher, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("local: watch: %w", err)
	}
	r.watchMu.Lock()
	defer r.watchMu.Unlock()
	var err error
	if r.engine == nil {
		r.engine, err = r.startEngine(ctx)
	} else {
		err = r.engine.refresh(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("watch: %w", err)
	}
	r.watchers++
	w, err := r.feed.Watch(ctx, registry.NewWatchOptions(opts...), r.unwatch)
	if err != nil {
		r.unwatchLocked()
	}
	return w, err
}

func (r *Registry) unwatch() {
	r.watchMu.Lock()
	defer r.watchMu.Unlock()
	r.unwatchLocked()
}

func (r *Registry) unwatchLocked() {
	if r.watchers--; r.watchers == 0 {
		r.engine.stop()
		r.engine = nil
	}
}

// Close removes everything this Registry has registered, but for what
// RegisterPersistent did, and ends its watchers. Afterwards its methods return
// registry.ErrUnavailable. Closing twice is no error.
func (r *Registry) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil
	}
	r.closed = true
	var errs []error
	r.store.mu.Lock()
	for _, o := range r.owners {
		errs = append(errs, r.store.dir.release(o))
	}
	r.store.mu.Unlock()
	clear(r.owners)
	r.store.close() // no watch begins after this
	r.feed.Close()
	return errors.Join(errs...)
}
