package metadata

import "strings"

// Field is one header field. Key is in lower case.
type Field struct {
	Key   string
	Value string
}

// Header is metadata as it travels: fields in order, keys in lower case, a key
// may stand more than once. The zero Header is empty and ready to use.
type Header []Field

// Get returns the first value of key, whatever case key is in.
func (h Header) Get(key string) (string, bool) {
	for i := range h {
		if strings.EqualFold(h[i].Key, key) {
			return h[i].Value, true
		}
	}
	return "", false
}

// Values returns all values of key in order, nil when there is none.
func (h Header) Values(key string) []string {
	var vs []string
	for i := range h {
		if strings.EqualFold(h[i].Key, key) {
			vs = append(vs, h[i].Value)
		}
	}
	return vs
}

// Add appends a field.
func (h *Header) Add(key, value string) {
	*h = append(*h, Field{Key: strings.ToLower(key), Value: value})
}

// Set removes all fields of key and appends one.
func (h *Header) Set(key, value string) {
	h.Del(key)
	h.Add(key, value)
}

// Del removes all fields of key. Fields are moved within h's own array.
func (h *Header) Del(key string) {
	kept := (*h)[:0]
	for _, f := range *h {
		if !strings.EqualFold(f.Key, key) {
			kept = append(kept, f)
		}
	}
	*h = kept
}

// Clone returns a copy with its own array and room for one field more.
func (h Header) Clone() Header {
	return append(make(Header, 0, len(h)+1), h...)
}
