package local

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/seed-9a4e2794/micro/registry"
)

const (
	// settled is how old a file must be for its time of change to tell it from
	// a later one: file systems count time in steps of some milliseconds.
	settled = 100 * time.Millisecond
	// orphanAge is how old a file must be that belongs to no record before it
	// is swept away: younger ones may be of a process that is registering.
	orphanAge = time.Minute
)

// store reads and writes the directory. Everything happens under its mutex.
type store struct {
	runtime string
	log     *slog.Logger

	mu     sync.Mutex
	dir    *directory // nil after close
	opened int        // how many times the directory was opened
	cache  map[string]*entry
	last   int64 // the newest time written into a record
}

// entry is a record file as it was read.
type entry struct {
	file   string
	info   fs.FileInfo
	read   time.Time
	record *record // nil when it cannot be read
}

func (e *entry) lock() string { return lockOf(e.file) }

// lockOf returns the name of the lock beside a record, "" for a record without
// an owner.
func lockOf(recordFile string) string {
	if base, ok := strings.CutSuffix(recordFile, recordSuffix); ok && strings.HasPrefix(base, nodePrefix) {
		return base + lockSuffix
	}
	return ""
}

func isRecord(file string) bool {
	return strings.HasSuffix(file, recordSuffix) && (strings.HasPrefix(file, nodePrefix) || strings.HasPrefix(file, keptPrefix))
}

func openStore(runtime string, log *slog.Logger) (*store, error) {
	s := &store{runtime: runtime, log: log, cache: make(map[string]*entry)}
	var err error
	if s.dir, err = openDirectory(runtime); err != nil {
		return nil, err
	}
	s.opened = 1
	return s, nil
}

func (s *store) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dir != nil {
		s.dir.root.Close()
		s.dir = nil
	}
}

// where returns the path of the directory and how many times it was opened.
func (s *store) where() (path string, opened int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return filepath.Join(s.runtime, folder), s.opened
}

var errClosed = errors.New("the registry has been closed")

// directory returns the open directory, opening it anew when the path leads
// elsewhere: the runtime directory of a user may be removed when he logs out
// and made again when he comes back. s.mu is held.
func (s *store) directory() (*directory, error) {
	if s.dir == nil {
		return nil, unavailable("%w", errClosed)
	}
	if s.dir.current() {
		return s.dir, nil
	}
	d, err := openDirectory(s.runtime)
	if err != nil {
		return nil, err
	}
	s.dir.root.Close()
	s.dir = d
	s.opened++
	clear(s.cache)
	s.log.Warn("the directory of the local registry was exchanged and is opened anew; services return to it when they register again", "dir", d.path)
	return d, nil
}

// scan returns the records whose nodes live, those of one service unless name
// is empty, and sweeps away what the dead have left.
func (s *store) scan(ctx context.Context, name string) ([]*entry, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d, err := s.directory()
	if err != nil {
		return nil, err
	}
	files, err := d.list()
	if err != nil {
		return nil, unavailable("read %s: %w", d.path, err)
	}
	var out []*entry
	for file := range files {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("local: %w", err)
		}
		if !isRecord(file) {
			if !strings.HasSuffix(file, lockSuffix) || !files[strings.TrimSuffix(file, lockSuffix)+recordSuffix] {
				d.sweep(file)
			}
			continue
		}
		e := s.load(d, file, false)
		if e == nil || name != "" && e.record != nil && e.record.Service.Name != name {
			continue
		}
		lives, err := d.lives(e.lock())
		if err != nil {
			return nil, err
		}
		if !lives {
			s.bury(d, file)
			continue
		}
		if e.record != nil {
			out = append(out, e)
		}
	}
	for file := range s.cache {
		if !files[file] {
			delete(s.cache, file)
		}
	}
	return out, nil
}

// one returns the record of that file, nil when it is gone, unreadable, or its
// node dead. The file may have changed a moment ago.
func (s *store) one(file string) (*entry, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d, err := s.directory()
	if err != nil {
		return nil, err
	}
	e := s.load(d, file, true)
	if e == nil {
		return nil, nil
	}
	lives, err := d.lives(e.lock())
	if err != nil {
		return nil, err
	}
	if !lives {
		s.bury(d, file)
		return nil, nil
	}
	if e.record == nil {
		return nil, nil
	}
	return e, nil
}

// lives reports whether the node of a record lives.
func (s *store) lives(e *entry) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d, err := s.directory()
	if err != nil {
		return false, err
	}
	return d.lives(e.lock())
}

// forget sweeps away the files of a dead node.
func (s *store) forget(file string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d, err := s.directory(); err == nil {
		s.bury(d, file)
	}
}

func (s *store) bury(d *directory, file string) {
	delete(s.cache, file)
	d.bury(lockOf(file), file)
}

// now returns the time for a record. It grows with each call, which clocks of
// coarse steps do not promise. s.mu is held.
func (s *store) now() int64 {
	s.last = max(s.last+1, time.Now().UnixNano())
	return s.last
}

// load reads a record, or takes it from the cache unless fresh is asked for.
// It returns nil when the file is not there. s.mu is held.
func (s *store) load(d *directory, file string, fresh bool) *entry {
	info, err := d.root.Lstat(file)
	if err != nil {
		delete(s.cache, file)
		return nil
	}
	have := s.cache[file]
	if have != nil && !fresh && os.SameFile(have.info, info) && have.info.Size() == info.Size() &&
		have.info.ModTime().Equal(info.ModTime()) && have.read.Sub(info.ModTime()) > settled {
		return have
	}
	e := &entry{file: file, info: info, read: time.Now()}
	if e.record, err = d.read(file, info); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			delete(s.cache, file)
			return nil
		}
		if have == nil || have.record != nil { // say it once
			s.log.Warn("a record of the local registry cannot be read and is not seen", "file", d.path+"/"+file, "error", err)
		}
	}
	s.cache[file] = e
	return e
}

// newest drops the records of which there is a newer one of the same node and
// returns the others, oldest first.
func newest(entries []*entry) []*registry.Service {
	entries = slices.Clone(entries)
	slices.SortFunc(entries, func(a, b *entry) int {
		return cmp.Or(cmp.Compare(a.record.Written, b.record.Written), cmp.Compare(a.file, b.file))
	})
	type key struct{ name, id string }
	last := make(map[key]*entry, len(entries))
	for _, e := range entries {
		last[key{e.record.Service.Name, e.record.Service.Nodes[0].Id}] = e
	}
	out := make([]*registry.Service, 0, len(last))
	for _, e := range entries {
		if last[key{e.record.Service.Name, e.record.Service.Nodes[0].Id}] == e {
			out = append(out, e.record.Service)
		}
	}
	return out
}

// list returns the names of the regular files.
func (d *directory) list() (map[string]bool, error) {
	f, err := d.root.Open(".")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	entries, err := f.ReadDir(-1)
	if err != nil {
		return nil, err
	}
	files := make(map[string]bool, len(entries))
	for _, e := range entries {
		if e.Type().IsRegular() {
			files[e.Name()] = true
		}
	}
	return files, nil
}

func (d *directory) read(file string, info fs.FileInfo) (*record, error) {
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("it is no regular file but %s", info.Mode())
	}
	f, err := d.root.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxRecord+1))
	if err != nil {
		return nil, err
	}
	return parseRecord(data)
}
