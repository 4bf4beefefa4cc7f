package http

import (
	"context"
	nethttp "net/http"
	"time"

	"connectrpc.com/connect"
	"connectrpc.com/grpcreflect"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// ownRoutes returns what the handler answers itself: health, and reflection
// when it knows what it could describe.
func (h *Handler) ownRoutes() map[string]nethttp.Handler {
	hl, err := newHealth(h)
	if err != nil { // the description is the same for all
		h.cfg.Logger.Error("the health service cannot be described", "error", err)
		return nil
	}
	own := hl.routes()
	if h.opts.Service == nil {
		return own
	}
	schema := newSchema(h.opts.Service, hl.file, h.cfg.Logger)
	h.schema = schema
	reflector := grpcreflect.NewReflector(schema, grpcreflect.WithDescriptorResolver(schema), grpcreflect.WithExtensionResolver(noExtensions{}))
	limit := connect.WithReadMaxBytes(maxHealthRequest)
	for _, make := range [...]func(*grpcreflect.Reflector, ...connect.HandlerOption) (string, nethttp.Handler){grpcreflect.NewHandlerV1, grpcreflect.NewHandlerV1Alpha} {
		prefix, inner := make(reflector, limit)
		own[prefix+"ServerReflectionInfo"] = h.untilStop(inner)
	}
	return own
}

// untilStop ends the streams of a handler when the service stops.
func (h *Handler) untilStop(inner nethttp.Handler) nethttp.Handler {
	return nethttp.HandlerFunc(func(w nethttp.ResponseWriter, r *nethttp.Request) {
		rc := nethttp.NewResponseController(w)
		stop := context.AfterFunc(h.ctx, func() {
			_ = rc.SetReadDeadline(time.Unix(1, 0)) // it fails when the call has ended
		})
		defer stop()
		inner.ServeHTTP(w, r)
	})
}

// noExtensions resolves no extension: services that are described have none.
type noExtensions struct{}

// FindExtensionByName implements grpcreflect.ExtensionResolver.
func (noExtensions) FindExtensionByName(protoreflect.FullName) (protoreflect.ExtensionType, error) {
	return nil, errNoExtension
}

// FindExtensionByNumber implements grpcreflect.ExtensionResolver.
func (noExtensions) FindExtensionByNumber(protoreflect.FullName, protoreflect.FieldNumber) (protoreflect.ExtensionType, error) {
	return nil, errNoExtension
}

// RangeExtensionsByMessage implements grpcreflect.ExtensionResolver.
func (noExtensions) RangeExtensionsByMessage(protoreflect.FullName, func(protoreflect.ExtensionType) bool) {
}
