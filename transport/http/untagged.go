package http

import (
	"reflect"
	"sync/atomic"

	"github.com/seed-9a4e2794/micro/codec"
	"github.com/seed-9a4e2794/micro/codec/plain"
	"github.com/seed-9a4e2794/micro/transport"
)

// untagged is an endpoint whose messages have their field numbers from the
// order of the fields. A caller that sends protobuf depends on them, and is
// misread when a field is put between others.
type untagged struct {
	endpoint string
	types    []string
	told     atomic.Bool
}

// untaggedOf returns the endpoint as such, nil when its field numbers are
// written down or it has none. The lock is held.
func (h *Handler) untaggedOf(name string, ep transport.Endpoint) *untagged {
	if u, ok := h.numbers[name]; ok {
		return u
	}
	var u *untagged
	for _, t := range [...]reflect.Type{ep.Request, ep.Response} {
		if t == nil || t.Kind() != reflect.Struct || t.NumField() == 0 || generatedMessage(t) != nil {
			continue
		}
		if sc, err := plain.Of(t); err == nil && !sc.Tagged() {
			if u == nil {
				u = &untagged{endpoint: name}
			}
			u.types = append(u.types, t.String())
		}
	}
	if len(h.numbers) < maxRoutes {
		h.numbers[name] = u
	}
	return u
}

// called says once that a caller depends on the order of fields. contentType is
// that of the messages.
func (h *Handler) called(u *untagged, contentType string) {
	if u == nil || contentType != codec.Proto || u.told.Load() || !u.told.CompareAndSwap(false, true) {
		return
	}
	h.cfg.Logger.Warn("a caller sends protobuf to an endpoint of plain structs, so it depends on the order of their fields: give them numbers, such as `protobuf:\"1\"`",
		"endpoint", u.endpoint, "types", u.types)
}
