//go:build purego

package server

import (
	"context"
	"reflect"
)

func methodInvoker(recv reflect.Value, m reflect.Method) func(ctx context.Context, req, rsp any) (any, error) {
	return reflectInvoker(recv, m)
}
