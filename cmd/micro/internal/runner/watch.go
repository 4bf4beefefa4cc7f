package runner

import (
	"context"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	// quiet is how long nothing must change before a change is told: editors
	// and version control write many files at once.
	quiet = 200 * time.Millisecond
	// longest is how long changes are gathered at most.
	longest = 2 * time.Second
	// maxDirs bounds the folders that are watched for one program.
	maxDirs = 10000
)

// watcher tells when what a program is built of has changed.
type watcher struct {
	root    string
	log     *slog.Logger
	fs      *fsnotify.Watcher
	changes chan struct{} // holds a token after a change
	done    sync.WaitGroup

	mu     sync.Mutex
	dirs   map[string]bool
	files  map[string]bool // that count besides those whose name says so
	stamps map[string]stamp
}

// stamp tells versions of a file apart. The zero stamp is no file.
type stamp struct {
	modified time.Time
	size     int64
}

func stampOf(path string) stamp {
	info, err := os.Stat(path)
	if err != nil || info.IsDir() {
		return stamp{}
	}
	return stamp{info.ModTime(), info.Size()}
}

// watch watches a folder and those below it until close.
func watch(root string, log *slog.Logger) (*watcher, error) {
	notifier, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, err
	}
	w := &watcher{root: root, log: log, fs: notifier, changes: make(chan struct{}, 1),
		dirs: make(map[string]bool), files: make(map[string]bool), stamps: make(map[string]stamp)}
	w.addTree(root)
	w.done.Go(w.follow)
	return w, nil
}

// close ends the watching and waits for it.
func (w *watcher) close() {
	w.fs.Close()
	w.done.Wait()
}

// add adds what a program is built of.
func (w *watcher) add(src sources) {
	w.mu.Lock()
	for f := range src.files {
		if !w.counts(f) { // until now it did not, so its stamp is no news
			w.files[f] = true
			w.stamps[f] = stampOf(f)
		}
	}
	w.mu.Unlock()
	for _, dir := range src.dirs {
		w.addDir(dir)
	}
	for f := range src.files {
		w.addDir(filepath.Dir(f))
	}
}

// addTree adds a folder and those below it. It reports whether a file that
// counts is among what is new.
func (w *watcher) addTree(dir string) bool {
	fresh := false
	// A folder that cannot be read is not watched; the go command will say
	// more about it.
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return nil
		}
		if path != dir && (d.Name() == "node_modules" || strings.HasPrefix(d.Name(), ".") || foreign(path)) {
			return filepath.SkipDir
		}
		fresh = w.addDir(path) || fresh
		return nil
	})
	return fresh
}

// addDir adds one folder; see addTree.
func (w *watcher) addDir(dir string) bool {
	w.mu.Lock()
	known := w.dirs[dir]
	full := len(w.dirs) >= maxDirs
	w.dirs[dir] = true
	w.mu.Unlock()
	if known {
		return false
	}
	if full {
		w.log.Warn("too many folders: changes in this one are not seen", "folder", dir, "watched", maxDirs)
		return false
	}
	if err := w.fs.Add(dir); err != nil {
		w.log.Warn("changes in this folder are not seen; on Linux fs.inotify.max_user_watches may be too small", "folder", dir, "error", err)
		return false
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return false // it has gone again
	}
	fresh := false
	for _, e := range entries {
		fresh = w.seen(filepath.Join(dir, e.Name())) || fresh
	}
	return fresh
}

// counts reports whether a file goes into the program.
func (w *watcher) counts(path string) bool {
	name := filepath.Base(path)
	if w.files[path] {
		return true
	}
	if strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_") || strings.HasSuffix(name, "_test.go") {
		return false
	}
	switch name {
	case "go.mod", "go.sum", "go.work", "go.work.sum":
		return true
	}
	switch filepath.Ext(name) {
	case ".go", ".s", ".c", ".cc", ".cpp", ".h", ".hh", ".hpp":
		return true
	}
	return false
}

// seen notes a file and reports whether it counts and is not what it was.
func (w *watcher) seen(path string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.counts(path) {
		return false
	}
	now := stampOf(path)
	if now == w.stamps[path] {
		return false
	}
	w.stamps[path] = now
	return true
}

// event takes what the kernel tells and reports whether it matters.
func (w *watcher) event(e fsnotify.Event) bool {
	if info, err := os.Stat(e.Name); err == nil && info.IsDir() {
		name := filepath.Base(e.Name)
		below := strings.HasPrefix(e.Name, w.root+string(filepath.Separator))
		if !e.Has(fsnotify.Create) || !below || name == "node_modules" || strings.HasPrefix(name, ".") {
			return false
		}
		return w.addTree(e.Name)
	}
	if e.Has(fsnotify.Remove) || e.Has(fsnotify.Rename) {
		w.mu.Lock()
		delete(w.dirs, e.Name) // if it was one, the kernel has forgotten it
		w.mu.Unlock()
	}
	return w.seen(e.Name)
}

// follow gathers changes until close.
func (w *watcher) follow() {
	timer := time.NewTimer(time.Hour)
	timer.Stop()
	var since time.Time // the first change that has not been told
	for {
		select {
		case e, ok := <-w.fs.Events:
			if !ok {
				timer.Stop()
				return
			}
			if !w.event(e) {
				continue
			}
			if since.IsZero() {
				since = time.Now()
			}
			timer.Reset(min(quiet, max(0, longest-time.Since(since))))
		case err, ok := <-w.fs.Errors:
			if ok {
				w.log.Warn("changes may have been missed", "error", err)
			}
		case <-timer.C:
			since = time.Time{}
			select {
			case w.changes <- struct{}{}:
			default:
			}
		}
	}
}

// refresh asks what the program is built of now.
func (w *watcher) refresh(ctx context.Context, p *program) {
	src, err := sourcesOf(ctx, p)
	if err != nil {
		if ctx.Err() == nil {
			w.log.Warn("only the program's own folder is watched", "program", p.label, "error", err)
		}
		return
	}
	w.add(src)
}
