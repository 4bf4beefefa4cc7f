package selector

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"testing"

	"github.com/seed-9a4e2794/micro/internal/leaktest"
	"github.com/seed-9a4e2794/micro/registry"
	"github.com/seed-9a4e2794/micro/registry/memory"
	"github.com/seed-9a4e2794/micro/transport"
)

// fleet has two versions, of which only the second answers Greeter.Bye.
func fleet() []*registry.Service {
	one, two := version("1", "a", "b"), version("2", "c", "d", "e")
	one.Endpoints = []*registry.Endpoint{{Name: "Greeter.Hello"}}
	two.Endpoints = []*registry.Endpoint{nil, {Name: "Greeter.Hello"}, {Name: "Greeter.Bye"}}
	two.Nodes[0].Metadata = map[string]string{"zone": "x", "empty": ""}
	one.Nodes[0].Metadata = map[string]string{"zone": "x"}
	return []*registry.Service{one, two}
}

func ids(services []*registry.Service) string {
	s := ""
	for _, n := range flatten(services) {
		s += n.Id
	}
	return s
}

func TestFiltersKeepWhatMatchesAndChangeNothing(t *testing.T) {
	for _, c := range []struct {
		name   string
		filter Filter
		want   string
	}{
		{"endpoint of all", FilterEndpoint("Greeter.Hello"), "abcde"},
		{"endpoint of one", FilterEndpoint("Greeter.Bye"), "cde"},
		{"endpoint of none", FilterEndpoint("Greeter"), ""},
		{"version", FilterVersion("1"), "ab"},
		{"version of none", FilterVersion(""), ""},
		{"label", FilterLabel("zone", "x"), "ac"},
		{"label of none", FilterLabel("zone", "y"), ""},
		{"label with an empty value is not a missing one", FilterLabel("empty", ""), "c"},
	} {
		in := fleet()
		if got := ids(c.filter(in)); got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
		if !reflect.DeepEqual(in, fleet()) {
			t.Errorf("%s: the filter has changed what it was given", c.name)
		}
	}
}

func TestStrategiesWithoutNodesSayNoneAvailable(t *testing.T) {
	for name, s := range map[string]Strategy{"random": Random, "round robin": RoundRobin, "new round robin": NewRoundRobin()} {
		for _, in := range [][]*registry.Service{nil, {{Name: "greeter"}}} {
			if n, err := s(in)(); n != nil || !errors.Is(err, ErrNoneAvailable) {
				t.Errorf("%s: got %v, %v", name, n, err)
			}
		}
	}
}

func TestRandomPicksAllAlike(t *testing.T) {
	got := make(map[string]int)
	next := Random(fleet())
	for range 5000 {
		n, _ := next()
		got[n.Id]++
	}
	for id, n := range got {
		if n < 850 || n > 1150 || len(got) != 5 {
			t.Fatalf("node %q: %v", id, got)
		}
	}
}

func TestRoundRobinTakesTurnsWithinOneNextAndBeginsAnywhere(t *testing.T) {
	begins := make(map[string]bool)
	for range 200 {
		next := RoundRobin(fleet())
		first, _ := next()
		begins[first.Id] = true
		seen := map[string]bool{first.Id: true}
		for range 4 {
			n, _ := next()
			seen[n.Id] = true
		}
		if again, _ := next(); len(seen) != 5 || again != first {
			t.Fatalf("five turns gave %v, the sixth %q after %q", seen, again.Id, first.Id)
		}
	}
	if len(begins) != 5 {
		t.Fatalf("200 began only at %v", begins)
	}
}

