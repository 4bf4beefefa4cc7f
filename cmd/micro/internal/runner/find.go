package runner

import (
	"fmt"
	"go/build"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Problem is why something cannot be run, with what to do about it.
type Problem struct {
	What  string
	Hints []string
}

func (p *Problem) Error() string { return p.What }

// program is a folder with a main package, which is one service or more.
type program struct {
	label string // how its output is marked
	given string // the folder as it was named
	dir   string // the folder of the main package
	index int
}

// skipped are folders that hold no program of the user's.
func skipped(name string) bool {
	return name != "." && name != ".." && (strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_")) ||
		name == "node_modules" || name == "vendor" || name == "testdata"
}

// foreign reports whether a folder holds what is not the user's: downloaded
// modules, and what the kernel shows as files.
func foreign(path string) bool {
	switch path {
	case "/proc", "/sys", "/dev":
		return true
	}
	return filepath.Base(path) == "mod" && filepath.Base(filepath.Dir(path)) == "pkg"
}

// find returns the programs of folders.
func find(dirs []string) ([]*program, error) {
	var out []*program
	seen := make(map[string]bool)
	for _, given := range dirs {
		dir, err := filepath.Abs(given)
		if err != nil {
			return nil, err
		}
		main, err := mainOf(given, dir)
		if err != nil {
			return nil, err
		}
		if seen[main] {
			continue
		}
		seen[main] = true
		out = append(out, &program{label: filepath.Base(dir), given: given, dir: main, index: len(out)})
	}
	label(out)
	return out, nil
}

// label makes labels differ.
func label(programs []*program) {
	count := make(map[string]int)
	for _, p := range programs {
		count[p.label]++
	}
	for _, p := range programs {
		if count[p.label] > 1 {
			p.label = filepath.Base(filepath.Dir(p.dir)) + "/" + p.label
		}
	}
}

// mainOf returns the folder of the main package that a folder stands for: the
// folder itself, else the only one below it.
func mainOf(given, dir string) (string, error) {
	info, err := os.Stat(dir)
	if err != nil || !info.IsDir() {
		return "", &Problem{What: fmt.Sprintf("%s is no folder", given), Hints: []string{"name the folder of a service: micro run ./greeter"}}
	}
	if isMain(dir) {
		return dir, inModule(given, dir)
	}
	mains, err := mainsBelow(dir)
	if err != nil {
		return "", err
	}
	switch len(mains) {
	case 0:
		return "", &Problem{What: fmt.Sprintf("%s holds no Go program: no package main", given), Hints: []string{"name the folder of a service: micro run ./greeter"}}
	case 1:
		return mains[0], inModule(given, mains[0])
	}
	p := &Problem{What: fmt.Sprintf("%s holds %d programs; say which", given, len(mains))}
	for i, m := range mains {
		if i == 10 {
			p.Hints = append(p.Hints, fmt.Sprintf("... and %d more", len(mains)-i))
			break
		}
		if rel, err := filepath.Rel(dir, m); err == nil {
			m = "." + string(filepath.Separator) + filepath.Join(given, rel)
			if filepath.IsAbs(given) {
				m = filepath.Join(given, rel)
			}
		}
		p.Hints = append(p.Hints, "micro run "+m)
	}
	return "", p
}

// mainsBelow returns the folders of main packages below a folder. The folders
// below a program's are its own.
func mainsBelow(dir string) ([]string, error) {
	var mains []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil && path == dir:
			return err
		case err != nil: // it may not be read
			return nil
		case !d.IsDir():
			return nil
		case path != dir && (skipped(d.Name()) || foreign(path)):
			return filepath.SkipDir
		case isMain(path):
			mains = append(mains, path)
			return filepath.SkipDir
		}
		return nil
	})
	return mains, err
}

// isMain reports whether a folder holds a main package for this platform.
func isMain(dir string) bool {
	p, err := build.Default.ImportDir(dir, 0)
	return err == nil && p.Name == "main"
}

// inModule checks that a folder is in a module.
func inModule(given, dir string) error {
	for d := dir; ; d = filepath.Dir(d) {
		if _, err := os.Stat(filepath.Join(d, "go.mod")); err == nil {
			return nil
		}
		if d == filepath.Dir(d) {
			return &Problem{What: fmt.Sprintf("%s is in no module: there is no go.mod in it or above", given),
				Hints: []string{"make one there: go mod init NAME && go mod tidy"}}
		}
	}
}
