package registrytest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/seed-9a4e2794/micro/registry"
)

// kit is what a case works with.
type kit struct {
	testing.TB
	registry.Registry
	options
	rule string
}

func newKit(tb testing.TB, r registry.Registry, o options, c testCase) *kit {
	return &kit{TB: tb, Registry: r, options: o, rule: c.rule}
}

// broken fails the case and says which rule was broken.
func (k *kit) broken(format string, a ...any) {
	k.Helper()
	k.Fatalf("%s\n\tthe rule: %s", fmt.Sprintf(format, a...), k.rule)
}

func (k *kit) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 2*k.patience)
	k.Cleanup(cancel)
	return ctx
}

// life returns a context that ends with the case.
func (k *kit) life() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	k.Cleanup(cancel)
	return ctx
}

func (k *kit) register(s *registry.Service, opts ...registry.RegisterOption) {
	k.Helper()
	if err := k.Register(k.ctx(), s, opts...); err != nil {
		k.broken("Register(%s): %v", show(s), err)
	}
}

func (k *kit) deregister(s *registry.Service) {
	k.Helper()
	if err := k.Deregister(k.ctx(), s); err != nil {
		k.broken("Deregister(%s): %v", show(s), err)
	}
}

// eventually asks until what says nothing is wrong, or patience is over.
func (k *kit) eventually(what func() string) {
	k.Helper()
	deadline := time.Now().Add(k.patience)
	for pause := time.Millisecond; ; pause = min(2*pause, 100*time.Millisecond) {
		wrong := what()
		if wrong == "" {
			return
		}
		if time.Now().After(deadline) {
			k.broken("after %s still: %s", k.patience, wrong)
		}
		<-time.After(pause)
	}
}

// holds waits until GetService returns exactly want, or ErrNotFound when want
// is empty.
func (k *kit) holds(name string, want ...*registry.Service) {
	k.Helper()
	k.eventually(func() string { return k.differs(name, want) })
}

func (k *kit) differs(name string, want []*registry.Service) string {
	got, err := k.GetService(k.ctx(), name)
	if len(want) == 0 {
		switch {
		case err == nil:
			return fmt.Sprintf("GetService(%q) returned %s and no error, want ErrNotFound", name, showAll(got))
		case !errors.Is(err, registry.ErrNotFound):
			return fmt.Sprintf("GetService(%q): error %v, want ErrNotFound", name, err)
		case errors.Is(err, registry.ErrUnavailable):
			return fmt.Sprintf("GetService(%q): error %v is both ErrNotFound and ErrUnavailable", name, err)
		}
		return ""
	}
	if err != nil {
		return fmt.Sprintf("GetService(%q): %v", name, err)
	}
	for _, s := range got {
		if len(s.Nodes) == 0 {
			return fmt.Sprintf("GetService(%q) returned version %q without a node", name, s.Version)
		}
	}
	seen := make(map[string]bool)
	for _, s := range got {
		if seen[s.Version] {
			return fmt.Sprintf("GetService(%q) returned version %q twice", name, s.Version)
		}
		seen[s.Version] = true
	}
	if g, w := canon(got), canon(want); g != w {
		return fmt.Sprintf("GetService(%q) returned\n\t%s\nwant\n\t%s", name, cut(g), cut(w))
	}
	return ""
}

// canon writes services in one order, with nil and empty alike.
func canon(services []*registry.Service) string {
	b, err := json.Marshal(registry.Merge(services))
	if err != nil {
		return err.Error()
	}
	return strings.NewReplacer(":null", ":0", ":{}", ":0", ":[]", ":0").Replace(string(b))
}

func show(s *registry.Service) string {
	if s == nil {
		return "nil"
	}
	return cut(canon([]*registry.Service{s}))
}

func showAll(s []*registry.Service) string { return cut(canon(s)) }

func cut(s string) string {
	if len(s) > 600 {
		return fmt.Sprintf("%s... (%d bytes)", s[:600], len(s))
	}
	return s
}

