package catalog

import (
	"fmt"
	"strings"
	"testing"

	"github.com/seed-9a4e2794/micro/registry"
)

func node(name, version, id string) *registry.Service {
	return &registry.Service{Name: name, Version: version, Nodes: []*registry.Node{{Id: id, Address: "127.0.0.1:1"}}}
}

func TestTheCatalogIsWhatTheWatcherHasTold(t *testing.T) {
	c := &Catalog{nodes: make(map[key]entry), named: make(map[key]bool), changed: make(chan struct{}), synced: make(chan struct{})}
	state := func() string {
		var out []string
		all, _ := c.Services()
		for _, s := range all {
			for _, n := range s.Nodes {
				out = append(out, fmt.Sprintf("%s/%s/%s", s.Name, s.Version, n.Id))
			}
		}
		return strings.Join(out, " ")
	}
	for i, step := range []struct {
		action  string
		service *registry.Service
		want    string
	}{
		{registry.Create, node("a", "1", "a1"), "a/1/a1"},
		{registry.Create, node("b", "1", "b1"), "a/1/a1 b/1/b1"},
		{registry.Sync, nil, "a/1/a1 b/1/b1"},
		{registry.Create, node("a", "1", "a2"), "a/1/a1 a/1/a2 b/1/b1"},
		{registry.Update, node("a", "2", "a1"), "a/1/a2 a/2/a1 b/1/b1"},
		{registry.Delete, node("a", "1", "a2"), "a/2/a1 b/1/b1"},
		{registry.Lost, nil, "a/2/a1 b/1/b1"}, // an outage takes nothing away
		{registry.Create, node("b", "1", "b1"), "a/2/a1 b/1/b1"},
		{registry.Sync, nil, "b/1/b1"},
		{registry.Sync, nil, "b/1/b1"},
	} {
		_, changed := c.Services()
		c.take(&registry.Result{Action: step.action, Service: step.service})
		if got := state(); got != step.want {
			t.Errorf("step %d, %s: %s, want %s", i, step.action, got, step.want)
		}
		select {
		case <-changed:
		default:
			if step.action != registry.Lost {
				t.Errorf("step %d, %s: nobody was told", i, step.action)
			}
		}
	}
}

func TestEndpointsAreThoseOfTheLatestNode(t *testing.T) {
	c := &Catalog{nodes: make(map[key]entry), named: make(map[key]bool), changed: make(chan struct{}), synced: make(chan struct{})}
	for i := range 20 {
		s := node("a", "1", fmt.Sprintf("n%02d", 20-i))
		s.Endpoints = []*registry.Endpoint{{Name: fmt.Sprintf("E.%d", i)}}
		c.take(&registry.Result{Action: registry.Create, Service: s})
		if got := c.Service("a")[0].Endpoints[0].Name; got != fmt.Sprintf("E.%d", i) {
			t.Fatalf("after node %d the endpoint is %s", i, got)
		}
	}
}
