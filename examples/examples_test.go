package examples_test

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/seed-9a4e2794/micro/broker/direct"
)

// build compiles the program of a folder.
func build(t *testing.T, folder string) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), strings.ReplaceAll(folder, "/", "-"))
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, "./"+folder).CombinedOutput(); err != nil {
		t.Fatalf("go build ./%s: %v\n%s", folder, err, out)
	}
	return program
}

// examples are the folders with programs, and the tests that run them.
func examples() map[string]func(t *testing.T, w *world) {
	return map[string]func(t *testing.T, w *world){
		"greeter":       greeter,
		"pubsub":        pubsub,
		"stream":        stream,
		"typed":         typed,
		"function":      function,
		"everyprotocol": everyProtocol,
		"wrapper":       wrapper,
	}
}

func TestEveryExampleDoesWhatItSays(t *testing.T) {
	for name, test := range examples() {
		t.Run(name, func(t *testing.T) { test(t, newWorld(t)) })
	}
}

func TestEveryProgramBelongsToAnExampleThatIsRunAndSaysHowToRunIt(t *testing.T) {
	programs := 0
	err := fs.WalkDir(os.DirFS("."), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.Name() != "main.go" {
			return err
		}
		programs++
		folder := filepath.ToSlash(filepath.Dir(name))
		example, _, _ := strings.Cut(folder, "/")
		if examples()[example] == nil {
			t.Errorf("%s is run by no test", name)
		}
		src, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		doc, _, _ := strings.Cut(string(src), "package main")
		if command := "\tgo run ./examples/" + folder + "\n"; !strings.Contains(doc, command) {
			t.Errorf("the comment of %s does not have the command%s", name, strings.TrimSuffix(command, "\n"))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if programs < len(examples()) {
		t.Errorf("found only %d programs", programs)
	}
}

// wants compares what a program has printed.
func wants(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("printed %q, want %q", got, want)
	}
}

func greeter(t *testing.T, w *world) {
	service := w.start(build(t, "greeter"))
	caller := build(t, "greeter/client")
	w.awaitNodes("greeter", 1)
	wants(t, w.start(caller).ends(), "Hello Ada")
	service.stops()
}

func pubsub(t *testing.T, w *world) {
	program := build(t, "pubsub")
	nodes := []*process{w.start(program), w.start(program)}
	publisher := build(t, "pubsub/publisher")
	w.awaitNodes("go.micro.srv.broker", 2)
	w.awaitNodes(direct.ServiceName, 2)
	wants(t, w.start(publisher).ends(), "published: hello 1", "published: hello 2", "published: hello 3")
	for _, n := range nodes {
		n.await("Broker.Handle received: hello 1", "Broker.Handle received: hello 2", "Broker.Handle received: hello 3",
			"Handler received: hello 1", "Handler received: hello 2", "Handler received: hello 3")
		n.stops()
		if got := n.printed(); len(got) != 6 {
			t.Errorf("a node received %q, want six lines", got)
		}
	}
}

func stream(t *testing.T, w *world) {
	service := w.start(build(t, "stream"))
	caller := build(t, "stream/client")
	w.awaitNodes("stats", 1)
	wants(t, w.start(caller).ends(), "count: 1", "count: 2", "count: 3", "sum: 10", "double: 2", "double: 4", "double: 6")
	service.stops()
}

func typed(t *testing.T, w *world) {
	service := w.start(build(t, "typed"))
	caller := build(t, "typed/client")
	w.awaitNodes("shop", 1)
	w.awaitNodes(direct.ServiceName, 1)
	wants(t, w.start(caller).ends(), "tea costs 350 cents", "404 there is no gold")
	service.await("ordered: tea")
	service.stops()
}

func function(t *testing.T, w *world) {
	service := w.start(build(t, "function"))
	caller := build(t, "function/client")
	w.awaitNodes("images", 1)
	wants(t, w.start(caller).ends(), "small-cat.png")
	wants(t, service.ends(), "resizing cat.png", "done") // by itself
}

func everyProtocol(t *testing.T, w *world) {
	service := w.start(build(t, "everyprotocol"))
	caller := build(t, "everyprotocol/client")
	w.awaitNodes("everyprotocol", 1)
	wants(t, w.start(caller).ends(), `JSON: "Hello Ada"`, `GET: "Hello Ada"`, "Connect: Hello Ada", "gRPC: Hello Ada", "gRPC-Web: Hello Ada")
	service.stops()
}

func wrapper(t *testing.T, w *world) {
	service := w.start(build(t, "wrapper"))
	caller := build(t, "wrapper/client")
	w.awaitNodes("wrapped.greeter", 1)
	w.awaitNodes(direct.ServiceName, 1)
	wants(t, w.start(caller).ends(),
		"calling: wrapped.greeter Greeter.Hello", "attempt at a node, failed: true", "turned away: 401",
		"calling: wrapped.greeter Greeter.Hello", "attempt at a node, failed: false", "Hello Ada")
	service.await("event of topic: greetings", "greeted: Ada")
	service.stops()
	wants(t, service.printed(), "called: Greeter.Hello failed", "called: Greeter.Hello", "event of topic: greetings", "greeted: Ada")
}
