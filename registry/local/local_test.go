package local

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/seed-9a4e2794/micro/internal/leaktest"
	"github.com/seed-9a4e2794/micro/registry"
	"github.com/seed-9a4e2794/micro/registry/registrytest"
)

// patience is how long a test waits for what must come.
const patience = 10 * time.Second

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func open(t *testing.T, dir string) *Registry {
	t.Helper()
	r, err := New(Config{Dir: dir, Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return r
}

func freshDir(t *testing.T) string { return filepath.Join(t.TempDir(), "run") }

func TestConformance(t *testing.T) {
	registrytest.Run(t, func(t *testing.T) registry.Registry { return open(t, freshDir(t)) })
}

// reader writes through one Registry and reads through another, as two
// processes do.
type reader struct {
	registry.Registry
	writer *Registry
}

func (r reader) Register(ctx context.Context, s *registry.Service, opts ...registry.RegisterOption) error {
	return r.writer.Register(ctx, s, opts...)
}

func (r reader) Deregister(ctx context.Context, s *registry.Service) error {
	return r.writer.Deregister(ctx, s)
}

func TestConformanceBetweenTwoRegistriesOfOneDirectory(t *testing.T) {
	registrytest.Run(t, func(t *testing.T) registry.Registry {
		dir := freshDir(t)
		return reader{open(t, dir), open(t, dir)}
	})
}

func TestConformanceWithoutFileEvents(t *testing.T) {
	registrytest.Run(t, func(t *testing.T) registry.Registry {
		dir := freshDir(t)
		r := open(t, dir)
		r.tell = func(string) (notifier, error) { return nil, errors.New("no events here") }
		return reader{r, open(t, dir)}
	})
}

func node(name, id, address string) *registry.Service {
	return &registry.Service{Name: name, Version: "1", Nodes: []*registry.Node{{Id: id, Address: address}}}
}

func register(t *testing.T, r *Registry, s *registry.Service) {
	t.Helper()
	if err := r.Register(t.Context(), s); err != nil {
		t.Fatal(err)
	}
}

// addresses returns the addresses of the nodes of a service, sorted by node id.
func addresses(t *testing.T, r *Registry, name string) string {
	t.Helper()
	got, err := r.GetService(context.Background(), name)
	if errors.Is(err, registry.ErrNotFound) {
		return ""
	}
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, s := range got {
		for _, n := range s.Nodes {
			all = append(all, n.Address)
		}
	}
	return strings.Join(all, " ")
}

func files(t *testing.T, r *Registry) []string {
	t.Helper()
	entries, err := os.ReadDir(r.Dir())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// watch reads a watcher on a goroutine that the test waits for.
func watch(t *testing.T, r *Registry, opts ...registry.WatchOption) <-chan *registry.Result {
	t.Helper()
	w, err := r.Watch(context.Background(), opts...)
	if err != nil {
		t.Fatal(err)
	}
	results, quit, done := make(chan *registry.Result), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			res, err := w.Next()
			if err != nil {
				return
			}
			select {
			case results <- res:
			case <-quit:
				return
			}
		}
	}()
	t.Cleanup(func() {
		w.Stop()
		close(quit)
		<-done
	})
	return results
}

// want reads results until one of that action and address, or of a sync.
func want(t *testing.T, results <-chan *registry.Result, action, address string) {
	t.Helper()
	deadline := time.After(patience)
	for {
		select {
		case r := <-results:
			if r.Action == action && (r.Service == nil || r.Service.Nodes[0].Address == address) {
				return
			}
		case <-deadline:
			t.Fatalf("no %s of %s within %s", action, address, patience)
		}
	}
}

func TestRegistrationOutlivesTheRegistryValue(t *testing.T) {
	dir := freshDir(t)
	func() {
		r, err := New(Config{Dir: dir, Logger: quiet()})
		if err != nil {
			t.Fatal(err)
		}
		register(t, r, node("greeter", "a", "127.0.0.1:1"))
	}()
	for range 5 {
		runtime.GC() // finalizers close files that nobody refers to
	}
	r := open(t, dir)
	if got := addresses(t, r, "greeter"); got != "127.0.0.1:1" {
		t.Errorf("after its Registry was collected the node is %q, want it to be there", got)
	}
}

func TestCloseRemovesWhatWasRegisteredAndStopsWatchers(t *testing.T) {
	leaktest.Check(t)
	dir := freshDir(t)
	other := open(t, dir)
	results := watch(t, other)
	r := open(t, dir)
	register(t, r, node("greeter", "a", "127.0.0.1:1"))
	register(t, r, node("orders", "b", "127.0.0.1:2"))
	want(t, results, registry.Create, "127.0.0.1:2")
	w, err := r.Watch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}
	want(t, results, registry.Delete, "127.0.0.1:1")
	if got := files(t, other); len(got) != 0 {
		t.Errorf("Close left %v", got)
	}
	if _, err := w.Next(); !errors.Is(err, registry.ErrWatcherStopped) {
		t.Errorf("Next after Close returned %v", err)
	}
	_, getErr := r.GetService(t.Context(), "greeter")
	_, watchErr := r.Watch(t.Context())
	for method, err := range map[string]error{
		"Register": r.Register(t.Context(), node("a", "a", "a:1")), "Deregister": r.Deregister(t.Context(), node("a", "a", "a:1")),
		"GetService": getErr, "Watch": watchErr,
	} {
		if !errors.Is(err, registry.ErrUnavailable) || !strings.Contains(err.Error(), "closed") {
			t.Errorf("%s after Close returned %v, want ErrUnavailable that says closed", method, err)
		}
	}
}

