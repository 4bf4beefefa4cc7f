package local

import (
	"errors"
	"sync"
	"time"
)

// errNotifierClosed is what wait returns after close.
var errNotifierClosed = errors.New("notifier closed")

// pollEvery is how often the directory is read where it does not tell of
// changes.
const pollEvery = 50 * time.Millisecond

// notifier tells of changes in a directory. One goroutine waits; close may be
// called from another.
type notifier interface {
	// wait returns what has happened, or nothing when until has come.
	wait(until time.Time) ([]event, error)
	close()
}

type change int

const (
	arrived  change = iota // a file has its final name
	removed                // a name is gone
	closed                 // a file that was open for writing was closed
	anything               // read it all again
)

type event struct {
	change change
	file   string // empty for anything
}

// poller is the notifier of systems without a better one.
type poller struct {
	once sync.Once
	done chan struct{}
}

func newPoller() *poller { return &poller{done: make(chan struct{})} }

func (p *poller) wait(until time.Time) ([]event, error) {
	t := time.NewTimer(min(pollEvery, max(0, time.Until(until))))
	defer t.Stop()
	select {
	case <-t.C:
		return []event{{change: anything}}, nil
	case <-p.done:
		return nil, errNotifierClosed
	}
}

func (p *poller) close() { p.once.Do(func() { close(p.done) }) }
