package micro_test

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write deps.txt anew")

// maxRootModules is how many modules of others the root may compile in.
const maxRootModules = 10

// platforms are those whose dependencies count: what is compiled in on any of
// them is listed.
var platforms = [][2]string{{"linux", "amd64"}, {"darwin", "arm64"}, {"windows", "amd64"}}

func TestDepsTxt(t *testing.T) {
	var text strings.Builder
	text.WriteString("# The modules of others that are compiled in, on any of " + platformNames() + ".\n" +
		"# Written by: go test -run TestDepsTxt -update .\n")

	root := thirdParty(t, ".", "./...")
	if len(root) > maxRootModules {
		t.Errorf("the root compiles in %d modules of others, more than %d: %s", len(root), maxRootModules, strings.Join(root, " "))
	}
	section(&text, module+"/...", root)
	for _, dir := range workModules(t) {
		for _, pkg := range mains(t, dir) {
			section(&text, strings.TrimPrefix(pkg, module+"/"), thirdParty(t, dir, pkg))
		}
	}

	if *update {
		if err := os.WriteFile("deps.txt", []byte(text.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	have, err := os.ReadFile("deps.txt")
	if err != nil {
		t.Fatal(err)
	}
	if string(have) != text.String() {
		t.Errorf("deps.txt is not what is compiled in now; if that is meant, run make deps. It would be:\n%s", text.String())
	}
}

func section(text *strings.Builder, title string, modules []string) {
	fmt.Fprintf(text, "\n%s\n", title)
	for _, m := range modules {
		fmt.Fprintf(text, "\t%s\n", m)
	}
}

func platformNames() string {
	var names []string
	for _, p := range platforms {
		names = append(names, p[0]+"/"+p[1])
	}
	return strings.Join(names, ", ")
}

// workModules returns the folders of the modules in go.work. A copy of the root
// module alone, as the module cache has it, skips the test: the others are not
// there.
func workModules(t *testing.T) []string {
	t.Helper()
	var work struct{ Use []struct{ DiskPath string } }
	if err := json.Unmarshal([]byte(goCommand(t, ".", nil, "work", "edit", "-json", "go.work")), &work); err != nil {
		t.Fatal(err)
	}
	var dirs []string
	for _, u := range work.Use {
		if _, err := os.Stat(filepath.Join(u.DiskPath, "go.mod")); errors.Is(err, fs.ErrNotExist) {
			t.Skipf("%s of go.work is not here: this is not a whole checkout", u.DiskPath)
		}
		dirs = append(dirs, u.DiskPath)
	}
	slices.Sort(dirs)
	return dirs
}

// mains returns the import paths of the programs in a module.
func mains(t *testing.T, dir string) []string {
	t.Helper()
	return lines(goCommand(t, dir, nil, "list", "-f", `{{if eq .Name "main"}}{{.ImportPath}}{{end}}`, "./..."))
}

// thirdParty returns the modules of others that the packages of a pattern, and
// what they import, come from.
func thirdParty(t *testing.T, dir, pattern string) []string {
	t.Helper()
	set := make(map[string]bool)
	for _, p := range platforms {
		env := []string{"GOOS=" + p[0], "GOARCH=" + p[1], "CGO_ENABLED=0"}
		for _, m := range lines(goCommand(t, dir, env, "list", "-deps", "-f", `{{with .Module}}{{.Path}}{{end}}`, pattern)) {
			if m != module && !strings.HasPrefix(m, module+"/") {
				set[m] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(set))
}

// goCommand runs the go command outside the workspace, as users of a module
// have it.
func goCommand(t *testing.T, dir string, env []string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), append(env, "GOWORK=off")...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go %s in %s: %v\n%s", strings.Join(args, " "), path.Clean(dir), err, stderr.String())
	}
	return string(out)
}

func lines(text string) []string {
	set := strings.Fields(text)
	slices.Sort(set)
	return slices.Compact(set)
}
