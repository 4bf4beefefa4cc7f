package wire

import (
	"math/bits"
	"sync"
)

// buffer is a byte slice that goes back to a pool. It implements
// transport.Releaser. b may be grown by its holder.
type buffer struct {
	b []byte
}

// The pools hold buffers of 256 bytes, 1 KiB, 4 KiB ... 1 MiB; larger ones are
// left to the garbage collector, so that one burst of large messages does not
// stay in memory.
const (
	minClass   = 8  // 1<<8 bytes
	maxClass   = 20 // 1<<20 bytes
	classStep  = 2
	classCount = (maxClass-minClass)/classStep + 1
)

var pools [classCount]sync.Pool // of *buffer

// newBuffer returns an empty buffer with room for n bytes.
func newBuffer(n int) *buffer {
	class := 0
	if n > 1<<minClass {
		class = (bits.Len(uint(n-1)) - minClass + classStep - 1) / classStep
	}
	if class >= classCount {
		return &buffer{b: make([]byte, 0, n)}
	}
	if b, ok := pools[class].Get().(*buffer); ok {
		return b
	}
	return &buffer{b: make([]byte, 0, 1<<(minClass+classStep*class))}
}

// Release gives the buffer back. It must not be used afterwards.
func (b *buffer) Release() {
	c := cap(b.b)
	if c < 1<<minClass || c > 1<<maxClass {
		return
	}
	if poison {
		full := b.b[:c]
		for i := range full {
			full[i] = 0xDB
		}
	}
	b.b = b.b[:0]
	// The largest class that this capacity serves: append may have grown it.
	pools[(bits.Len(uint(c))-1-minClass)/classStep].Put(b)
}
