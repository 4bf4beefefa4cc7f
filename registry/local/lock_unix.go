//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package local

import (
	"errors"
	"os"
	"syscall"
)

type held int

func tryLock(f *os.File, exclusive bool) error {
	how := syscall.LOCK_SH
	if exclusive {
		how = syscall.LOCK_EX
	}
	return control(f, func(fd uintptr) error {
		for {
			err := syscall.Flock(int(fd), how|syscall.LOCK_NB)
			switch {
			case errors.Is(err, syscall.EINTR):
				continue
			case errors.Is(err, syscall.EWOULDBLOCK):
				return errLocked
			}
			return err
		}
	})
}

func hold(f *os.File) (held, error) {
	h := held(-1)
	err := control(f, func(fd uintptr) error {
		// A child must not inherit it: it would keep the node alive.
		syscall.ForkLock.RLock()
		defer syscall.ForkLock.RUnlock()
		n, err := syscall.Dup(int(fd))
		if err != nil {
			return os.NewSyscallError("dup", err)
		}
		syscall.CloseOnExec(n)
		h = held(n)
		return nil
	})
	return h, err
}

func (h held) release() { syscall.Close(int(h)) }

func control(f *os.File, op func(fd uintptr) error) error {
	c, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var opErr error
	if err := c.Control(func(fd uintptr) { opErr = op(fd) }); err != nil {
		return err
	}
	return opErr
}