func TestDeregisterRemovesTheFiles(t *testing.T) {
	r := open(t, freshDir(t))
	s := node("greeter", "a", "127.0.0.1:1")
	register(t, r, s)
	if got := files(t, r); len(got) != 2 {
		t.Errorf("a node has the files %v, want a lock and a record", got)
	}
	if err := r.Deregister(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	if got := files(t, r); len(got) != 0 {
		t.Errorf("Deregister left %v", got)
	}
}

func TestNewestRegistrationOfANodeCounts(t *testing.T) {
	dir := freshDir(t)
	old, young, other := open(t, dir), open(t, dir), open(t, dir)
	results := watch(t, other)
	register(t, old, node("greeter", "a", "127.0.0.1:1"))
	want(t, results, registry.Create, "127.0.0.1:1")
	register(t, young, node("greeter", "a", "127.0.0.1:2"))
	want(t, results, registry.Update, "127.0.0.1:2")
	register(t, old, node("greeter", "a", "127.0.0.1:1")) // a renewal takes nothing back
	if got := addresses(t, other, "greeter"); got != "127.0.0.1:2" {
		t.Errorf("the node is at %q, want the newer 127.0.0.1:2", got)
	}
	// A service that ends must not take its successor with it.
	if err := old.Deregister(t.Context(), node("greeter", "a", "")); err != nil {
		t.Fatal(err)
	}
	if got := addresses(t, other, "greeter"); got != "127.0.0.1:2" {
		t.Errorf("after the older one left the node is at %q, want 127.0.0.1:2", got)
	}
	register(t, old, node("greeter", "a", "127.0.0.1:3"))
	want(t, results, registry.Update, "127.0.0.1:3")
	if err := old.Close(); err != nil {
		t.Fatal(err)
	}
	want(t, results, registry.Update, "127.0.0.1:2")
}

func TestAnotherMayDeregisterANodeAndRenewalBringsItBack(t *testing.T) {
	dir := freshDir(t)
	r, other := open(t, dir), open(t, dir)
	s := node("greeter", "a", "127.0.0.1:1")
	register(t, r, s)
	if err := other.Deregister(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	if got := addresses(t, r, "greeter"); got != "" {
		t.Errorf("the node is still at %q", got)
	}
	register(t, r, s)
	if got := addresses(t, other, "greeter"); got != "127.0.0.1:1" {
		t.Errorf("after a renewal the node is at %q", got)
	}
}

func TestRenewalMendsWhatWasDeleted(t *testing.T) {
	s := node("greeter", "a", "127.0.0.1:1")
	for name, damage := range map[string]func(dir string) error{
		"record":    func(dir string) error { return removeMatching(filepath.Join(dir, folder, "*.json")) },
		"lock":      func(dir string) error { return removeMatching(filepath.Join(dir, folder, "*.lock")) },
		"both":      func(dir string) error { return removeMatching(filepath.Join(dir, folder, "*")) },
		"directory": func(dir string) error { return os.RemoveAll(filepath.Join(dir, folder)) },
		"runtime":   os.RemoveAll,
		"exchanged": func(dir string) error { return os.Rename(filepath.Join(dir, folder), filepath.Join(dir, "away")) },
	} {
		t.Run(name, func(t *testing.T) {
			leaktest.Check(t)
			dir := freshDir(t)
			r, other := open(t, dir), open(t, dir)
			results := watch(t, other)
			register(t, r, s)
			want(t, results, registry.Create, "127.0.0.1:1")
			if err := damage(dir); err != nil {
				t.Fatal(err)
			}
			want(t, results, registry.Delete, "127.0.0.1:1")
			register(t, r, s)
			want(t, results, registry.Create, "127.0.0.1:1")
			if got := addresses(t, r, "greeter"); got != "127.0.0.1:1" {
				t.Errorf("after the renewal the node is at %q", got)
			}
		})
	}
}

func removeMatching(pattern string) error {
	found, err := filepath.Glob(pattern)
	if err == nil && len(found) == 0 {
		err = fmt.Errorf("nothing matches %s", pattern)
	}
	for _, f := range found {
		err = errors.Join(err, os.Remove(f))
	}
	return err
}

func TestPersistentNodeStaysUntilDeregistered(t *testing.T) {
	leaktest.Check(t)
	dir := freshDir(t)
	other := open(t, dir)
	results := watch(t, other)
	s := node("greeter", "a", "127.0.0.1:1")
	tool := open(t, dir)
	if err := tool.RegisterPersistent(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	if err := tool.Close(); err != nil {
		t.Fatal(err)
	}
	want(t, results, registry.Create, "127.0.0.1:1")
	s.Nodes[0].Address = "127.0.0.1:2"
	if err := open(t, dir).RegisterPersistent(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	want(t, results, registry.Update, "127.0.0.1:2")
	if got := addresses(t, other, "greeter"); got != "127.0.0.1:2" {
		t.Errorf("the node is at %q", got)
	}
	if err := open(t, dir).Deregister(t.Context(), node("greeter", "a", "")); err != nil {
		t.Fatal(err)
	}
	want(t, results, registry.Delete, "127.0.0.1:2")
	if got := files(t, other); len(got) != 0 {
		t.Errorf("Deregister left %v", got)
	}
}

func TestTooLargeRecordIsRefused(t *testing.T) {
	r := open(t, freshDir(t))
	s := node("greeter", "a", "127.0.0.1:1")
	s.Metadata = map[string]string{"k": strings.Repeat("x", maxRecord)}
	err := r.Register(t.Context(), s)
	if err == nil || !strings.Contains(err.Error(), "bytes") {
		t.Errorf("Register of a record over 1 MiB returned %v", err)
	}
	if got := files(t, r); len(got) != 0 {
		t.Errorf("the refused registration left %v", got)
	}
}
