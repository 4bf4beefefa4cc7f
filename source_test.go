package micro_test

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// allowedVars are the package variables that are neither an error sentinel, an
// interface guard nor an embedded file, each with the reason why it may be
// there. Nothing assigns to them.
var allowedVars = map[string]string{
	"codec/plain.schemas":        "a cache with an entry per type",
	"errors.codeNames":           "a table; Go has no constant arrays",
	"internal/codecs.pairs":      "a cache with an entry per pair of types",
	"internal/wire.allowedFlags": "a table; Go has no constant arrays",
	"internal/wire.assumed":      "a constant; Go has no constant structs",
	"internal/wire.pools":        "pools of plain buffers, which any connection may use",

	"transport/http.bodies":         "a pool of plain buffers",
	"transport/http.unsent":         "a table; Go has no constant arrays",
	"transport/transporttest.cases": "the conformance suite; a table",
}

// sleepers are the packages whose tests may sleep.
var sleepers = map[string]string{
	"internal/leaktest": "polls the scheduler, which tells nobody when a goroutine has gone",
}

func TestNothingHappensOnImportAndTestsDoNotSleep(t *testing.T) {
	seen := make(map[string]bool)
	files := 0
	err := walkGo(os.DirFS("."), func(name string, src []byte) error {
		file, err := parser.ParseFile(token.NewFileSet(), name, src, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		if ast.IsGenerated(file) {
			return nil
		}
		files++
		for _, fault := range sourceFaults(name, file, seen) {
			t.Error(fault)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files == 0 {
		t.Fatal("no Go files found")
	}
	for name := range allowedVars {
		if !seen[name] {
			t.Errorf("the variable %s is allowed in source_test.go and does not exist", name)
		}
	}
}

// sourceFaults returns what is wrong with one file, and adds the variables that
// it found allowed to seen.
func sourceFaults(name string, file *ast.File, seen map[string]bool) []string {
	var faults []string
	dir := path.Dir(name)
	isTest := strings.HasSuffix(name, "_test.go")
	if isTest || strings.HasSuffix(dir, "test") {
		if sleepers[dir] == "" && callsSleep(file) {
			faults = append(faults, fmt.Sprintf("%s: time.Sleep in a test: use testing/synctest, a channel, or poll with a deadline", name))
		}
	}
	if isTest {
		return faults
	}
	for _, decl := range file.Decls {
		switch d := decl.(type) {
		case *ast.FuncDecl:
			if d.Recv == nil && d.Name.Name == "init" {
				faults = append(faults, fmt.Sprintf("%s: func init: nothing happens on import", name))
			}
		case *ast.GenDecl:
			if d.Tok != token.VAR {
				continue
			}
			for _, s := range d.Specs {
				spec := s.(*ast.ValueSpec)
				for i, id := range spec.Names {
					full := dir + "." + id.Name
					switch {
					case id.Name == "_", isSentinel(id.Name, spec, i), isEmbed(d.Doc), isEmbed(spec.Doc):
					case allowedVars[full] != "":
						seen[full] = true
					default:
						faults = append(faults, fmt.Sprintf("%s: package variable %s: make it a constant, a function or a field, "+
							"or give its reason in source_test.go", name, full))
					}
				}
			}
		}
	}
	return faults
}

// isSentinel reports whether a variable is an error value: named as one and
// made by fmt.Errorf or one of the functions that make errors.
func isSentinel(name string, spec *ast.ValueSpec, i int) bool {
	if !strings.HasPrefix(name, "Err") && !strings.HasPrefix(name, "err") || i >= len(spec.Values) {
		return false
	}
	call, ok := spec.Values[i].(*ast.CallExpr)
	if !ok {
		return false
	}
	sel, ok := call.Fun.(*ast.SelectorExpr)
	return ok && slices.Contains([]string{"New", "Errorf", "NewCode", "Refuse"}, sel.Sel.Name)
}

func isEmbed(doc *ast.CommentGroup) bool {
	return doc != nil && slices.ContainsFunc(doc.List, func(c *ast.Comment) bool { return strings.HasPrefix(c.Text, "//go:embed ") })
}

func callsSleep(file *ast.File) bool {
	name := ""
	for _, imp := range file.Imports {
		if imp.Path.Value == `"time"` {
			name = "time"
			if imp.Name != nil {
				name = imp.Name.Name
			}
		}
	}
	found := false
	ast.Inspect(file, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok && sel.Sel.Name == "Sleep" {
			if id, ok := sel.X.(*ast.Ident); ok && name != "" && id.Name == name {
				found = true
			}
		}
		return !found
	})
	return found
}

func TestSourceFaultsAreFound(t *testing.T) {
	for _, tt := range []struct {
		name, src string
		want      int
	}{
		{"a/a.go", `func init() {}`, 1},
		{"a/a.go", `type T int; func (T) init() {}`, 0},
		{"a/a.go", `var n int`, 1},
		{"a/a.go", `var n, m = 1, 2`, 2},
		{"a/a.go", `var _ error = T{}`, 0},
		{"a/a.go", `var ErrX = errors.New("x"); var errY = fmt.Errorf("y: %w", ErrX)`, 0},
		{"a/a.go", `var ErrX error`, 1},
		{"a/a.go", `var ErrCount = 3`, 1},
		{"a/a.go", `var oops = errors.New("x")`, 1},
		{"a/a.go", "//go:embed x\nvar assets embed.FS", 0},
		{"a/a.go", `const c = 1; func f() { var local int; _ = local }`, 0},
		{"errors/code.go", `var codeNames = 1`, 0},
		{"a/a_test.go", `var update = flag.Bool("update", false, ""); func init() {}`, 0},
		{"a/a.go", `import "time"; func f() { time.Sleep(1) }`, 0},
		{"a/a_test.go", `import "time"; func f() { time.Sleep(1) }`, 1},
		{"a/a_test.go", `import "time"; func f() { g(time.Sleep) }`, 1},
		{"a/a_test.go", `import clock "time"; func f() { clock.Sleep(1) }`, 1},
		{"a/a_test.go", `import "time"; func f() { time.After(1) }`, 0},
		{"a/atest/a.go", `import "time"; func f() { time.Sleep(1) }`, 1},
		{"internal/leaktest/a.go", `import "time"; func f() { time.Sleep(1) }`, 0},
	} {
		file, err := parser.ParseFile(token.NewFileSet(), tt.name, "package a\n"+tt.src, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		if got := sourceFaults(tt.name, file, make(map[string]bool)); len(got) != tt.want {
			t.Errorf("%s, %s: %d faults %q, want %d", tt.name, tt.src, len(got), got, tt.want)
		}
	}
}

// foreignPaths matches paths of the machines that this tree was made on. It is
// put together so that it does not match itself.
var foreignPaths = regexp.MustCompile(`(?m)(?:^|[\s"'` + "`" + `(=:,])/` + `work(?:/|$|[\s"'` + "`" + `):,])`)

func TestNoFileNamesAMachinesOwnPaths(t *testing.T) {
	root := os.DirFS(".")
	files := 0
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name == ".git" {
				return filepath.SkipDir
			}
			return nil
		}
		if !d.Type().IsRegular() {
			return nil
		}
		text, err := fs.ReadFile(root, name)
		if err != nil {
			return err
		}
		if bytes.IndexByte(text, 0) >= 0 {
			return nil // not text
		}
		files++
		for _, at := range foreignPaths.FindAllIndex(text, -1) {
			line := 1 + bytes.Count(text[:at[0]], []byte("\n"))
			t.Errorf("%s:%d: %q is a path of one machine", name, line, text[at[0]:at[1]])
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files == 0 {
		t.Fatal("no files found")
	}
	dir := "/" + "work"
	for text, want := range map[string]bool{
		"cd " + dir: true, dir + "/main": true, "`" + dir + "/x`": true, `dir="` + dir + `"`: true,
		"go.work": false, "POST " + dir + "ers": false, "a" + dir + "/b": false, "https://example.org" + dir: false,
	} {
		if foreignPaths.MatchString(text) != want {
			t.Errorf("the pattern says %t of %q", !want, text)
		}
	}
}