func TestNewRoundRobinRotatesAcrossCallsFiltersAndEjections(t *testing.T) {
	leaktest.Check(t)
	r := memory.New()
	for _, s := range fleet() {
		for i, e := range s.Endpoints {
			if e == nil {
				s.Endpoints = append(s.Endpoints[:i:i], s.Endpoints[i+1:]...)
			}
		}
		register(t, r, s)
	}
	w := quiet(t, r, NewRoundRobin())
	rotate := func(n int, next func() *registry.Node) {
		t.Helper()
		var first []string
		for i := range 4 * n {
			id := next().Id
			if i < n {
				for _, before := range first {
					if before == id {
						t.Fatalf("%q twice within %d calls: %v", id, n, first)
					}
				}
				first = append(first, id)
			} else if first[i%n] != id {
				t.Fatalf("call %d got %q, want %q of %v", i, id, first[i%n], first)
			}
		}
	}
	pickOne := func() *registry.Node {
		c := pick(t, w, nil)
		c.Done(0, nil)
		return c.Node
	}
	selectOne := func(opts ...SelectOption) func() *registry.Node {
		return func() *registry.Node {
			next, err := w.Select(t.Context(), "greeter", opts...)
			if err != nil {
				t.Fatal(err)
			}
			n, err := next()
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	rotate(5, pickOne)
	rotate(5, selectOne())
	rotate(3, selectOne(WithFilter(FilterVersion("2"))))

	// Two callers with different filters take turns at calling; one counter
	// for both would give the second the same node each time.
	got := make(map[string]int)
	for range 20 {
		got[selectOne(WithFilter(FilterVersion("2")))().Id]++
		got[selectOne(WithFilter(FilterVersion("1")))().Id]++
	}
	if got["a"] != 10 || got["b"] != 10 {
		t.Fatalf("got %v", got)
	}
	w.Mark("greeter", version("2", "d").Nodes[0], transport.ErrLost)
	if err := r.Deregister(t.Context(), version("2", "d")); err != nil { // so that time changes nothing
		t.Fatal(err)
	}
	for w.of(t, "greeter", "d") {
	}
	rotate(4, pickOne)
}

// of reports whether the node is known now.
func (w *Watching) of(t *testing.T, service, id string) bool {
	s, err := w.snapshot(t.Context(), service)
	if err != nil {
		t.Fatal(err)
	}
	return s.byID[id] != nil
}

func TestNewRoundRobinForgetsNodesThatAreGone(t *testing.T) {
	tr := &turn{last: make(map[string]uint64)}
	for i := range 10_000 {
		tr.next(version("1", "stays", fmt.Sprint(i)).Nodes)
	}
	if n := len(tr.last); n > 4*2+64 {
		t.Fatalf("%d nodes are remembered", n)
	}
	if tr.last["stays"] == 0 {
		t.Fatal("a node in use was forgotten")
	}
}

func TestSelectAppliesFiltersAndStrategyAndRepeats(t *testing.T) {
	leaktest.Check(t)
	w, r := three(t, nil)
	register(t, r, version("2", "d", "e"))
	for !w.of(t, "greeter", "e") {
	}
	next, err := w.Select(t.Context(), "greeter", WithFilter(FilterVersion("2"), FilterVersion("2")))
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]int)
	for range 200 {
		n, err := next()
		if err != nil {
			t.Fatal(err)
		}
		got[n.Id]++
	}
	if got["d"] < 50 || got["e"] < 50 || len(got) != 2 {
		t.Fatalf("got %v", got)
	}
	if _, err := w.Select(t.Context(), "greeter", WithFilter(FilterVersion("3"))); !errors.Is(err, ErrNoneAvailable) || errors.Is(err, ErrNotFound) {
		t.Fatalf("want none available, got %v", err)
	}
	var saw string
	last := func(s []*registry.Service) Next {
		saw = ids(s)
		return func() (*registry.Node, error) { return s[len(s)-1].Nodes[0], nil }
	}
	w.Mark("greeter", greeter("a").Nodes[0], transport.ErrLost)
	next, err = w.Select(t.Context(), "greeter", WithStrategy(last))
	if err != nil {
		t.Fatal(err)
	}
	if n, err := next(); err != nil || n.Id != "d" || saw != "bcde" {
		t.Fatalf("got %v, %v; the strategy saw %q, want the healthy nodes, sorted", n, err, saw)
	}
}

func TestPickWithCountsCallsUnderWayWithinTheFilter(t *testing.T) {
	leaktest.Check(t)
	w, r := three(t, nil)
	register(t, r, version("2", "d", "e"))
	for !w.of(t, "greeter", "e") {
	}
	got := make(map[string]int)
	for range 100 {
		c, err := w.PickWith(context.Background(), "greeter", nil, WithFilter(FilterVersion("2")))
		if err != nil {
			t.Fatal(err)
		}
		got[c.Node.Id]++
	}
	if got["d"] != 50 || got["e"] != 50 {
		t.Fatalf("calls under way: %v", got)
	}
	own := func([]*registry.Service) Next {
		return func() (*registry.Node, error) { return &registry.Node{Id: "own"}, nil }
	}
	c, err := w.PickWith(context.Background(), "greeter", nil, WithStrategy(own))
	if err != nil || c.Node.Id != "own" {
		t.Fatalf("got %v, %v", c.Node, err)
	}
	c.Done(0, transport.ErrLost) // of a node that nobody knows: does nothing
	none := func([]*registry.Service) Next { return func() (*registry.Node, error) { return nil, nil } }
	if _, err := w.PickWith(context.Background(), "greeter", nil, WithStrategy(none)); !errors.Is(err, ErrNoneAvailable) {
		t.Fatalf("got %v", err)
	}
}

func TestVersionsWithDifferentEndpointsAreKeptApart(t *testing.T) {
	leaktest.Check(t)
	r := memory.New()
	for i, endpoints := range [][]*registry.Endpoint{{{Name: "Greeter.Hello"}}, {{Name: "Greeter.Hello"}, {Name: "Greeter.Bye"}}} {
		for j := range 2 {
			s := version("1", fmt.Sprint(i, j))
			s.Endpoints = endpoints
			register(t, r, s)
		}
	}
	w := quiet(t, r, nil)
	for range 100 {
		c, err := w.PickWith(t.Context(), "greeter", nil, WithFilter(FilterEndpoint("Greeter.Bye")))
		if err != nil || c.Node.Id[0] != '1' {
			t.Fatalf("got %v, %v", c.Node, err)
		}
		c.Done(0, nil)
	}
	s, err := w.snapshot(t.Context(), "greeter")
	if err != nil || len(s.services) != 2 {
		t.Fatalf("want two services, one a set of endpoints, got %d", len(s.services))
	}
}
