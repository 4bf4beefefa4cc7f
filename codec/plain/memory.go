//go:build !purego

package plain

import (
	"reflect"
	"slices"
	"unsafe"
)

// This file reaches into values by address. The build tag purego does the same
// by reflection. A value of a named type is read and written as one of the type
// that it is made of, which has the same form in memory.

// ptr is where a value stands.
type ptr = unsafe.Pointer

// at returns p as a pointer to a T. The value is of type T, or of a type made of
// T.
func at[T any](p ptr) *T { return (*T)(p) }

// addr returns where v stands. It is addressable.
func addr(v reflect.Value) ptr { return v.Addr().UnsafePointer() }

// value returns the value of type t at p.
func value(p ptr, t reflect.Type) reflect.Value { return reflect.NewAt(t, p).Elem() }

// boxed returns where the struct in v, of type t, stands. It is not written to.
func boxed(v any, t reflect.Type) ptr {
	if t.Size() == unsafe.Sizeof(uintptr(0)) {
		// It may be a struct of one pointer, which an interface holds itself.
		c := reflect.New(t)
		c.Elem().Set(reflect.ValueOf(v))
		return c.UnsafePointer()
	}
	return (*[2]unsafe.Pointer)(unsafe.Pointer(&v))[1]
}

// in returns where the field stands in the struct at p.
func (l *place) in(p ptr) ptr { return unsafe.Add(p, l.offset) }

// pointee returns where the pointer at p points; false when it is nil.
func pointee(p ptr) (ptr, bool) {
	q := *(*unsafe.Pointer)(p)
	return q, q != nil
}

// target returns where the pointer at p points, to a new t if it was nil.
func target(p ptr, t reflect.Type) ptr {
	q := (*unsafe.Pointer)(p)
	if *q == nil {
		*q = reflect.New(t).UnsafePointer()
	}
	return *q
}

// length returns the length of the slice at p.
func length(p ptr) int { return len(*(*[]struct{})(p)) }

// item returns where element i of the slice at p stands.
func (e *element) item(p ptr, i int) ptr {
	return unsafe.Add(*(*unsafe.Pointer)(p), uintptr(i)*e.size)
}

// items returns the slice at p, whose elements are Ts or made of T. It is not
// written to.
func items[T any](p ptr) []T { return *(*[]T)(p) }

// push appends v to the slice at p, whose elements are Ts or made of T.
func push[T any](p ptr, v T) {
	s := (*[]T)(p)
	*s = append(*s, v)
}

// reserve makes room for n more elements in the slice at p, whose elements are
// Ts or made of T.
func reserve[T any](p ptr, n int) {
	s := (*[]T)(p)
	*s = slices.Grow(*s, n)
}

// raw returns the byte slice at p.
func raw(p ptr) []byte { return *(*[]byte)(p) }

// setRaw sets the byte slice at p.
func setRaw(p ptr, b []byte) { *(*[]byte)(p) = b }
