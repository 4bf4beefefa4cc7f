//go:build unix

package local

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-9a4e2794/micro/registry"
)

func TestDirectoryThatOthersCouldUseIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		prepare func(dir string) error
		says    string
	}{
		"runtime directory open to others": {func(dir string) error { return mkdir(dir, 0o755) }, "chmod 700"},
		"folder open to others": {func(dir string) error {
			return errors.Join(mkdir(dir, 0o700), mkdir(filepath.Join(dir, folder), 0o750))
		}, "chmod 700"},
		"folder closed to ourselves": {func(dir string) error {
			return errors.Join(mkdir(dir, 0o700), mkdir(filepath.Join(dir, folder), 0o500))
		}, "chmod 700"},
		"runtime directory is a link": {func(dir string) error {
			return errors.Join(mkdir(dir+"-real", 0o700), os.Symlink(dir+"-real", dir))
		}, "symbolic link"},
		"folder is a link": {func(dir string) error {
			return errors.Join(mkdir(dir, 0o700), mkdir(dir+"-real", 0o700), os.Symlink(dir+"-real", filepath.Join(dir, folder)))
		}, "symbolic link"},
		"folder is a file": {func(dir string) error {
			return errors.Join(mkdir(dir, 0o700), os.WriteFile(filepath.Join(dir, folder), nil, 0o700))
		}, "no directory"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := freshDir(t)
			if err := c.prepare(dir); err != nil {
				t.Fatal(err)
			}
			_, err := New(Config{Dir: dir, Logger: quiet()})
			if !errors.Is(err, registry.ErrUnavailable) || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), dir) {
				t.Errorf("New returned %v, want ErrUnavailable that names %s and says %q", err, dir, c.says)
			}
		})
	}
}

func mkdir(path string, mode os.FileMode) error {
	return errors.Join(os.Mkdir(path, 0o700), os.Chmod(path, mode))
}

func TestDirectoryOfAnotherUserIsRefused(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root may give files away")
	}
	for _, which := range []string{".", folder} {
		dir := freshDir(t)
		open(t, dir)
		if err := os.Chown(filepath.Join(dir, which), 65534, 65534); err != nil {
			t.Fatal(err)
		}
		_, err := New(Config{Dir: dir, Logger: quiet()})
		if !errors.Is(err, registry.ErrUnavailable) || !strings.Contains(err.Error(), "belongs to user 65534") {
			t.Errorf("New with %s of another user returned %v", which, err)
		}
	}
}

// Once opened, a directory that is exchanged for one that is not ours is not
// followed.
func TestExchangedDirectoryIsNotFollowed(t *testing.T) {
	dir := freshDir(t)
	r := open(t, dir)
	register(t, r, node("greeter", "a", "127.0.0.1:1"))
	trap := filepath.Join(dir, "trap")
	if err := errors.Join(os.Rename(r.Dir(), r.Dir()+"-away"), mkdir(trap, 0o777), os.Symlink(trap, r.Dir())); err != nil {
		t.Fatal(err)
	}
	if err := r.Register(t.Context(), node("greeter", "b", "127.0.0.1:2")); !errors.Is(err, registry.ErrUnavailable) {
		t.Errorf("Register through a link returned %v, want ErrUnavailable", err)
	}
	if _, err := r.GetService(t.Context(), "greeter"); !errors.Is(err, registry.ErrUnavailable) {
		t.Errorf("GetService through a link returned %v, want ErrUnavailable", err)
	}
	if got, err := os.ReadDir(trap); err != nil || len(got) != 0 {
		t.Errorf("%v was written through the link (%v)", got, err)
	}
}

func TestDefaultDirectoryIsTheFirstThatIsOurs(t *testing.T) {
	ours := t.TempDir()
	uid := os.Geteuid()
	environment := func(pairs ...string) func(string) string {
		return func(key string) string {
			for i := 0; i < len(pairs); i += 2 {
				if pairs[i] == key {
					return pairs[i+1]
				}
			}
			return ""
		}
	}
	const noUser = 4000000000 // has no /run/user
	fallback := filepath.Join(os.TempDir(), "micro-4000000000")
	for _, c := range []struct {
		what string
		env  func(string) string
		want string
	}{
		{"MICRO_RUNTIME_DIR wins", environment("MICRO_RUNTIME_DIR", "/a/b", "XDG_RUNTIME_DIR", ours), "/a/b"},
		{"XDG_RUNTIME_DIR if ours", environment("XDG_RUNTIME_DIR", ours), filepath.Join(ours, "micro")},
		{"XDG_RUNTIME_DIR that is not there", environment("XDG_RUNTIME_DIR", filepath.Join(ours, "no")), fallback},
		{"XDG_RUNTIME_DIR that is relative", environment("XDG_RUNTIME_DIR", "."), fallback},
		{"nothing", environment(), fallback},
	} {
		if got := runtimeDir(c.env, noUser); got != c.want {
			t.Errorf("%s: the runtime directory is %s, want %s", c.what, got, c.want)
		}
	}
	if uid == 0 {
		if err := os.Chown(ours, 65534, 65534); err != nil {
			t.Fatal(err)
		}
		if got := runtimeDir(environment("XDG_RUNTIME_DIR", ours), noUser); got != fallback {
			t.Errorf("with the XDG_RUNTIME_DIR of another user the runtime directory is %s, want %s", got, fallback)
		}
	}
}

func TestZeroConfigWorks(t *testing.T) {
	dir := freshDir(t)
	t.Setenv("MICRO_RUNTIME_DIR", dir)
	r, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	register(t, r, node("greeter", "a", "127.0.0.1:1"))
	if r.Dir() != filepath.Join(dir, folder) || addresses(t, r, "greeter") != "127.0.0.1:1" {
		t.Errorf("the registry is in %s and holds %q", r.Dir(), addresses(t, r, "greeter"))
	}
}
