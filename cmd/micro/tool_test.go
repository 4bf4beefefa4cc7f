package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/seed-9a4e2794/micro"
	"github.com/seed-9a4e2794/micro/internal/leaktest"
)

func TestHelpFitsOneScreenAndHasExamples(t *testing.T) {
	code, out, stderr := tryTool(t, "")
	if code != exitOK || stderr != "" {
		t.Errorf("bare micro: exit %d, stderr %q", code, stderr)
	}
	golden(t, "help", out)
	for _, args := range [][]string{{"--help"}, {"-h"}, {"help"}} {
		if _, again, _ := tryTool(t, "", args...); again != out {
			t.Errorf("micro %s prints something else than micro", args)
		}
	}
	tl := &tool{}
	for _, c := range []*command{tl.runCommand(), tl.listCommand(), tl.getCommand(), tl.healthCommand(), tl.statsCommand(), tl.callCommand(),
		tl.streamCommand(), tl.publishCommand(), tl.subscribeCommand(), tl.registerCommand(), tl.deregisterCommand(), tl.certCommand(), tl.versionCommand()} {
		t.Run(c.name, func(t *testing.T) {
			if len(c.examples) < 2 || len(c.examples) > 3 {
				t.Errorf("%d examples, not 2 or 3", len(c.examples))
			}
			code, out, stderr := tryTool(t, "", c.name, "--help")
			if code != exitOK || stderr != "" {
				t.Errorf("exit %d, stderr %q", code, stderr)
			}
			if n := strings.Count(out, "\n"); n > 24 {
				t.Errorf("%d lines, more than a screen", n)
			}
			for line := range strings.Lines(out) {
				if len(line) > 121 {
					t.Errorf("a line of %d bytes: %s", len(line)-1, line)
				}
			}
			golden(t, "help-"+c.name, out)
			for _, name := range append([]string{"help"}, c.aliases...) {
				args := []string{name, "--help"}
				if name == "help" {
					args = []string{"help", c.name}
				}
				if _, again, _ := tryTool(t, "", args...); again != out {
					t.Errorf("micro %s prints something else", strings.Join(args, " "))
				}
			}
		})
	}
}

func TestWhatFollowsTwoDashesIsNoHelp(t *testing.T) {
	for _, args := range [][]string{{"--"}, {"--", "list"}, {"--", "--help"}} {
		if code, out, stderr := tryTool(t, "", args...); code != exitOK && code != exitUsage || out+stderr == "" {
			t.Errorf("micro %q: exit %d, %q, %q", args, code, out, stderr)
		}
	}
}

func TestANodeThatDoesNotAnswerIsUnreachable(t *testing.T) {
	leaktest.Check(t)
	runtimeDir(t)
	l, err := net.Listen("tcp", "127.0.0.1:0") // the kernel accepts, and nobody says a word
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	record := fmt.Sprintf(`{"name":"frozen","version":"1","nodes":[{"id":"frozen-1","address":%q}]}`, l.Addr())
	if code, _, stderr := tryTool(t, "", "register", record); code != exitOK {
		t.Fatal(stderr)
	}
	for _, verb := range []string{"call", "stream"} {
		code, _, stderr := tryTool(t, "", verb, "frozen", "A.B", "--timeout", "300ms")
		if code != exitUnreachable || !strings.Contains(stderr, "no connection after") || !strings.HasSuffix(stderr, "\n  see who answers: micro health frozen\n") {
			t.Errorf("%s: exit %d\n%s", verb, code, stderr)
		}
	}
}

