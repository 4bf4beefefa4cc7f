//go:build !wirepoison

package wire

// poison overwrites released buffers, so that a use after release shows. The
// build tag wirepoison turns it on; the test run does.
const poison = false
