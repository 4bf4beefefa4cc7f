package micro

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-9a4e2794/micro/client"
	"github.com/seed-9a4e2794/micro/errors"
)

// clientHandle is the client that a service hands out: it stays the same while
// options and wrappers change what stands behind it.
type clientHandle struct {
	real atomic.Pointer[boxed] // nil until used, and after set

	mu  sync.Mutex
	now *wrapping // what set has said

	closeUnused func() // closes the parts of a service that was never run
}

type boxed struct {
	client.Client
	invoker client.Invoker // the client, if it can
}

// wrapping is a client and the wrappers to put around it. The lock of the
// handle is not held while they wrap, as they may use the handle.
type wrapping struct {
	base     client.Client
	wrappers []client.Wrapper

	begun bool          // guarded by the handle's lock
	done  chan struct{} // closed when box is set, or a wrapper has panicked
	box   *boxed
}

// set says what stands behind the handle: a client within wrappers, the first
// of which is the outermost. They wrap at the next use, so that each of them
// is asked once however often the settings change before.
func (h *clientHandle) set(base client.Client, wrappers []client.Wrapper) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if w := h.now; w != nil && same(w.base, base) && len(w.wrappers) == len(wrappers) {
		return // wrappers are only ever added
	}
	h.now = &wrapping{base: base, wrappers: wrappers, done: make(chan struct{})}
	h.real.Store(nil)
}

// begin returns the wrapping that holds, wrapped by this caller if it is the
// first.
func (h *clientHandle) begin() *wrapping {
	h.mu.Lock()
	w := h.now
	first := !w.begun
	w.begun = true
	h.mu.Unlock()
	if first {
		h.wrap(w)
	}
	return w
}

// wrap asks the wrappers.
func (h *clientHandle) wrap(w *wrapping) {
	var b *boxed
	defer func() {
		h.mu.Lock()
		w.box = b
		switch {
		case h.now != w: // set again meanwhile
		case b == nil: // a wrapper has panicked: the next use asks again
			h.now = &wrapping{base: w.base, wrappers: w.wrappers, done: make(chan struct{})}
		default:
			h.real.Store(b)
		}
		h.mu.Unlock()
		close(w.done)
	}()
	c := w.base
	for _, f := range slices.Backward(w.wrappers) {
		c = f(c)
	}
	made := &boxed{Client: c}
	made.invoker, _ = c.(client.Invoker)
	b = made
}

// peek returns what stands behind the handle, for what takes no call: while the
// wrappers wrap it is the client without them, as the one that asks may be one
// of them.
func (h *clientHandle) peek() client.Client {
	if b := h.real.Load(); b != nil {
		return b
	}
	w := h.begin()
	select {
	case <-w.done:
		if w.box != nil {
			return w.box
		}
	default:
	}
	return w.base
}

// wrapWait is how long a call waits for the wrappers to wrap.
const wrapWait = 5 * time.Second

// load returns what stands behind the handle, for a call: it waits for the
// wrappers, which the call must not go around.
func (h *clientHandle) load(ctx context.Context) (*boxed, error) {
	if b := h.real.Load(); b != nil {
		return b, nil
	}
	ctx, cancel := context.WithTimeout(ctx, wrapWait)
	defer cancel()
	for {
		w := h.begin()
		select {
		case <-w.done:
			if w.box != nil {
				return w.box, nil
			}
			continue
		default:
		}
		select {
		case <-w.done:
		case <-ctx.Done():
			return nil, errors.Wrap("go.micro.client", errors.CodeUnavailable,
				fmt.Errorf("the client's wrappers have not returned: a wrapper must call through the client it is given, not through the service's, while it wraps: %w", ctx.Err()))
		}
	}
}

// Close closes the client of a service that is never run, and what the service
// has made for it. It does nothing once Run has been called, which does the
// same at its end. It implements io.Closer.
func (h *clientHandle) Close() error {
	h.closeUnused()
	return nil
}

func (h *clientHandle) Init(opts ...client.Option) error { return h.peek().Init(opts...) }
func (h *clientHandle) Options() client.Options          { return h.peek().Options() }
func (h *clientHandle) String() string                   { return h.peek().String() }

func (h *clientHandle) NewMessage(topic string, msg any, opts ...client.MessageOption) client.Message {
	return h.peek().NewMessage(topic, msg, opts...)
}

func (h *clientHandle) NewRequest(service, endpoint string, req any, opts ...client.RequestOption) client.Request {
	return h.peek().NewRequest(service, endpoint, req, opts...)
}

func (h *clientHandle) Call(ctx context.Context, req client.Request, rsp any, opts ...client.CallOption) error {
	c, err := h.load(ctx)
	if err != nil {
		return err
	}
	return c.Call(ctx, req, rsp, opts...)
}

func (h *clientHandle) Stream(ctx context.Context, req client.Request, opts ...client.CallOption) (client.Stream, error) {
	c, err := h.load(ctx)
	if err != nil {
		return nil, err
	}
	return c.Stream(ctx, req, opts...)
}

func (h *clientHandle) Publish(ctx context.Context, msg client.Message, opts ...client.PublishOption) error {
	c, err := h.load(ctx)
	if err != nil {
		return err
	}
	return c.Publish(ctx, msg, opts...)
}

// Invoke implements client.Invoker.
func (h *clientHandle) Invoke(ctx context.Context, service, endpoint string, req, rsp any, opts ...client.CallOption) error {
	c, err := h.load(ctx)
	if err != nil {
		return err
	}
	if c.invoker != nil {
		return c.invoker.Invoke(ctx, service, endpoint, req, rsp, opts...)
	}
	return c.Call(ctx, c.NewRequest(service, endpoint, req), rsp, opts...)
}
