package mucp

import (
	"context"
	"io"
	"sync"

	"github.com/seed-9a4e2794/micro/transport"
)

// inbox holds the messages of a stream that have come and have not been
// taken. Who puts waits while there are limit bytes; there is always room for
// one message.
type inbox struct {
	limit int

	mu    sync.Mutex
	queue [][]byte
	first int
	bytes int
	end   error         // what take returns when the queue is empty
	over  bool          // nothing is put any more
	news  chan struct{} // a token when there is something to take
	room  chan struct{} // a token when there may be room
}

func newInbox(limit int) *inbox {
	return &inbox{limit: limit, news: make(chan struct{}, 1), room: make(chan struct{}, 1)}
}

// signal leaves a token in a channel of one.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// messageCost is what a message counts beside its bytes.
const messageCost = 64

// put adds a message, which the inbox takes over. It waits for room until the
// inbox is ended, and then drops it. One goroutine puts.
func (b *inbox) put(message []byte) {
	for {
		b.mu.Lock()
		switch {
		case b.over:
			b.mu.Unlock()
			return
		case b.bytes == 0 || b.bytes+len(message) <= b.limit:
			if b.first > 32 && 2*b.first >= len(b.queue) { // it is never quite empty
				b.queue, b.first = append(b.queue[:0], b.queue[b.first:]...), 0
			}
			b.queue = append(b.queue, message)
			b.bytes += len(message) + messageCost
			b.mu.Unlock()
			signal(b.news)
			return
		}
		b.mu.Unlock()
		<-b.room
	}
}

// close ends the inbox with err after the messages that are in it. The first
// end stays.
func (b *inbox) close(err error) { b.closeAnd(err, nil) }

// closeAnd calls then before anybody can see the end.
func (b *inbox) closeAnd(err error, then func()) {
	b.mu.Lock()
	if b.end == nil {
		b.end = err
	}
	b.over = true
	if then != nil {
		then()
	}
	b.mu.Unlock()
	signal(b.news)
	signal(b.room)
}

// drop ends the inbox and lets go of what is in it.
func (b *inbox) drop(err error) {
	b.close(err)
	b.mu.Lock()
	b.queue, b.first, b.bytes = nil, 0, 0
	b.mu.Unlock()
}

// ended returns the end when it has come.
func (b *inbox) ended() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.end
}

// failure returns the end when nothing is left before it and it is not a good
// one.
func (b *inbox) failure() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.end == io.EOF || b.first < len(b.queue) {
		return nil
	}
	return b.end
}

// take returns the next message, or the end, or ctx's error when that comes
// first. What is there goes before ctx.
func (b *inbox) take(ctx context.Context) ([]byte, error) {
	for {
		b.mu.Lock()
		if b.first < len(b.queue) {
			m := b.queue[b.first]
			b.queue[b.first] = nil
			if b.first++; b.first == len(b.queue) {
				b.queue, b.first = b.queue[:0], 0
			}
			b.bytes -= len(m) + messageCost
			b.mu.Unlock()
			signal(b.room)
			return m, nil
		}
		end := b.end
		b.mu.Unlock()
		if end != nil {
			signal(b.news) // for the next one who asks
			return nil, end
		}
		select {
		case <-b.news:
		case <-ctx.Done():
			b.mu.Lock()
			empty := b.first == len(b.queue) && b.end == nil
			b.mu.Unlock()
			if empty {
				return nil, ctx.Err()
			}
		}
	}
}

// bodyOf makes the Body of a message.
func bodyOf(message []byte, ctype string) transport.Body {
	return transport.NewBody(message, ctype, nil)
}
