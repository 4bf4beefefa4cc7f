package local

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"
)

// inotify is the notifier of Linux (inotify(7)). It must not listen to
// IN_CLOSE_NOWRITE: who tests a lock opens the file for reading, and with two
// watchers each test would cause the next one.
type inotify struct {
	f   *os.File
	buf [32 << 10]byte
}

func newNotifier(path string) (notifier, error) {
	fd, err := syscall.InotifyInit1(syscall.IN_CLOEXEC | syscall.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("inotify: %w (is fs.inotify.max_user_instances used up?)", os.NewSyscallError("inotify_init1", err))
	}
	const mask = syscall.IN_MOVED_TO | syscall.IN_MOVED_FROM | syscall.IN_DELETE | syscall.IN_CLOSE_WRITE |
		syscall.IN_DELETE_SELF | syscall.IN_MOVE_SELF | syscall.IN_ONLYDIR | syscall.IN_DONT_FOLLOW
	if _, err := syscall.InotifyAddWatch(fd, path, mask); err != nil {
		syscall.Close(fd)
		return nil, fmt.Errorf("inotify: watch %s: %w (is fs.inotify.max_user_watches used up?)", path, os.NewSyscallError("inotify_add_watch", err))
	}
	// A descriptor that does not block is served by the runtime's poller, so
	// deadlines work and Close ends a Read.
	return &inotify{f: os.NewFile(uintptr(fd), "inotify")}, nil
}

func (n *inotify) wait(until time.Time) ([]event, error) {
	if err := n.f.SetReadDeadline(until); err != nil {
		return nil, closedOr(err)
	}
	got, err := n.f.Read(n.buf[:])
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil, nil
	}
	if err != nil {
		return nil, closedOr(err)
	}
	return parseEvents(n.buf[:got]), nil
}

func closedOr(err error) error {
	if errors.Is(err, os.ErrClosed) {
		return errNotifierClosed
	}
	return fmt.Errorf("inotify: %w", err)
}

func (n *inotify) close() { n.f.Close() }

// parseEvents reads struct inotify_event: int wd; uint32 mask, cookie, len;
// char name[len], padded with zeros.
func parseEvents(b []byte) []event {
	var events []event
	for len(b) >= syscall.SizeofInotifyEvent {
		mask := binary.NativeEndian.Uint32(b[4:])
		size := binary.NativeEndian.Uint32(b[12:])
		b = b[syscall.SizeofInotifyEvent:]
		if uint64(size) > uint64(len(b)) {
			return append(events, event{change: anything}) // the kernel does not cut events
		}
		name := strings.TrimRight(string(b[:size]), "\x00")
		b = b[size:]
		e := event{file: name}
		switch {
		case mask&(syscall.IN_Q_OVERFLOW|syscall.IN_IGNORED|syscall.IN_DELETE_SELF|syscall.IN_MOVE_SELF|syscall.IN_UNMOUNT) != 0:
			e = event{change: anything}
		case mask&syscall.IN_MOVED_TO != 0:
			e.change = arrived
		case mask&(syscall.IN_DELETE|syscall.IN_MOVED_FROM) != 0:
			e.change = removed
		case mask&syscall.IN_CLOSE_WRITE != 0:
			e.change = closed
		default:
			continue
		}
		events = append(events, e)
	}
	return events
}
