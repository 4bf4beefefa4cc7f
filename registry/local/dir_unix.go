//go:build unix

package local

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

func owned(info fs.FileInfo) error {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return errors.New("does not say who owns it")
	}
	if int(st.Uid) != os.Geteuid() {
		return fmt.Errorf("belongs to user %d, this process runs as %d", st.Uid, os.Geteuid())
	}
	return nil
}

func closedToOthers(info fs.FileInfo) error {
	if p := info.Mode().Perm(); p != 0o700 {
		return fmt.Errorf("has mode %#o, want 0700", p)
	}
	return nil
}