// service returns a service of one node with something in every field.
func service(name, version, id string) *registry.Service {
	return &registry.Service{
		Name:     name,
		Version:  version,
		Metadata: map[string]string{"team": "suite"},
		Endpoints: []*registry.Endpoint{{
			Name: "Greeter.Hello",
			Request: &registry.Value{Name: "HelloRequest", Type: "HelloRequest", Values: []*registry.Value{
				{Name: "name", Type: "string"},
				{Name: "tags", Type: "[]string"},
			}},
			Response: &registry.Value{Name: "HelloResponse", Type: "HelloResponse"},
			Metadata: map[string]string{"stream": "false"},
		}},
		Nodes: []*registry.Node{{
			Id:       id,
			Address:  "127.0.0.1:9001",
			Metadata: map[string]string{"protocol": "mucp", "zone": "a=b; c"},
		}},
	}
}

// stream reads a watcher on a goroutine of its own, so that the case can wait
// with a deadline.
type stream struct {
	k       *kit
	w       registry.Watcher
	results chan outcome
	quit    chan struct{}
	done    chan struct{}
}

type outcome struct {
	result *registry.Result
	err    error
}

func (k *kit) watch(ctx context.Context, opts ...registry.WatchOption) *stream {
	k.Helper()
	w, err := k.Watch(ctx, opts...)
	if err != nil {
		k.broken("Watch: %v", err)
	}
	return k.read(w)
}

// read starts to read a watcher.
func (k *kit) read(w registry.Watcher) *stream {
	s := &stream{k: k, w: w, results: make(chan outcome), quit: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer close(s.done)
		for {
			r, err := w.Next()
			select {
			case s.results <- outcome{r, err}:
			case <-s.quit:
				return
			}
			if err != nil {
				return
			}
		}
	}()
	k.Cleanup(s.close)
	return s
}

func (s *stream) close() {
	s.w.Stop()
	close(s.quit)
	select {
	case <-s.done:
	case <-time.After(s.k.patience):
		s.k.Errorf("Next did not return within %s after Stop\n\tthe rule: %s", s.k.patience, s.k.rule)
	}
}

// outcome returns what Next returns next.
func (s *stream) outcome(want string) outcome {
	s.k.Helper()
	select {
	case o := <-s.results:
		return o
	case <-time.After(s.k.patience):
		s.k.broken("Next returned nothing for %s, want %s", s.k.patience, want)
		return outcome{}
	}
}

func (s *stream) result(want string) *registry.Result {
	s.k.Helper()
	o := s.outcome(want)
	if o.err != nil {
		s.k.broken("Next returned error %v, want %s", o.err, want)
	}
	r := o.result
	if r == nil {
		s.k.broken("Next returned neither a result nor an error, want %s", want)
	}
	if r.Action == registry.Sync {
		if r.Service != nil {
			s.k.broken("a sync came with service %s", show(r.Service))
		}
		return r
	}
	if r.Service == nil || len(r.Service.Nodes) == 0 {
		s.k.broken("Next returned action %q without a node, want %s", r.Action, want)
	}
	return r
}

// expect reads one result that must be action of s.
func (s *stream) expect(action string, want *registry.Service) {
	s.k.Helper()
	r := s.result(action + " " + show(want))
	if r.Action != action {
		s.k.broken("Next returned action %q of %s, want %q of %s", r.Action, show(r.Service), action, show(want))
	}
	if want == nil {
		return
	}
	if action == registry.Delete { // what is gone is named, no more
		if r.Service.Name != want.Name || r.Service.Nodes[0].Id != want.Nodes[0].Id || len(r.Service.Nodes) != 1 {
			s.k.broken("delete of %s, want of %s", show(r.Service), show(want))
		}
		return
	}
	if g, w := canon([]*registry.Service{r.Service}), canon([]*registry.Service{want}); g != w {
		s.k.broken("%s of\n\t%s\nwant\n\t%s", action, cut(g), cut(w))
	}
}

// synced reads the present state up to the sync and checks that it is want.
func (s *stream) synced(want ...*registry.Service) {
	s.k.Helper()
	var got []*registry.Service
	for {
		r := s.result("the present state and a sync")
		if r.Action == registry.Sync {
			break
		}
		if r.Action != registry.Create {
			s.k.broken("before the sync came action %q of %s, want only creates", r.Action, show(r.Service))
		}
		got = append(got, r.Service)
	}
	if g, w := canon(got), canon(want); g != w {
		s.k.broken("before the sync came\n\t%s\nwant\n\t%s", cut(g), cut(w))
	}
}
