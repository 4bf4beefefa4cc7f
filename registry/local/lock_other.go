//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd || windows)

package local

import (
	"errors"
	"os"
)

type held struct{}

func tryLock(*os.File, bool) error { return errors.ErrUnsupported }

func hold(*os.File) (held, error) { return held{}, errors.ErrUnsupported }

func (held) release() {}
