package metadata

import (
	"context"
	"errors"
	"sync"

	"github.com/seed-9a4e2794/micro/internal/ctxkey"
)

// ErrNoReply is returned by SetHeader and SetTrailer for a context that is not
// a handler's.
var ErrNoReply = errors.New("metadata: the context is not that of a call being served")

// ErrHeaderSent is returned by SetHeader when the reply header has already
// left, which on a stream is with the first message.
var ErrHeaderSent = errors.New("metadata: the reply header has been sent")

// Reply gathers the header and trailer of one reply. Transports make one and
// put it into the context they give to handlers; its methods may run
// concurrently.
type Reply struct {
	mu      sync.Mutex
	header  Header
	trailer Header
	sent    bool
}

// Header returns the header gathered so far and closes it: later calls of
// SetHeader fail with ErrHeaderSent.
func (r *Reply) Header() Header {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sent = true
	return r.header
}

// Trailer returns the trailer gathered so far.
func (r *Reply) Trailer() Header {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.trailer
}

// SetHeader adds fields to the header of the reply to the call that ctx
// belongs to. It fails with ErrNoReply outside a handler and with
// ErrHeaderSent after the header has left.
func SetHeader(ctx context.Context, key string, values ...string) error {
	r, ok := ctx.Value(ctxkey.Reply{}).(*Reply)
	if !ok || r == nil {
		return ErrNoReply
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.sent {
		return ErrHeaderSent
	}
	for _, v := range values {
		r.header.Add(key, v)
	}
	return nil
}

// SetTrailer adds fields to the trailer of the reply to the call that ctx
// belongs to. It fails with ErrNoReply outside a handler.
func SetTrailer(ctx context.Context, key string, values ...string) error {
	r, ok := ctx.Value(ctxkey.Reply{}).(*Reply)
	if !ok || r == nil {
		return ErrNoReply
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, v := range values {
		r.trailer.Add(key, v)
	}
	return nil
}
