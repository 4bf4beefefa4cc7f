package local

import (
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"strings"
	"time"
)

// owned files are touched once in a while, since programs that clean temporary
// directories go by age.
const touchEvery = time.Hour

// owner is a node that this process has registered: a lock it holds and a
// record.
type owner struct {
	base    string // of both file names
	in      fs.FileInfo
	file    fs.FileInfo // of the lock
	lock    held
	service []byte // as in the record
	touched time.Time
}

func (o *owner) recordFile() string { return o.base + recordSuffix }
func (o *owner) lockFile() string   { return o.base + lockSuffix }

// newOwner makes and takes a lock under a name that nobody has used before.
func (d *directory) newOwner() (*owner, error) {
	const attempts = 5
	for range attempts {
		o := &owner{base: nodePrefix + strings.ToLower(rand.Text()), in: d.info, touched: time.Now()}
		err := d.take(o)
		if err == nil {
			return o, nil
		}
		if !errors.Is(err, errLocked) && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
		// This process stood still for so long after making the file that
		// another one is sweeping it away. The next name is as good.
	}
	return nil, unavailable("%s: a new lock file was taken by another process, %d times", d.path, attempts)
}

func (d *directory) take(o *owner) error {
	f, err := d.root.OpenFile(o.lockFile(), os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return unavailable("make a lock file: %w", err)
	}
	defer f.Close()
	keep := false
	defer func() {
		if !keep {
			f.Close() // Windows removes no open file
			d.root.Remove(o.lockFile())
		}
	}()
	if err := tryLock(f, true); errors.Is(err, errLocked) {
		return err
	} else if err != nil {
		return d.noLocks(err)
	}
	if o.file, err = f.Stat(); err != nil {
		return unavailable("look at a lock file: %w", err)
	}
	now, err := d.root.Lstat(o.lockFile())
	if err != nil || !os.SameFile(now, o.file) {
		return errLocked // swept away before it was locked
	}
	// There are file systems that take any lock and keep none.
	lives, err := d.lives(o.lockFile())
	if err != nil {
		return err
	}
	if !lives {
		return d.noLocks(errors.New("a second lock on a locked file was granted"))
	}
	if o.lock, err = hold(f); err != nil {
		return unavailable("keep a lock file open: %w", err)
	}
	keep = true
	return nil
}

func (d *directory) noLocks(err error) error {
	return unavailable("the file system of %s cannot lock files (%w); set MICRO_RUNTIME_DIR to a directory on a local file system", d.path, err)
}

// write puts a record in place in one step: a reader sees the old one or the
// new one, and never a part.
func (d *directory) write(file string, written int64, service []byte) error {
	data, err := encodeRecord(written, service)
	if err != nil {
		return err
	}
	temp := tempPrefix + strings.ToLower(rand.Text())
	f, err := d.root.OpenFile(temp, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return unavailable("make a record: %w", err)
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Close())
	if err == nil {
		err = d.root.Rename(temp, file)
	}
	if err != nil {
		d.root.Remove(temp)
		return unavailable("write a record: %w", err)
	}
	return nil
}

// intact reports whether the lock that o holds is still the one that others
// find under its name.
func (d *directory) intact(o *owner) bool {
	if !os.SameFile(d.info, o.in) {
		return false
	}
	info, err := d.root.Lstat(o.lockFile())
	return err == nil && os.SameFile(info, o.file)
}

// touch makes the files young again.
func (d *directory) touch(o *owner) {
	now := time.Now()
	if now.Sub(o.touched) < touchEvery {
		return
	}
	o.touched = now
	for _, file := range []string{o.lockFile(), o.recordFile()} {
		// Best effort: what is cleaned away all the same is made again by the
		// next Register.
		_ = d.root.Chtimes(file, now, now)
	}
}

// release removes o's files and lets go of the lock. The record goes first:
// whoever sees a record without a lock takes it for a dead one's.
func (d *directory) release(o *owner) error {
	var err error
	if os.SameFile(d.info, o.in) {
		err = d.remove(o.recordFile())
		o.lock.release()
		return errors.Join(err, d.remove(o.lockFile()))
	}
	o.lock.release()
	return nil
}

// remove removes a file. One that is not there is no error.
func (d *directory) remove(file string) error {
	if err := d.root.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return unavailable("remove a file: %w", err)
	}
	return nil
}

// lives reports whether somebody holds that lock; a record without an owner
// (lock "") lives as long as its file.
func (d *directory) lives(lock string) (bool, error) {
	if lock == "" {
		return true, nil
	}
	f, err := d.root.Open(lock)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, unavailable("open a lock file: %w", err)
	}
	defer f.Close()
	switch err := tryLock(f, false); {
	case err == nil:
		return false, nil
	case errors.Is(err, errLocked):
		return true, nil
	default:
		return false, d.noLocks(err)
	}
}

// bury removes the files of a dead node. Whoever holds the lock alone may do
// so: no owner lives, none can come, since names are not used again, and
// nobody else is burying. lock "" is of a record without an owner, which stays.
func (d *directory) bury(lock, recordFile string) {
	if lock == "" {
		return
	}
	f, err := d.root.OpenFile(lock, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		_ = d.root.Remove(recordFile)
		return
	}
	if err != nil {
		return // whoever finds it next may have more luck
	}
	defer f.Close()
	if tryLock(f, true) != nil {
		return
	}
	_ = d.root.Remove(recordFile)
	if d.root.Remove(lock) != nil { // Windows removes no open file
		f.Close()
		_ = d.root.Remove(lock)
	}
}

// sweep removes a file that belongs to no record, when it is old enough not to
// be of somebody who is registering.
func (d *directory) sweep(file string) {
	info, err := d.root.Lstat(file)
	if err != nil || time.Since(info.ModTime()) < orphanAge {
		return
	}
	switch {
	case strings.HasPrefix(file, tempPrefix):
		_ = d.root.Remove(file)
	case strings.HasPrefix(file, nodePrefix) && strings.HasSuffix(file, lockSuffix):
		d.bury(file, strings.TrimSuffix(file, lockSuffix)+recordSuffix)
	}
}
