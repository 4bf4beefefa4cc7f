package local

import (
	"errors"
	"os"
	"syscall"
	"unsafe"
)

type held syscall.Handle

const (
	lockFailImmediately = 1
	lockExclusive       = 2
	errorLockViolation  = syscall.Errno(33)
)

func tryLock(f *os.File, exclusive bool) error {
	var flags uintptr = lockFailImmediately
	if exclusive {
		flags |= lockExclusive
	}
	lockFileEx := syscall.NewLazyDLL("kernel32.dll").NewProc("LockFileEx")
	if err := lockFileEx.Find(); err != nil {
		return err
	}
	return control(f, func(fd uintptr) error {
		ok, _, err := lockFileEx.Call(fd, flags, 0, 1, 0, uintptr(unsafe.Pointer(new(syscall.Overlapped))))
		switch {
		case ok != 0:
			return nil
		case errors.Is(err, errorLockViolation), errors.Is(err, syscall.ERROR_IO_PENDING):
			return errLocked
		}
		return os.NewSyscallError("LockFileEx", err)
	})
}

func hold(f *os.File) (held, error) {
	var h syscall.Handle
	err := control(f, func(fd uintptr) error {
		self, err := syscall.GetCurrentProcess()
		if err != nil {
			return os.NewSyscallError("GetCurrentProcess", err)
		}
		err = syscall.DuplicateHandle(self, syscall.Handle(fd), self, &h, 0, false, syscall.DUPLICATE_SAME_ACCESS)
		return os.NewSyscallError("DuplicateHandle", err)
	})
	return held(h), err
}

func (h held) release() { syscall.CloseHandle(syscall.Handle(h)) }

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
