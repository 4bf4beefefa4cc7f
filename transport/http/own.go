package http

import (
	"context"
	nethttp "net/http"
	"time"

	"connectrpc.com/connect"
	"connectrpc.com/grpcreflect"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/seed-9a4e2794/micro/transport"
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
	limit := connect.WithHandlerOptions(connect.WithReadMaxBytes(maxHealthRequest), gzipped(maxHealthRequest))
	for _, make := range [...]func(*grpcreflect.Reflector, ...connect.HandlerOption) (string, nethttp.Handler){grpcreflect.NewHandlerV1, grpcreflect.NewHandlerV1Alpha} {
		prefix, inner := make(reflector, limit)
		own[prefix+reflection] = h.authorized("ServerReflection."+reflection, h.untilStop(inner))
	}
	return own
}

// reflection is the method of the reflection services.
const reflection = "ServerReflectionInfo"

// authorized asks the service whether a caller may have an answer.
func (h *Handler) authorized(endpoint string, inner nethttp.Handler) nethttp.Handler {
	a, ok := h.opts.Service.(transport.Authorizer)
	if !ok {
		return inner
	}
	return nethttp.HandlerFunc(func(w nethttp.ResponseWriter, r *nethttp.Request) {
		if err := a.Authorize(&callContext{Context: r.Context(), request: r.Header, protocol: string(GRPC)}, endpoint); err != nil {
			h.fail(w, r, err)
			return
		}
		inner.ServeHTTP(w, r)
	})
}

// untilStop ends the streams of a handler when the service stops.
func (h *Handler) untilStop(inner nethttp.Handler) nethttp.Handler {
	return nethttp.HandlerFunc(func(w nethttp.ResponseWriter, r *nethttp.Request) {
		rc := nethttp.NewResponseController(w)
		ended := make(chan struct{})
		stop := context.AfterFunc(h.ctx, func() {
			defer close(ended)
			_ = rc.SetReadDeadline(time.Unix(1, 0)) // it fails when the call has ended
		})
		defer func() {
			if !stop() {
				<-ended // the stream must not be touched once the handler has returned
			}
		}()
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
