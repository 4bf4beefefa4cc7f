// Package metadata carries the headers of a call in a context.
//
// On the wire metadata is a [Header]: a list of fields, keys in lower case, a
// key may repeat, values of keys that end in "-bin" are arbitrary bytes. In a
// program it is mostly read through [Metadata], a plain map with Title-Case
// keys and the first value of each.
//
// Metadata in a context is carried by calls made with that context. A handler
// that calls on with its own context therefore passes on what it was sent.
package metadata

import (
	"context"
	"strings"

	"github.com/seed-9a4e2794/micro/internal/ctxkey"
)

// Metadata is the map view of a call's headers: one value a key, keys in
// Title-Case ("X-User-Id"). A Metadata handed out by this package belongs to
// the caller; changing it changes nothing else.
type Metadata map[string]string

// Get returns the value of key, whatever case key and the map's keys are in.
func (md Metadata) Get(key string) (string, bool) {
	if v, ok := md[key]; ok {
		return v, true
	}
	if v, ok := md[titleCase(key)]; ok {
		return v, true
	}
	for k, v := range md {
		if strings.EqualFold(k, key) {
			return v, true
		}
	}
	return "", false
}

// Set stores value under the Title-Case form of key and removes the other
// spellings of it.
func (md Metadata) Set(key, value string) {
	md.Delete(key)
	md[titleCase(key)] = value
}

// Delete removes key in every spelling.
func (md Metadata) Delete(key string) {
	for k := range md {
		if strings.EqualFold(k, key) {
			delete(md, k)
		}
	}
}

// Copy returns a copy of md. A nil md gives an empty map.
func Copy(md Metadata) Metadata {
	out := make(Metadata, len(md))
	for k, v := range md {
		out[k] = v
	}
	return out
}

// NewContext returns a context that carries md and nothing of what ctx
// carried. md is copied: later changes to it are not seen.
func NewContext(ctx context.Context, md Metadata) context.Context {
	h := make(Header, 0, len(md))
	for k, v := range md {
		h.Add(k, v)
	}
	return NewHeaderContext(ctx, h)
}

// FromContext returns the metadata of ctx as a new map and whether ctx carries
// any. In a handler that is what the caller sent.
func FromContext(ctx context.Context) (Metadata, bool) {
	h, ok := HeaderFromContext(ctx)
	if !ok {
		return nil, false
	}
	md := make(Metadata, len(h))
	for _, f := range h {
		k := titleCase(f.Key)
		if _, dup := md[k]; !dup {
			md[k] = f.Value
		}
	}
	return md, true
}

// MergeContext returns a context whose metadata is that of ctx with patch on
// top. Keys already present are kept unless overwrite is true.
func MergeContext(ctx context.Context, patch Metadata, overwrite bool) context.Context {
	old, _ := HeaderFromContext(ctx)
	h := old.Clone()
	for k, v := range patch {
		if _, have := old.Get(k); have && !overwrite {
			continue
		}
		h.Set(k, v)
	}
	return NewHeaderContext(ctx, h)
}

// Set returns a context whose metadata has key replaced by value.
func Set(ctx context.Context, key, value string) context.Context {
	old, _ := HeaderFromContext(ctx)
	h := old.Clone()
	h.Set(key, value)
	return NewHeaderContext(ctx, h)
}

// Get returns the first value of key in the metadata of ctx.
func Get(ctx context.Context, key string) (string, bool) {
	h, _ := HeaderFromContext(ctx)
	return h.Get(key)
}

// Values returns all values of key in the metadata of ctx, in the order sent.
func Values(ctx context.Context, key string) []string {
	h, _ := HeaderFromContext(ctx)
	return h.Values(key)
}

// NewHeaderContext returns a context that carries h and nothing of what ctx
// carried. h must not be changed afterwards.
func NewHeaderContext(ctx context.Context, h Header) context.Context {
	return context.WithValue(ctx, ctxkey.Header{}, &h)
}

// HeaderFromContext returns the metadata of ctx as a list. The list is shared
// and must not be changed; Clone it first.
func HeaderFromContext(ctx context.Context) (Header, bool) {
	h, ok := ctx.Value(ctxkey.Header{}).(*Header)
	if !ok || h == nil {
		return nil, false
	}
	return *h, true
}

// titleCase returns key as Title-Case: the first letter and each letter after
// a hyphen in upper case, the others in lower case.
func titleCase(key string) string {
	upper := true
	for i := 0; i < len(key); i++ {
		c := key[i]
		if (upper && 'a' <= c && c <= 'z') || (!upper && 'A' <= c && c <= 'Z') {
			b := []byte(key)
			for ; i < len(b); i++ {
				c := b[i]
				switch {
				case upper && 'a' <= c && c <= 'z':
					b[i] = c - 'a' + 'A'
				case !upper && 'A' <= c && c <= 'Z':
					b[i] = c - 'A' + 'a'
				}
				upper = c == '-'
			}
			return string(b)
		}
		upper = c == '-'
	}
	return key
}
