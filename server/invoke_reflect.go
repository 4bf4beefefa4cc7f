package server

import (
	"context"
	"reflect"
)

// reflectInvoker returns a function that calls the method m of recv by
// reflection.
func reflectInvoker(recv reflect.Value, m reflect.Method) func(ctx context.Context, req, rsp any) (any, error) {
	fn := recv.Method(m.Index)
	return func(ctx context.Context, req, rsp any) (any, error) {
		err, _ := fn.Call([]reflect.Value{reflect.ValueOf(ctx), reflect.ValueOf(req), reflect.ValueOf(rsp)})[0].Interface().(error)
		return rsp, err
	}
}
