package static

import (
	"context"
	"strings"
	"testing"

	"github.com/seed-9a4e2794/micro/internal/leaktest"
	"github.com/seed-9a4e2794/micro/registry"
	"github.com/seed-9a4e2794/micro/registry/registrytest"
)

const sample = "greeter=127.0.0.1:9000,127.0.0.1:9001?protocol=grpc;greeter@v2=127.0.0.1:9002;orders=[::1]:9000"

func TestConformance(t *testing.T) {
	services, err := Parse(sample)
	if err != nil {
		t.Fatal(err)
	}
	registrytest.Run(t, func(t *testing.T) registry.Registry {
		r, err := New(Config{Services: services})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}, registrytest.ReadOnly(services...))
}

func TestConfigMayBeChangedAfterNew(t *testing.T) {
	s := &registry.Service{Name: "greeter", Nodes: []*registry.Node{{Address: "127.0.0.1:1"}}}
	r, err := New(Config{Services: []*registry.Service{s}})
	if err != nil {
		t.Fatal(err)
	}
	if s.Nodes[0].Id != "" {
		t.Error("New changed the configuration it was given")
	}
	s.Nodes[0].Address = "changed"
	got, err := r.GetService(context.Background(), "greeter")
	if err != nil {
		t.Fatal(err)
	}
	if n := got[0].Nodes[0]; n.Address != "127.0.0.1:1" || n.Id != "127.0.0.1:1" {
		t.Errorf("the node is %+v, want id and address 127.0.0.1:1", n)
	}
}

func TestNewRefusesWhatCannotBeServed(t *testing.T) {
	node := func(id, address string) *registry.Node { return &registry.Node{Id: id, Address: address} }
	for name, s := range map[string][]*registry.Service{
		"nil":       {nil},
		"name":      {{Nodes: []*registry.Node{node("a", "h:1")}}},
		"has no no": {{Name: "greeter"}},
		"is nil":    {{Name: "greeter", Nodes: []*registry.Node{nil}}},
		"address":   {{Name: "greeter", Nodes: []*registry.Node{node("a", "")}}},
		"twice": {{Name: "greeter", Version: "1", Nodes: []*registry.Node{node("a", "h:1")}},
			{Name: "greeter", Version: "2", Nodes: []*registry.Node{node("a", "h:2")}}},
	} {
		_, err := New(Config{Services: s})
		if err == nil {
			t.Errorf("%s: New returned no error", name)
		} else if name != "nil" && !strings.Contains(err.Error(), name) {
			t.Errorf("New returned %q, which does not say %q", err, name)
		}
	}
}

func TestParseReadsTheGrammar(t *testing.T) {
	leaktest.Check(t)
	type want struct{ name, version, id, address, key, value string }
	for text, w := range map[string]want{
		"greeter=127.0.0.1:9000":                        {"greeter", "", "127.0.0.1:9000", "127.0.0.1:9000", "", ""},
		" greeter@v2 = host:1 ":                         {"greeter", "v2", "host:1", "host:1", "", ""},
		"go.micro.srv.greeter=h:1?protocol=grpc":        {"go.micro.srv.greeter", "", "h:1", "h:1", "protocol", "grpc"},
		"greeter=[::1]:9000":                            {"greeter", "", "[::1]:9000", "[::1]:9000", "", ""},
		"greeter=h:1?id=one&zone=a%2Cb+c":               {"greeter", "", "one", "h:1", "zone", "a,b c"},
		"a%3Db%3B@v%401=h:1":                            {"a=b;", "v@1", "h:1", "h:1", "", ""},
		";;\n greeter=h:1 \r\n;":                        {"greeter", "", "h:1", "h:1", "", ""},
		"greeter@=h:1":                                  {"greeter", "", "h:1", "h:1", "", ""},
		"gr%C3%BC%C3%9Fe=h:1?k=%3D":                     {"grüße", "", "h:1", "h:1", "k", "="},
		"greeter=h:65535?empty=":                        {"greeter", "", "h:65535", "h:65535", "empty", ""},
		"greeter@2024-01-01T00:00:00+02:00=h:1?a=b@c=d": {"greeter", "2024-01-01T00:00:00+02:00", "h:1", "h:1", "a", "b@c=d"},
	} {
		got, err := Parse(text)
		if err != nil {
			t.Errorf("Parse(%q): %v", text, err)
			continue
		}
		if len(got) != 1 || len(got[0].Nodes) != 1 {
			t.Errorf("Parse(%q) returned %d services", text, len(got))
			continue
		}
		n := got[0].Nodes[0]
		if g := (want{got[0].Name, got[0].Version, n.Id, n.Address, w.key, n.Metadata[w.key]}); g != w {
			t.Errorf("Parse(%q) returned %+v, want %+v", text, g, w)
		}
	}
	if got, err := Parse(" ; \n"); err != nil || len(got) != 0 {
		t.Errorf("Parse of nothing returned %v and error %v", got, err)
	}
}

func TestParseSaysWhatIsWrong(t *testing.T) {
	for text, word := range map[string]string{
		"greeter":                  "name=host:port",
		"=h:1":                     "no name",
		"@v1=h:1":                  "no name",
		"greeter=":                 "host:port",
		"greeter=h":                "host:port",
		"greeter=:1":               "no host",
		"greeter=h:0":              "port",
		"greeter=h:65536":          "port",
		"greeter=h:http":           "port",
		"greeter=h:1,":             "host:port",
		"greeter=h:1?protocol":     "key=value",
		"greeter=h:1?=grpc":        "no key",
		"greeter=h:1?a=1&a=2":      "twice",
		"greeter=h:1?id=a&id=b":    "twice",
		"greeter=h:1?id=":          "id is empty",
		"gree%ter=h:1":             "%te",
		"gree%fFter=h:1":           "UTF-8",
		"greeter=h:1?k=%ff":        "UTF-8",
		"greeter=http://h:1":       "host:port",
		strings.Repeat("x", 1<<21): "bytes",
		"greeter=h:1" + strings.Repeat(",h:1", maxNodes): "nodes",
		strings.Repeat("g=h:1;", maxNodes+1):             "nodes",
	} {
		_, err := Parse(text)
		if err == nil {
			t.Errorf("Parse(%q) returned no error", clip(text))
		} else if !strings.Contains(err.Error(), word) {
			t.Errorf("Parse(%q) returned %q, which does not say %q", clip(text), err, word)
		} else if len(err.Error()) > 1000 {
			t.Errorf("Parse(%q) returned an error of %d bytes", clip(text), len(err.Error()))
		}
	}
}

// What Parse takes can be served and has whole nodes; nothing makes it panic.
func FuzzParse(f *testing.F) {
	f.Add(sample)
	f.Add("a%3Db%3B@v%401=h:1?id=x&k=%2C+v;b=[::1%25eth0]:9,h:2")
	f.Add("=;@=,?&%")
	f.Fuzz(func(t *testing.T, text string) {
		services, err := Parse(text)
		if err != nil {
			return
		}
		for _, s := range services {
			if err := registry.Check(s); err != nil {
				t.Fatalf("Parse(%q) returned what Check refuses: %v", text, err)
			}
			for _, n := range s.Nodes {
				if n.Address == "" || strings.ContainsAny(n.Address, ",;?") {
					t.Fatalf("Parse(%q) returned the address %q", text, n.Address)
				}
			}
		}
		if _, err := New(Config{Services: services}); err != nil && !strings.Contains(err.Error(), "twice") {
			t.Fatalf("New refuses what Parse(%q) returned: %v", text, err)
		}
	})
}
