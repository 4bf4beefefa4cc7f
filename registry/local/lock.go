package local

import "errors"

// errLocked says that another open file holds the lock.
var errLocked = errors.New("locked by another")

// The locks are flock's on Unix and LockFileEx's on Windows. Both belong to
// the open file and go when it is closed, which the kernel does when the
// process dies. POSIX locks (fcntl) will not do: they belong to the process
// and vanish when any of its descriptors of the file is closed, so that
// looking at one's own lock would drop it.
//
// The owner holds its lock exclusively. Who wants to know whether it lives
// tries for a shared one, so that two who ask at once do not take each other
// for the owner.
//
//	tryLock(f, exclusive) takes the lock or returns errLocked; it never waits.
//	hold(f) returns a descriptor of the same open file that no finalizer
//	closes: a registration lasts as long as its process, not as long as
//	somebody refers to the Registry.
