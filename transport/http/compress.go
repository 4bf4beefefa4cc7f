package http

import (
	"compress/gzip"
	"errors"
	"io"

	"connectrpc.com/connect"
)

// gzipped is connect's gzip at its fastest: connect's own spends most of the
// time of an answer to make it a little smaller. It reads messages of up to
// limit bytes.
func gzipped(limit int) connect.HandlerOption {
	return connect.WithCompression("gzip",
		func() connect.Decompressor { return &gunzip{limit: int64(limit)} },
		func() connect.Compressor {
			w, err := gzip.NewWriterLevel(io.Discard, gzip.BestSpeed)
			if err != nil { // the level is one that there is
				return gzip.NewWriter(io.Discard)
			}
			return w
		})
}

// gunzip is a gzip.Reader that can be made before there is anything to read,
// and that does not go on behind its limit: connect would measure a message
// that is too large to its end, of which a few bytes make gigabytes.
type gunzip struct {
	gzip.Reader
	limit int64
	left  int64
}

// Reset implements connect.Decompressor.
func (g *gunzip) Reset(r io.Reader) error {
	g.left = g.limit + 1 // connect reads one more to see that there is more
	return g.Reader.Reset(r)
}

// Read implements io.Reader.
func (g *gunzip) Read(p []byte) (int, error) {
	if g.left <= 0 {
		return 0, errUnpacked
	}
	n, err := g.Reader.Read(p[:min(int64(len(p)), g.left)])
	g.left -= int64(n)
	return n, err
}

var errUnpacked = errors.New("the rest of it is not unpacked")

// Close implements connect.Decompressor.
func (g *gunzip) Close() error {
	// Close is called on a reader that was never Reset, too.
	return nil
}
