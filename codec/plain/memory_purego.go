//go:build purego

package plain

import "reflect"

type ptr = reflect.Value

func at[T any](p ptr) *T {
	return p.Addr().Convert(reflect.TypeFor[*T]()).Interface().(*T)
}

func addr(v reflect.Value) ptr { return v }

func value(p ptr, _ reflect.Type) reflect.Value { return p }

func boxed(v any, t reflect.Type) ptr {
	c := reflect.New(t).Elem()
	c.Set(reflect.ValueOf(v))
	return c
}

func (l *place) in(p ptr) ptr { return p.FieldByIndex(l.index) }

func pointee(p ptr) (ptr, bool) { return p.Elem(), !p.IsNil() }

func target(p ptr, t reflect.Type) ptr {
	if p.IsNil() {
		p.Set(reflect.New(t).Convert(p.Type()))
	}
	return p.Elem()
}

func length(p ptr) int { return p.Len() }

func (e *element) item(p ptr, i int) ptr { return p.Index(i) }

func items[T any](p ptr) []T {
	if s, ok := p.Interface().([]T); ok {
		return s
	}
	s := make([]T, p.Len())
	for i := range s {
		s[i] = *at[T](p.Index(i))
	}
	return s
}

func push[T any](p ptr, v T) {
	n := p.Len()
	p.Grow(1)
	p.SetLen(n + 1)
	*at[T](p.Index(n)) = v
}

func reserve[T any](p ptr, n int) { p.Grow(n) }

func raw(p ptr) []byte { return p.Bytes() }

func setRaw(p ptr, b []byte) { p.SetBytes(b) }
