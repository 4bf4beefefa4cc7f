//go:build !purego

package server

import (
	"context"
	"reflect"
	"unsafe"
)

// methodInvoker returns a function that calls the method m of recv, which has
// the shape func(context.Context, *Req, *Rsp) error.
//
// reflect.Value.Call costs three allocations. When the receiver is a pointer,
// the method's function, func(*T, context.Context, *Req, *Rsp) error, is
// called through a function type in which the pointers are untyped: all
// pointers are passed in the same way, so both types have the same calling
// convention. The language does not promise that, so a test calls a method in
// both ways, and the build tag purego does without.
func methodInvoker(recv reflect.Value, m reflect.Method) func(ctx context.Context, req, rsp any) (any, error) {
	if recv.Kind() != reflect.Pointer {
		return reflectInvoker(recv, m)
	}
	type function = func(recv unsafe.Pointer, ctx context.Context, req, rsp unsafe.Pointer) error
	// A func value is a pointer to its code's closure; an interface that holds
	// one holds that pointer as its data word.
	boxed := m.Func.Interface()
	closure := (*[2]unsafe.Pointer)(unsafe.Pointer(&boxed))[1]
	fn := *(*function)(unsafe.Pointer(&closure))
	self := recv.UnsafePointer()
	reqType, rspType := m.Type.In(2), m.Type.In(3)
	return func(ctx context.Context, req, rsp any) (any, error) {
		// A wrapper may have passed on something else.
		if reflect.TypeOf(req) != reqType || reflect.TypeOf(rsp) != rspType {
			return nil, wrongTypes(m.Name, reqType, rspType, req, rsp)
		}
		return rsp, fn(self, ctx, pointer(req), pointer(rsp))
	}
}

// pointer returns the pointer that v holds.
func pointer(v any) unsafe.Pointer { return (*[2]unsafe.Pointer)(unsafe.Pointer(&v))[1] }
