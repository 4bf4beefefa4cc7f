package runner

import (
	"os"
	"path/filepath"
	"testing"
)

func TestProgressKnowsServicesByFolderAndByWhatTheyRegistered(t *testing.T) {
	p := &program{label: "b", given: "./shop", dir: "/src/shop/cmd"}
	g := new(Progress)
	check := func(want map[string]string) {
		t.Helper()
		for name, why := range want {
			if got := g.Of(name); got != why {
				t.Errorf("%s %q, want %q", name, got, why)
			}
		}
	}
	check(map[string]string{"shop": ""})
	g.set(p, building)
	check(map[string]string{"shop": "is being built", "cmd": "is being built", "orders": "", "mail": ""})
	g.set(p, running, "orders")
	check(map[string]string{"shop": "", "orders": "is restarting"}) // asked for what is not registered: it has just ended
	g.set(p, restarting)
	check(map[string]string{"shop": "is restarting", "orders": "is restarting", "mail": ""})
	g.set(p, broken)
	check(map[string]string{"orders": "does not build"})
	g.set(p, over)
	check(map[string]string{"orders": "has ended"})
	var nobody *Progress
	nobody.set(p, over) // must not panic
}

func TestErrorsOfTheCompilerNameFilesFromTheWorkingDirectory(t *testing.T) {
	t.Chdir(t.TempDir())
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(here, "examples", "greeter")
	for line, want := range map[string]string{
		"./main.go:28:16: undefined: x":      "examples/greeter/main.go:28:16: undefined: x",
		"../other/a.go:1:2: no":              "examples/other/a.go:1:2: no",
		"/usr/lib/go/a.go:1:2: no":           "/usr/lib/go/a.go:1:2: no",
		"\t./main.go:1:2: other declaration": "\texamples/greeter/main.go:1:2: other declaration",
		"go: updates to go.mod needed":       "go: updates to go.mod needed",
	} {
		if got := fromHere(dir, line); got != want {
			t.Errorf("%q became %q, want %q", line, got, want)
		}
	}
}

func TestSearchingPassesByWhatIsNotTheUsers(t *testing.T) {
	root := t.TempDir()
	for _, name := range []string{"go/pkg/mod/x@v1", ".cache/y", "closed/z", "mine"} {
		dir := filepath.Join(root, filepath.FromSlash(name))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "main.go"), []byte("package main\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want := 1
	if os.Getuid() == 0 { // who may read everything
		want = 2
	}
	closed := filepath.Join(root, "closed")
	if err := os.Chmod(closed, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Chmod(closed, 0o755) })
	mains, err := mainsBelow(root)
	if err != nil || len(mains) != want || mains[want-1] != filepath.Join(root, "mine") {
		t.Errorf("found %v, %v", mains, err)
	}
}
