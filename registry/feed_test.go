package registry

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/seed-9a4e2794/micro/internal/leaktest"
)

func feedNodeOf(name, id, address string) *Service {
	return &Service{Name: name, Version: "1", Nodes: []*Node{{Id: id, Address: address}}}
}

func TestPendingResultsAreBoundedByTheNodes(t *testing.T) {
	leaktest.Check(t)
	var f Feed
	f.Put(feedNodeOf("greeter", "known", "a:1"))
	w, err := f.Watch(context.Background(), WatchOptions{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	for range 2 { // the create and the sync
		if _, err := w.Next(); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 10000 {
		id := fmt.Sprint(i) // a new one each time, as services that crash and restart have
		f.Put(feedNodeOf("greeter", id, "a:1"))
		f.Put(feedNodeOf("greeter", id, "a:2"))
		f.Put(feedNodeOf("greeter", "known", fmt.Sprintf("a:%d", i+2)))
		f.Remove("greeter", id)
		f.Remove("greeter", "known")
		f.Put(feedNodeOf("greeter", "known", fmt.Sprintf("b:%d", i)))
	}
	if n := w.(*feedWatcher).pending.Len(); n != 1 {
		t.Fatalf("%d results wait for a reader who knows one node and missed the others", n)
	}
	r, err := w.Next()
	if err != nil || r.Action != Update || r.Service.Nodes[0].Address != "b:9999" {
		t.Errorf("the reader is told %+v (%v), want an update of the known node", r, err)
	}
}

func TestLateReaderIsToldWhatIs(t *testing.T) {
	a1, a2, a3 := feedNodeOf("greeter", "a", "a:1"), feedNodeOf("greeter", "a", "a:2"), feedNodeOf("greeter", "a", "a:3")
	for _, c := range []struct {
		name    string
		knows   bool
		changes func(f *Feed)
		want    string
	}{
		{"create, update", false, func(f *Feed) { f.Put(a1); f.Put(a2) }, "create a:2"},
		{"create, delete", false, func(f *Feed) { f.Put(a1); f.Remove("greeter", "a") }, ""},
		{"create, delete, create", false, func(f *Feed) { f.Put(a1); f.Remove("greeter", "a"); f.Put(a2) }, "create a:2"},
		{"update, update", true, func(f *Feed) { f.Put(a2); f.Put(a3) }, "update a:3"},
		{"update, delete", true, func(f *Feed) { f.Put(a2); f.Remove("greeter", "a") }, "delete a:2"},
		{"delete, create", true, func(f *Feed) { f.Remove("greeter", "a"); f.Put(a2) }, "update a:2"},
		{"delete, create, delete", true, func(f *Feed) { f.Remove("greeter", "a"); f.Put(a2); f.Remove("greeter", "a") }, "delete a:2"},
		{"replaced by nothing", true, func(f *Feed) { f.Replace(nil) }, "delete a:1"},
		{"replaced by the same", true, func(f *Feed) { f.Replace([]*Service{feedNodeOf("greeter", "a", "a:1")}) }, ""},
		{"replaced by another", true, func(f *Feed) { f.Replace([]*Service{a3}) }, "update a:3"},
	} {
		var f Feed
		if c.knows {
			f.Put(a1)
		}
		w, err := f.Watch(context.Background(), WatchOptions{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		for r := new(Result); r.Action != Sync; {
			if r, err = w.Next(); err != nil {
				t.Fatal(err)
			}
		}
		c.changes(&f)
		f.Put(feedNodeOf("mark", "mark", "mark"))
		var got []string
		for {
			r, err := w.Next()
			if err != nil {
				t.Fatal(err)
			}
			if r.Service.Name == "mark" {
				break
			}
			got = append(got, r.Action+" "+r.Service.Nodes[0].Address)
		}
		if g := strings.Join(got, ", "); g != c.want {
			t.Errorf("%s: the reader is told %q, want %q", c.name, g, c.want)
		}
		w.Stop()
	}
}

func TestEndedIsCalledOnceHoweverAWatcherEnds(t *testing.T) {
	leaktest.Check(t)
	for name, end := range map[string]func(f *Feed, w Watcher, cancel func()){
		"stop":    func(_ *Feed, w Watcher, _ func()) { w.Stop(); w.Stop() },
		"context": func(_ *Feed, _ Watcher, cancel func()) { cancel() },
		"close":   func(f *Feed, _ Watcher, _ func()) { f.Close(); f.Close() },
		"all":     func(f *Feed, w Watcher, cancel func()) { cancel(); f.Close(); w.Stop() },
	} {
		var f Feed
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan struct{}, 10)
		w, err := f.Watch(ctx, WatchOptions{}, func() { ended <- struct{}{} })
		if err != nil {
			t.Fatal(err)
		}
		end(&f, w, cancel)
		<-ended
		w.Stop() // returns only when a Stop elsewhere has
		if _, err := w.Next(); !errors.Is(err, ErrWatcherStopped) {
			t.Errorf("%s: Next returned %v", name, err)
		}
		if len(ended) != 0 || len(f.watchers) != 0 {
			t.Errorf("%s: ended was called %d times more, %d watchers are left", name, len(ended), len(f.watchers))
		}
		cancel()
	}
}

func TestNothingIsWatchedAfterClose(t *testing.T) {
	var f Feed
	f.Close()
	if _, err := f.Watch(context.Background(), WatchOptions{}, func() {}); !errors.Is(err, ErrUnavailable) {
		t.Errorf("Watch after Close returned %v", err)
	}
}

func TestCloneSharesNothing(t *testing.T) {
	s := &Service{
		Name: "greeter", Metadata: map[string]string{"a": "b"},
		Endpoints: []*Endpoint{{Name: "A.B", Request: &Value{Values: []*Value{{Name: "x"}}}, Metadata: map[string]string{"a": "b"}}},
		Nodes:     []*Node{{Id: "a", Metadata: map[string]string{"a": "b"}}},
	}
	c := s.Clone()
	if !reflect.DeepEqual(s, c) {
		t.Fatalf("the clone is %+v, want %+v", c, s)
	}
	s.Metadata["a"], s.Endpoints[0].Metadata["a"], s.Nodes[0].Metadata["a"] = "c", "c", "c"
	s.Endpoints[0].Name, s.Endpoints[0].Request.Values[0].Name, s.Nodes[0].Id = "c", "c", "c"
	if c.Metadata["a"]+c.Endpoints[0].Metadata["a"]+c.Nodes[0].Metadata["a"] != "bbb" ||
		c.Endpoints[0].Name+c.Endpoints[0].Request.Values[0].Name+c.Nodes[0].Id != "A.Bxa" {
		t.Errorf("a change of the original changed the clone: %+v", c)
	}
	if (*Service)(nil).Clone() != nil {
		t.Error("the clone of nil is not nil")
	}
}

func TestCheckRefusesValuesWithoutEnd(t *testing.T) {
	loop := &Value{Name: "loop"}
	loop.Values = []*Value{loop, loop}
	wide := &Value{Values: make([]*Value, maxValues)}
	for i := range wide.Values {
		wide.Values[i] = new(Value)
	}
	for name, v := range map[string]*Value{"loop": loop, "wide": wide} {
		s := feedNodeOf("greeter", "a", "a:1")
		s.Endpoints = []*Endpoint{{Name: "A.B", Response: v}}
		if err := Check(s); err == nil || !strings.Contains(err.Error(), "A.B") {
			t.Errorf("%s: Check returned %v, want an error that names the endpoint", name, err)
		}
	}
}

func TestMergeTakesTheEndpointsOfTheLast(t *testing.T) {
	old, young := feedNodeOf("greeter", "b", "b:1"), feedNodeOf("greeter", "a", "a:1")
	young.Endpoints = []*Endpoint{{Name: "new"}}
	got := Merge([]*Service{old, young, feedNodeOf("another", "z", "z:1")})
	if len(got) != 2 || got[0].Name != "another" || len(got[1].Nodes) != 2 {
		t.Fatalf("Merge returned %+v", got)
	}
	if g := got[1]; g.Nodes[0].Id != "a" || len(g.Endpoints) != 1 || len(old.Nodes) != 1 {
		t.Errorf("Merge returned nodes %v and endpoints %v", g.Nodes, g.Endpoints)
	}
}
