package local

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"github.com/seed-9a4e2794/micro/registry"
)

// folder holds the registry's files within the runtime directory.
const folder = "registry"

// runtimeDir chooses the runtime directory: the first of MICRO_RUNTIME_DIR,
// XDG_RUNTIME_DIR/micro, /run/user/UID/micro and a folder of the user's under
// the temporary directory. The middle two count only if they are there and
// ours: after sudo or su the environment may still name another user's.
func runtimeDir(getenv func(string) string, uid int) string {
	if d := getenv("MICRO_RUNTIME_DIR"); d != "" {
		return d
	}
	candidates := []string{getenv("XDG_RUNTIME_DIR")}
	if uid >= 0 {
		candidates = append(candidates, "/run/user/"+strconv.Itoa(uid))
	}
	for _, d := range candidates {
		if !filepath.IsAbs(d) {
			continue
		}
		if info, err := os.Stat(d); err == nil && info.IsDir() && owned(info) == nil {
			return filepath.Join(d, "micro")
		}
	}
	name := "micro"
	if uid >= 0 {
		name += "-" + strconv.Itoa(uid)
	}
	return filepath.Join(os.TempDir(), name)
}

// directory is the registry's folder, opened. What is done through root stays
// in the folder that was checked, whatever happens to the path.
type directory struct {
	path string
	root *os.Root
	info fs.FileInfo
}

// openDirectory makes and opens the folder within the runtime directory. Both
// must be ours alone.
func openDirectory(runtime string) (*directory, error) {
	if err := os.MkdirAll(runtime, 0o700); err != nil {
		return nil, unavailable("make the runtime directory: %w; set MICRO_RUNTIME_DIR to a directory of your own", err)
	}
	seen, err := os.Lstat(runtime)
	if err != nil {
		return nil, unavailable("look at the runtime directory: %w", err)
	}
	if err := private(runtime, seen); err != nil {
		return nil, err
	}
	base, err := os.OpenRoot(runtime)
	if err != nil {
		return nil, unavailable("open the runtime directory: %w", err)
	}
	defer base.Close()
	if info, err := base.Stat("."); err != nil || !os.SameFile(seen, info) {
		return nil, unavailable("%s was exchanged while it was being opened; is somebody tampering with it? (%v)", runtime, err)
	}
	path := filepath.Join(runtime, folder)
	if err := base.Mkdir(folder, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, unavailable("make the registry's directory: %w", err)
	}
	if seen, err = base.Lstat(folder); err != nil {
		return nil, unavailable("look at the registry's directory: %w", err)
	}
	if err := private(path, seen); err != nil {
		return nil, err
	}
	root, err := base.OpenRoot(folder)
	if err != nil {
		return nil, unavailable("open the registry's directory: %w", err)
	}
	info, err := root.Stat(".")
	if err != nil || !os.SameFile(seen, info) {
		root.Close()
		return nil, unavailable("%s was exchanged while it was being opened; is somebody tampering with it? (%v)", path, err)
	}
	return &directory{path, root, info}, nil
}

// private refuses what others could have put there or could change.
func private(path string, info fs.FileInfo) error {
	if info.Mode()&fs.ModeSymlink != 0 {
		return unavailable("%s is a symbolic link; set MICRO_RUNTIME_DIR to the directory itself", path)
	}
	if !info.IsDir() {
		return unavailable("%s is no directory but %s; set MICRO_RUNTIME_DIR to a directory of your own", path, info.Mode())
	}
	if err := owned(info); err != nil {
		return unavailable("%s %w; set MICRO_RUNTIME_DIR to a directory of your own", path, err)
	}
	if err := closedToOthers(info); err != nil {
		return unavailable("%s %w; run: chmod 700 %s", path, err, path)
	}
	return nil
}

// current reports whether the path still leads to this folder.
func (d *directory) current() bool {
	info, err := os.Lstat(d.path)
	return err == nil && os.SameFile(info, d.info)
}

func unavailable(format string, a ...any) error {
	return fmt.Errorf("local: %w: %w", registry.ErrUnavailable, fmt.Errorf(format, a...))
}