func TestReadsPrintTables(t *testing.T) {
	leaktest.Check(t)
	greeter(t, micro.Address("127.0.0.1:21311"))
	serve(t, func(s micro.Service) {
		if err := micro.RegisterSubscriber("orders.created", s.Server(), func(_ context.Context, _ *HelloRequest) error { return nil }); err != nil {
			t.Fatal(err)
		}
	}, micro.Name("mailer"), micro.Version("0.2.0"), micro.Address("127.0.0.1:21312"))
	for _, tt := range []struct {
		golden string
		args   []string
	}{
		{"list", []string{"list"}},
		{"list", []string{"services"}},
		{"list-json", []string{"list", "-o", "json"}},
		{"get", []string{"get", "greeter"}},
		{"get", []string{"describe", "greeter"}},
		{"get-subscriber", []string{"get", "mailer"}},
		{"get-json", []string{"get", "mailer", "-o", "json"}},
	} {
		code, out, stderr := tryTool(t, "", tt.args...)
		if code != exitOK || stderr != "" {
			t.Errorf("%s: exit %d, stderr %q", tt.args, code, stderr)
		}
		golden(t, tt.golden, out)
	}
}

func TestCallsSendWhatWasSaid(t *testing.T) {
	leaktest.Check(t)
	greeter(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "hello.json")
	if err := os.WriteFile(file, []byte(`{"name": "File"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		stdin string
		words []string
		want  HelloRequest
	}{
		{words: nil},
		{words: []string{`{"name":"Ada","age":36}`}, want: HelloRequest{Name: "Ada", Age: 36}},
		{words: []string{"name=Ada"}, want: HelloRequest{Name: "Ada"}},
		{words: []string{"NAME=Ada", "Address.CITY=Paris"}, want: HelloRequest{Name: "Ada", Address: Address{City: "Paris"}}},
		{words: []string{"name=Ada", "-o", "json", "--timeout", "30"}, want: HelloRequest{Name: "Ada"}},
		{words: []string{"name=36", "age=36", "loud=true"}, want: HelloRequest{Name: "36", Age: 36, Loud: true}},
		{words: []string{"name=a=b"}, want: HelloRequest{Name: "a=b"}},
		{words: []string{"name={"}, want: HelloRequest{Name: "{"}},
		{words: []string{"address.city=Paris"}, want: HelloRequest{Address: Address{City: "Paris"}}},
		{words: []string{`address={"city":"Paris"}`}, want: HelloRequest{Address: Address{City: "Paris"}}},
		{words: []string{"tags=a", "tags=b"}, want: HelloRequest{Tags: []string{"a", "b"}}},
		{words: []string{`tags=["a","b"]`}, want: HelloRequest{Tags: []string{"a", "b"}}},
		{words: []string{"labels.team=red", "labels.tier=1"}, want: HelloRequest{Labels: map[string]string{"team": "red", "tier": "1"}}},
		{words: []string{"@" + file}, want: HelloRequest{Name: "File"}},
		{words: []string{"-"}, stdin: `{"name":"Stdin"}`, want: HelloRequest{Name: "Stdin"}},
	} {
		for _, endpoint := range []string{"Greeter.Hello", "hello"} {
			code, out, stderr := tryTool(t, tt.stdin, append([]string{"call", "greeter", endpoint}, tt.words...)...)
			if code != exitOK || stderr != "" {
				t.Errorf("%q: exit %d, stderr %q", tt.words, code, stderr)
				continue
			}
			var rsp HelloResponse
			if err := json.Unmarshal([]byte(out), &rsp); err != nil || strings.Count(out, "\n") != 1 {
				t.Errorf("%q: stdout %q: %v", tt.words, out, err)
			}
			if got, want := fmt.Sprintf("%+v", rsp.Echo), fmt.Sprintf("%+v", tt.want); got != want {
				t.Errorf("%q was sent as %s, want %s", tt.words, got, want)
			}
		}
	}
}

func TestErrorsSayWhatWasSeenAndWhatToDo(t *testing.T) {
	leaktest.Check(t)
	greeter(t)
	for _, tt := range []struct {
		args []string
		code int
		want string // the beginning of stderr
	}{
		{[]string{"lst"}, 2, "error: no command \"lst\"\n  did you mean \"list\"?   available: run, list, "},
		{[]string{"help", "lst"}, 2, "error: no command \"lst\"\n"},
		{[]string{"list", "--outptu", "json"}, 2, "error: no flag --outptu\n  did you mean --output?   see micro list --help\n"},
		{[]string{"list", "-o", "yaml"}, 2, "error: no output format \"yaml\"\n  available: table, json\n"},
		{[]string{"list", "x"}, 2, "error: micro list takes no arguments, and was given \"x\"\n"},
		{[]string{"list", "--timeout", "soon"}, 2, "error: --timeout is \"soon\": want a time such as 500ms, 5s or 2m; a number alone is seconds\n  see micro list --help\n"},
		{[]string{"list", "--timeout", "0"}, 2, "error: --timeout is \"0\": want a time"},
		{[]string{"call", "greeter", "hello", "-o", "table"}, 2, "error: no output format \"table\"\n  available: json\n"},
		{[]string{"call", "greeter", "health"}, 3, "error: greeter 1.4.0 has no endpoint \"health\"\n  available: "},
		{[]string{"stream", "greeter", "chat", "name=Ada"}, 2, "error: name=Ada is not JSON: invalid character 'a' in literal null (expecting 'u')\n  each message is JSON, such as '{\"name\":\"Ada\"}'\n"},
		{[]string{"list", "--timeout"}, 2, "error: flag needs an argument: --timeout\n"},
		{[]string{"get"}, 2, "error: micro get takes SERVICE, and was given nothing\n  see micro get --help\n"},
		{[]string{"--registry", "etcdd", "list"}, 2, "error: no registry is called \"etcdd\" here (available: local, memory, static)"},
		{[]string{"get", "greter"}, 3, "error: no service \"greter\"\n  did you mean \"greeter\"?   available: greeter   (registry: local, 1 service, 0."},
		{[]string{"health", "zebra"}, 3, "error: no service \"zebra\"\n  available: greeter   (registry: local, 1 service, 0."},
		{[]string{"call", "greter", "hello"}, 3, "error: no service \"greter\"\n"},
		{[]string{"call", "greeter", "Helo"}, 3, "error: greeter 1.4.0 has no endpoint \"Helo\"\n  did you mean \"Greeter.Hello\"?   available: Greeter.Chat, Greeter.Hello\n"},
		{[]string{"call", "greeter", "hello", "nme=Ada"}, 2, "error: HelloRequest has no field \"nme\"\n  did you mean name (string)?   available: name string, age int, "},
		{[]string{"call", "greeter", "hello", "address.cty=x"}, 2, "error: Address has no field \"cty\"\n  did you mean city (string)?"},
		{[]string{"call", "greeter", "hello", "name.x=1"}, 2, "error: name is a string and has no fields\n"},
		{[]string{"call", "greeter", "hello", "age=old"}, 2, "error: age is a whole number (int), and \"old\" is none\n"},
		{[]string{"call", "greeter", "hello", "loud=maybe"}, 2, "error: loud is true or false, and \"maybe\" is none\n"},
		{[]string{"call", "greeter", "hello", "address=Paris"}, 2, "error: address is a Address, and \"Paris\" is none\n  give its fields as address.field=value, or as JSON   available: city string\n"},
		{[]string{"call", "greeter", "hello", "name=a", "name=b"}, 2, "error: name has been given twice\n"},
		{[]string{"call", "greeter", "hello", `{"name":`}, 2, "error: {\"name\": is not JSON: unexpected end of JSON input\n"},
		{[]string{"call", "greeter", "hello", "name=a", "b"}, 2, "error: \"b\" is no field\n"},
		{[]string{"call", "greeter", "hello", "@nowhere.json"}, 2, "error: open nowhere.json: no such file or directory\n"},
		{[]string{"call", "greeter", "hello", "--metadata", "x"}, 2, "error: --metadata is \"x\", not KEY=VALUE\n"},
		{[]string{"call", "greeter", "chat"}, 2, "error: Greeter.Chat is a stream\n  use: micro stream greeter Greeter.Chat\n"},
		{[]string{"stream", "greeter", "hello"}, 2, "error: Greeter.Hello is no stream\n  use: micro call greeter Greeter.Hello\n"},
		{[]string{"call", "greeter", "hello", "name=nobody"}, 64 + 5, "error: greeter Greeter.Hello: not_found: no such person\n"},
		{[]string{"call", "greeter", "hello", "name=plain"}, 64 + 2, "error: greeter Greeter.Hello: unknown: it did not work\n"},
		{[]string{"call", "greeter", "hello", "name=slow", "--timeout", "50ms"}, 64 + 4, "error: greeter Greeter.Hello: deadline_exceeded: "},
		{[]string{"call", "greeter", "hello", "--address", "127.0.0.1:1"}, 4, "error: greeter Greeter.Hello: 127.0.0.1:1 after "},
		{[]string{"deregister", "greeter", "greeter-x"}, 3, "error: greeter has no node \"greeter-x\"\n"},
		{[]string{"register", `{"name":"x"}`}, 2, "error: registry: service \"x\" has no node\n"},
		{[]string{"register", `{"nme":1`}, 2, "error: {\"nme\":1 is not JSON"},
		{[]string{"publish", "nobody.here", "a=1", "--require"}, 3, "error: nobody subscribes to \"nobody.here\": the event is gone\n  no topic has subscribers\n"},
	} {
		code, out, stderr := tryTool(t, "", tt.args...)
		if code != tt.code || !strings.HasPrefix(stderr, tt.want) {
			t.Errorf("micro %s: exit %d, want %d\n%swant:\n%s", strings.Join(tt.args, " "), code, tt.code, stderr, tt.want)
		}
		if out != "" {
			t.Errorf("micro %s: stdout %q", strings.Join(tt.args, " "), out)
		}
	}
}

func TestStreamsSendArgumentsOrLines(t *testing.T) {
	leaktest.Check(t)
	greeter(t)
	want := `{"message":"Hello Ada"}{"message":"Hello Bob"}`
	for _, tt := range []struct {
		stdin string
		words []string
	}{
		{words: []string{`{"name":"Ada"}`, `{"name":"Bob"}`}},
		{stdin: "{\"name\":\"Ada\"}\n\n{\"name\":\"Bob\"}"},
	} {
		code, out, stderr := tryTool(t, tt.stdin, append([]string{"stream", "greeter", "chat"}, tt.words...)...)
		var got strings.Builder
		for line := range strings.Lines(out) {
			var rsp struct {
				Message string `json:"message"`
			}
			if err := json.Unmarshal([]byte(line), &rsp); err != nil {
				t.Errorf("line %q: %v", line, err)
			}
			b, _ := json.Marshal(rsp)
			got.Write(b)
		}
		if code != exitOK || stderr != "" || got.String() != want {
			t.Errorf("exit %d, %q, stderr %q", code, got.String(), stderr)
		}
	}
	for _, tt := range []struct {
		stdin, want string
		code        int
	}{
		{`{"name":"nobody"}`, "error: greeter Greeter.Chat: not_found: no such person\n", 64 + 5},
		{`{"name"`, "error: {\"name\" is not JSON", 2},
	} {
		code, _, stderr := tryTool(t, tt.stdin, "stream", "greeter", "chat")
		if code != tt.code || !strings.HasPrefix(stderr, tt.want) {
			t.Errorf("%q: exit %d, stderr %q", tt.stdin, code, stderr)
		}
	}
}

func TestRecordsWithoutAnOwnerComeAndGo(t *testing.T) {
	leaktest.Check(t)
	runtimeDir(t)
	record := `{"name":"legacy","version":"1","nodes":[{"id":"legacy-1","address":"127.0.0.1:1"},{"id":"legacy-2","address":"127.0.0.1:2"}]}`
	nodes := func() []string {
		code, out, _ := tryTool(t, "", "get", "legacy", "-o", "json")
		if code == exitNotFound {
			return nil
		}
		var services []struct{ Nodes []struct{ ID string } }
		if err := json.Unmarshal([]byte(out), &services); err != nil {
			t.Fatal(err)
		}
		var ids []string
		for _, s := range services {
			for _, n := range s.Nodes {
				ids = append(ids, n.ID)
			}
		}
		return ids
	}
	do := func(stdin string, args ...string) {
		t.Helper()
		if code, out, stderr := tryTool(t, stdin, args...); code != exitOK || out != "" {
			t.Fatalf("micro %s: exit %d, stdout %q, stderr %q", args, code, out, stderr)
		}
	}
	do("", "register", record)
	if got := nodes(); !slices.Equal(got, []string{"legacy-1", "legacy-2"}) {
		t.Errorf("registered %v", got)
	}
	if code, out, stderr := tryTool(t, "", "health", "legacy"); code != exitUnhealthy || strings.Count(out, "unreachable") != 4 { // as the status and in the problem
		t.Errorf("health: exit %d\n%s%s", code, out, stderr)
	}
	if code, out, stderr := tryTool(t, "", "stats", "legacy"); code != exitUnreachable || stderr != "error: 2 of 2 nodes of legacy did not answer\n" {
		t.Errorf("stats: exit %d, %q", code, stderr)
	} else if lines := strings.Split(out, "\n"); len(lines) != 4 || !strings.HasSuffix(lines[0], "ERRORS   PROBLEM") ||
		strings.Index(lines[1], "Debug.Stats") < strings.Index(lines[0], "PROBLEM") {
		t.Errorf("stats printed\n%s", out)
	}
	do("", "deregister", "legacy", "legacy-1")
	if got := nodes(); !slices.Equal(got, []string{"legacy-2"}) {
		t.Errorf("left %v", got)
	}
	do("", "deregister", "legacy")
	if got := nodes(); got != nil {
		t.Errorf("left %v", got)
	}
	do("["+record+"]", "register", "-")
	do("", "deregister", record)
	if got := nodes(); got != nil {
		t.Errorf("left %v", got)
	}
}

func TestHealthAndStatsAskEachNode(t *testing.T) {
	leaktest.Check(t)
	greeter(t)
	for range 3 {
		if code, _, stderr := tryTool(t, "", "call", "greeter", "hello", "name=Ada"); code != exitOK {
			t.Fatal(stderr)
		}
	}
	tryTool(t, "", "call", "greeter", "hello", "name=plain")
	code, out, _ := tryTool(t, "", "health", "greeter")
	if fields := strings.Fields(out); code != exitOK || !slices.Contains(fields, "ok") || !slices.Contains(fields, "1.4.0") {
		t.Errorf("health: exit %d\n%s", code, out)
	}
	code, out, _ = tryTool(t, "", "health", "greeter", "-o", "json")
	var health []nodeHealth
	if err := json.Unmarshal([]byte(out), &health); err != nil || code != exitOK || len(health) != 1 || health[0].Status != "ok" || health[0].Version != "1.4.0" {
		t.Errorf("health: exit %d, %v\n%s", code, err, out)
	}
	code, out, _ = tryTool(t, "", "stats", "greeter", "-o", "json")
	var stats []nodeStats
	if err := json.Unmarshal([]byte(out), &stats); err != nil || code != exitOK || len(stats) != 1 {
		t.Fatalf("stats: exit %d, %v\n%s", code, err, out)
	}
	if s := stats[0].Stats; s.Requests != 4 || s.Errors != 1 || len(s.Endpoints) != 2 || s.Endpoints[1].Name != "Greeter.Hello" {
		t.Errorf("stats: %s", out)
	}
	if _, out, _ = tryTool(t, "", "stats", "greeter"); strings.Count(out, "\n") != 6 {
		t.Errorf("stats:\n%s", out)
	}
}

func TestVersionIsPrinted(t *testing.T) {
	code, out, _ := tryTool(t, "", "version", "-o", "json")
	var b build
	if err := json.Unmarshal([]byte(out), &b); err != nil || code != exitOK || b.Version == "" || !strings.HasPrefix(b.Go, "go") {
		t.Errorf("exit %d, %v: %s", code, err, out)
	}
	if _, out, _ := tryTool(t, "", "version"); !strings.HasPrefix(out, "micro "+b.Version+" ") {
		t.Errorf("%q", out)
	}
}
