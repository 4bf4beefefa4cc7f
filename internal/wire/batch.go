package wire

// chunkSize is how many bytes of small frames are gathered in one buffer,
// and so the most that one write takes. What is pending grows by buffers of
// the pools and not by ever larger slices: at hundreds of senders those
// would be most of what the process allocates and copies.
const chunkSize = 64 << 10

// batch is frames in order: small ones one after the other in shared buffers,
// large ones in their own buffers between them.
type batch struct {
	bufs   []*buffer
	open   bool // the last of bufs is shared and may take more
	frames int
	size   int
	urgent int // of size, the bytes of frames that cannot wait

	// What is written: bufs before first, and done bytes of that one.
	first, done int
}

// add puts the frame in f at the end and takes f over. hint is how many bytes
// the batch will come to, as far as one can know.
func (b *batch) add(f *buffer, hint int) {
	if len(f.b) < largeFrame {
		b.copy(f.b, hint)
		f.Release()
		return
	}
	b.frames++
	b.size += len(f.b)
	b.bufs = append(b.bufs, f)
	b.open = false
}

// copy puts a copy of a small frame at the end.
func (b *batch) copy(p []byte, hint int) {
	b.frames++
	b.size += len(p)
	if b.open {
		last := b.bufs[len(b.bufs)-1]
		n := len(last.b) + len(p)
		if n <= cap(last.b) {
			last.b = append(last.b, p...)
			return
		}
		if n <= chunkSize {
			wider := newBuffer(n)
			wider.b = append(append(wider.b, last.b...), p...)
			b.bufs[len(b.bufs)-1] = wider
			last.Release()
			return
		}
	}
	c := newBuffer(max(len(p), min(hint, chunkSize)))
	c.b = append(c.b, p...)
	b.bufs = append(b.bufs, c)
	b.open = true
}

// next returns the bytes to write next.
func (b *batch) next() []byte { return b.bufs[b.first].b[b.done:] }

// advance takes n bytes off the front, all within what next returned.
func (b *batch) advance(n int) {
	if b.done += n; b.done < len(b.bufs[b.first].b) {
		return
	}
	b.bufs[b.first].Release()
	b.bufs[b.first] = nil
	if b.first, b.done = b.first+1, 0; b.first == len(b.bufs) {
		b.frames = 0
	}
}

func (b *batch) release() {
	for _, f := range b.bufs[b.first:] {
		f.Release()
	}
	*b = batch{}
}
