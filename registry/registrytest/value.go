package registrytest

import (
	"strings"

	"github.com/seed-9a4e2794/micro/registry"
)

// valueCases are of what is handed in and out.
func valueCases() []testCase {
	return []testCase{
		{name: "caller may change what it registered", run: callerChanges,
			rule: "what a registry is given it copies or encodes before it returns"},
		{name: "what was returned does not change", run: returnedStays,
			rule: "what a registry returns is shared and immutable: a later change makes new values"},
		{name: "large record", run: large,
			rule: "a record of 256 KB, or of what the backend says it holds, comes back whole"},
		{name: "odd names", run: oddNames,
			rule: "service names and node ids may hold slashes, dots, spaces, any letters, and 200 characters, and do not collide"},
		{name: "record without a name or id is refused", run: refused,
			rule: "an empty service name, an empty node id, a nil node or no node at all is an error that says so"},
	}
}

func callerChanges(k *kit) {
	s := service("greeter", "1.0.0", "a")
	want := s.Clone()
	k.register(s)
	s.Name, s.Version = "changed", "changed"
	s.Metadata["team"] = "changed"
	s.Endpoints[0].Name = "changed"
	s.Endpoints[0].Metadata["stream"] = "changed"
	s.Endpoints[0].Request.Values[0].Name = "changed"
	s.Endpoints[0].Response.Type = "changed"
	s.Nodes[0].Id, s.Nodes[0].Address = "changed", "changed"
	s.Nodes[0].Metadata["protocol"] = "changed"
	k.holds("greeter", want)
	w := k.watch(k.life())
	w.synced(want)
}

func returnedStays(k *kit) {
	s := service("greeter", "1.0.0", "a")
	k.register(s)
	k.holds("greeter", s)
	got, err := k.GetService(k.ctx(), "greeter")
	if err != nil {
		k.broken("GetService: %v", err)
	}
	list, err := k.ListServices(k.ctx())
	if err != nil {
		k.broken("ListServices: %v", err)
	}
	gotBefore, listBefore := canon(got), canon(list)

	b := service("greeter", "1.0.0", "b")
	k.register(b)
	s.Nodes[0].Address = "127.0.0.1:9999"
	s.Endpoints = nil
	k.register(s)
	k.eventually(func() string {
		now, err := k.GetService(k.ctx(), "greeter")
		if err != nil {
			return err.Error()
		}
		if len(now) != 1 || len(now[0].Nodes) != 2 {
			return "GetService does not return the two nodes"
		}
		return ""
	})
	if now := canon(got); now != gotBefore {
		k.broken("what GetService had returned changed from\n\t%s\nto\n\t%s", cut(gotBefore), cut(now))
	}
	if now := canon(list); now != listBefore {
		k.broken("what ListServices had returned changed from\n\t%s\nto\n\t%s", cut(listBefore), cut(now))
	}
}

func large(k *kit) {
	s := service("greeter", "1.0.0", "a")
	const chunk = 1 << 10
	for i := 0; i*chunk < k.maxRecord; i++ {
		key := "k" + strings.Repeat("0", i%7) + string(rune('a'+i%26)) + strings.Repeat("x", i/26)
		s.Nodes[0].Metadata[key] = strings.Repeat("<\"v&>", chunk/5+1)[:min(chunk, k.maxRecord-i*chunk)]
	}
	w := k.watch(k.life())
	w.synced()
	k.register(s)
	k.holds("greeter", s)
	w.expect(registry.Create, s)
}

func oddNames(k *kit) {
	names := []string{
		"with/slash", "with/../dots", "/leading", "trailing/", "..", ".", "...", "with.dots.in.it", "with..two",
		"with space", " leading space", "trailing space ", "tab\tand\nnewline", "grüße", "名前", "🙂", "Case", "case",
		"%2F", "a%b", "*", ">", "a:b", "a|b", "a\\b", "a=b", "a,b;c", "a@b?c#d", "$SYS", "-dash", "~", "\"quoted\"", "'",
		"con", "nul.json", strings.Repeat("n", 200), strings.Repeat("ä", 200),
	}
	var taken []*registry.Service
	for _, name := range names {
		s := service(name, name, name)
		err := k.Register(k.ctx(), s)
		if err != nil {
			if k.strictName {
				continue
			}
			k.broken("Register of the name %q: %v", name, err)
		}
		taken = append(taken, s)
	}
	for _, s := range taken {
		k.holds(s.Name, s)
	}
	k.eventually(func() string { return k.listDiffers(taken) })
	k.watch(k.life()).synced(taken...)
	for i, s := range taken {
		k.deregister(s)
		k.holds(s.Name)
		if i+1 < len(taken) {
			k.holds(taken[i+1].Name, taken[i+1])
		}
	}
}

func refused(k *kit) {
	good := service("greeter", "1.0.0", "a")
	for _, c := range []struct {
		what, word string
		change     func(s *registry.Service)
	}{
		{"an empty service name", "name", func(s *registry.Service) { s.Name = "" }},
		{"an empty node id", "id", func(s *registry.Service) { s.Nodes[0].Id = "" }},
		{"a nil node", "node", func(s *registry.Service) { s.Nodes[0] = nil }},
		{"no node", "node", func(s *registry.Service) { s.Nodes = nil }},
	} {
		s := good.Clone()
		c.change(s)
		err := k.Register(k.ctx(), s)
		if err == nil {
			k.broken("Register of %s returned no error", c.what)
		}
		if !strings.Contains(err.Error(), c.word) {
			k.broken("Register of %s returned %q, which does not speak of the %s", c.what, err, c.word)
		}
	}
	if err := k.Register(k.ctx(), nil); err == nil {
		k.broken("Register of no service returned no error")
	}
	if wrong := k.listDiffers(nil); wrong != "" {
		k.broken("%s", wrong)
	}
}
