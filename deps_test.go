package micro_test

import (
	"fmt"
	"go/build/constraint"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/seed-9a4e2794/micro"

// house says which package of this module may import which. It is a statement
// of policy: a package that is not in it fails the test, so whoever adds one
// says on which floor it stands.
//
// "a, b < c, d" means that c may import a and b and what those may import, and
// so may d. Packages of one list do not import each other. A name in capitals
// is a floor, not a package. Names that do not exist yet are allowed: they keep
// a place. Only code is held to this, tests may import what they need.
//
// The idea and the notation are those of go/build/deps_test.go.
const house = `
	# The ground: headers, errors, encodings, and helpers that know nothing.
	NONE < internal/ctxkey, internal/leaktest, internal/stats, util/log;
	NONE < errors, codec;
	internal/ctxkey < metadata;
	metadata, errors, codec < GROUND;
	codec < codec/bytes, codec/json, codec/proto, codec/plain < CODECS;
	CODECS, errors < internal/codecs;

	# Contracts stand on the ground and not on each other.
	GROUND < registry, broker, transport < CONTRACTS;

	# A backend uses any contract and any encoding, and no other backend.
	CONTRACTS, CODECS, internal/ctxkey < BACKEND;
	BACKEND < registry/memory, registry/static, registry/local, registry/mdns, registry/dns < BACKENDS;
	BACKEND < broker/memory, broker/direct < BACKENDS;
	# The engine of the native wire, over a socket or over memory.
	transport, internal/ctxkey < internal/wire;
	BACKEND, internal/wire < transport/tcp, transport/memory < BACKENDS;
	# The engine of go-micro's wire, under every protocol over HTTP.
	BACKEND < internal/mucp;
	internal/mucp < transport/http;
	# One port for both.
	transport/tcp, transport/http < transport/port < BACKENDS;
	# Certificates for either side.
	transport < transport/credentials < BACKENDS;

	# What implementers of a contract test with.
	CODECS, internal/leaktest < KIT;
	KIT, registry < registry/registrytest;
	KIT, broker < broker/brokertest;
	KIT, transport < transport/transporttest;

	# The two ends of a call do not know each other.
	BACKENDS, internal/codecs, internal/stats < ENDS;
	ENDS < client/selector < client;
	ENDS < server, debug;

	# Wiring.
	client, server, debug < config/cmd;
	CONTRACTS < config/backend;
	config/cmd, config/backend, util/log < micro;

	# What is built of services.
	micro < web, api, dashboard;
	api < gateway;
	micro, internal/leaktest < microtest;
	# The programs that the README shows.
	client, server < internal/v1gen;
	micro < internal/readme/server, internal/readme/client, internal/readme/orders;
	web, gateway, dashboard < cmd/protoc-gen-micro;
`

// contractPages are the packages that import nothing but the standard library
// and what stands below them in this module.
var contractPages = []string{"metadata", "errors", "codec", "registry", "broker", "transport"}

func TestPackagesImportOnlyWhatStandsBelowThem(t *testing.T) {
	allowed, err := parseHouse(house)
	if err != nil {
		t.Fatal(err)
	}
	imports := readImports(t, os.DirFS("."))
	if len(imports) < len(contractPages) {
		t.Fatalf("found only the packages %v", slices.Sorted(maps.Keys(imports)))
	}
	for _, fault := range importFaults(allowed, imports) {
		t.Error(fault)
	}
}

// importFaults compares what packages import with what they may.
func importFaults(allowed, imports map[string]map[string]bool) []string {
	var faults []string
	for _, pkg := range slices.Sorted(maps.Keys(imports)) {
		may, listed := allowed[pkg]
		if !listed {
			faults = append(faults, fmt.Sprintf("%s is not in the table of deps_test.go: say there on which floor it stands", pkg))
			continue
		}
		for _, imp := range slices.Sorted(maps.Keys(imports[pkg])) {
			std := !strings.Contains(strings.Split(imp, "/")[0], ".")
			switch own, isOwn := ownName(imp); {
			case isOwn && !may[own]:
				faults = append(faults, fmt.Sprintf("%s imports %s, which does not stand below it", pkg, own))
			case !isOwn && !std && slices.Contains(contractPages, pkg):
				faults = append(faults, fmt.Sprintf("%s imports %s: a contract imports the standard library only", pkg, imp))
			case imp == "testing" && !strings.HasSuffix(pkg, "test"):
				faults = append(faults, fmt.Sprintf("%s imports testing: only packages for tests do", pkg))
			}
		}
	}
	return faults
}

// ownName returns the name that the table has for an import path of this
// module.
func ownName(imp string) (string, bool) {
	if imp == module {
		return "micro", true
	}
	return strings.CutPrefix(imp, module+"/")
}

// readImports returns the imports of the code of each package of this module,
// for all platforms at once: files are parsed, not built.
func readImports(t *testing.T, root fs.FS) map[string]map[string]bool {
	t.Helper()
	imports := make(map[string]map[string]bool)
	err := walkGo(root, func(name string, src []byte) error {
		if strings.HasSuffix(name, "_test.go") || inNestedModule(root, name) {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, src, parser.ImportsOnly|parser.ParseComments)
		if err != nil {
			return err
		}
		if len(file.Comments) > 0 && constraint.IsGoBuild(file.Comments[0].List[0].Text) &&
			strings.Contains(file.Comments[0].List[0].Text, "ignore") {
			return nil // a program to be run by hand, of no package
		}
		pkg := path.Dir(name)
		if pkg == "." {
			pkg = "micro"
		}
		if imports[pkg] == nil {
			imports[pkg] = make(map[string]bool)
		}
		for _, spec := range file.Imports {
			imp, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			imports[pkg][imp] = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return imports
}

// walkGo calls visit for each Go file that the go command would look at.
func walkGo(root fs.FS, visit func(name string, src []byte) error) error {
	return fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		base := path.Base(name)
		hidden := name != "." && (strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_"))
		if d.IsDir() {
			if hidden || base == "testdata" || base == "vendor" {
				return filepath.SkipDir
			}
			return nil
		}
		if hidden || path.Ext(name) != ".go" {
			return nil
		}
		src, err := fs.ReadFile(root, name)
		if err != nil {
			return err
		}
		return visit(name, src)
	})
}

// inNestedModule reports whether a folder between the root and the file has a
// go.mod of its own.
func inNestedModule(root fs.FS, name string) bool {
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		if _, err := fs.Stat(root, dir+"/go.mod"); err == nil {
			return true
		}
	}
	return false
}

// parseHouse returns for each name of the table the names that it may import.
func parseHouse(table string) (map[string]map[string]bool, error) {
	var text strings.Builder
	for line := range strings.Lines(table) {
		line, _, _ = strings.Cut(line, "#")
		text.WriteString(line + " ")
	}
	below := make(map[string][]string) // direct edges
	rules := strings.Split(text.String(), ";")
	if rest := strings.TrimSpace(rules[len(rules)-1]); rest != "" {
		return nil, fmt.Errorf("the rule %q does not end in a semicolon", rest)
	}
	for _, rule := range rules[:len(rules)-1] {
		var lower []string
		floors := strings.Split(rule, "<")
		if len(floors) < 2 {
			return nil, fmt.Errorf("the rule %q has no <", strings.TrimSpace(rule))
		}
		for i, floor := range floors {
			var names []string
			for name := range strings.SplitSeq(floor, ",") {
				name = strings.TrimSpace(name)
				if name == "" || strings.ContainsAny(name, " \t") {
					return nil, fmt.Errorf("the rule %q has the name %q", strings.TrimSpace(rule), name)
				}
				if i == 0 && name != "NONE" && below[name] == nil {
					return nil, fmt.Errorf("%s is used before it is placed", name)
				}
				names = append(names, name)
				if i > 0 {
					below[name] = append(below[name], lower...)
				}
			}
			lower = names
		}
	}
	allowed := make(map[string]map[string]bool)
	for name := range below {
		all := make(map[string]bool)
		for todo := slices.Clone(below[name]); len(todo) > 0; {
			next := todo[len(todo)-1]
			todo = todo[:len(todo)-1]
			if next == name {
				return nil, fmt.Errorf("%s stands below itself", name)
			}
			if !all[next] {
				all[next] = true
				todo = append(todo, below[next]...)
			}
		}
		if name != strings.ToUpper(name) {
			allowed[name] = all
		}
	}
	return allowed, nil
}

func TestImportFaultsAreFound(t *testing.T) {
	allowed, err := parseHouse(`
		NONE < errors; # the ground
		errors < registry, broker < CONTRACTS;
		CONTRACTS < registry/memory, registry/local < micro;`)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ pkg, imp, want string }{
		{"registry", "context", ""},
		{"registry", module + "/errors", ""},
		{"registry/memory", module + "/broker", ""},
		{"registry/memory", module + "/errors", ""},
		{"registry/memory", "example.org/vendor", ""},
		{"micro", module + "/errors", ""},
		{"registry", module + "/broker", "registry imports broker, which does not stand below it"},
		{"registry", module, "registry imports micro, which does not stand below it"},
		{"registry/memory", module + "/registry/local", "registry/memory imports registry/local, which does not stand below it"},
		{"micro", module + "/util", "micro imports util, which does not stand below it"},
		{"registry", "example.org/vendor", "registry imports example.org/vendor: a contract imports the standard library only"},
		{"micro", "testing", "micro imports testing: only packages for tests do"},
		{"util", "fmt", "util is not in the table of deps_test.go: say there on which floor it stands"},
	} {
		got := strings.Join(importFaults(allowed, map[string]map[string]bool{tt.pkg: {tt.imp: true}}), "; ")
		if got != tt.want {
			t.Errorf("%s with %s: %q, want %q", tt.pkg, tt.imp, got, tt.want)
		}
	}
	for _, table := range []string{
		"NONE < a", "a;", "NONE < a b;", "NONE < a,;", "a < b;", "NONE < a < b < a;", "NONE < a; a < a;",
	} {
		if _, err := parseHouse(table); err == nil {
			t.Errorf("the table %q was taken", table)
		}
	}
}
