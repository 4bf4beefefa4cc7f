package server

import (
	"context"
	"fmt"
	"reflect"
)

// reflectInvoker returns a function that calls the method m of recv by
// reflection.
func reflectInvoker(recv reflect.Value, m reflect.Method) func(ctx context.Context, req, rsp any) (any, error) {
	fn := recv.Method(m.Index)
	reqType, rspType := m.Type.In(2), m.Type.In(3)
	return func(ctx context.Context, req, rsp any) (any, error) {
		if reflect.TypeOf(req) != reqType || reflect.TypeOf(rsp) != rspType {
			return nil, wrongTypes(m.Name, reqType, rspType, req, rsp)
		}
		err, _ := fn.Call([]reflect.Value{reflect.ValueOf(ctx), reflect.ValueOf(req), reflect.ValueOf(rsp)})[0].Interface().(error)
		return rsp, err
	}
}

// wrongTypes is the error of a wrapper that passes on a request or response
// that the method does not take.
func wrongTypes(method string, reqType, rspType reflect.Type, req, rsp any) error {
	return fmt.Errorf("a wrapper passed a %T and a %T to %s, which takes a %s and a %s", req, rsp, method, reqType, rspType)
}
