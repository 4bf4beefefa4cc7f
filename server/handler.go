package server

import (
	"context"
	"errors"
	"fmt"
	"go/token"
	"log/slog"
	"reflect"
	"slices"

	"github.com/seed-9a4e2794/micro/internal/codecs"
	"github.com/seed-9a4e2794/micro/registry"
	"github.com/seed-9a4e2794/micro/transport"
)

// endpoint is one thing that a handler answers.
type endpoint struct {
	name     string
	desc     *registry.Endpoint
	internal bool
	kind     transport.Kind
	// request and response are the types of the messages, nil when the handler
	// does not say.
	request, response reflect.Type
	// pair is the codec of the two, nil when there is none.
	pair *codecs.Pair
	// bare endpoints are the framework's own: no wrapper sees them, and their
	// errors go out as they are.
	bare bool

	// Unary: newReq and newRsp make empty messages; invoke returns the
	// response, which is rsp or one of its own. newRsp is nil when invoke
	// always makes its own, and fill then copies that into one made before.
	newReq func() any
	newRsp func() any
	invoke func(ctx context.Context, req, rsp any) (any, error)
	fill   func(dst, src any)

	// Stream: not nil for streams.
	serve func(ctx context.Context, s Stream) error
}

// handler implements Handler for structs and typed functions.
type handler struct {
	name      string
	value     any
	endpoints []*endpoint
	opts      HandlerOptions
	err       error // why it cannot be used
}

func (h *handler) Name() string            { return h.name }
func (h *handler) Handler() any            { return h.value }
func (h *handler) Options() HandlerOptions { return h.opts }

func (h *handler) Endpoints() []*registry.Endpoint {
	out := make([]*registry.Endpoint, len(h.endpoints))
	for i, e := range h.endpoints {
		out[i] = e.desc
	}
	return out
}

func newHandlerOptions(opts []HandlerOption) HandlerOptions {
	var o HandlerOptions
	for _, f := range opts {
		f(&o)
	}
	return o
}

// add adds an endpoint with what the options say of it.
func (h *handler) add(e *endpoint, req, rsp *registry.Value) {
	e.internal = h.opts.Internal
	if e.serve == nil {
		e.pair = codecs.PairOf(e.request, e.response)
	}
	md := make(map[string]string)
	if e.serve != nil {
		md["stream"] = "true"
	}
	if slices.Contains(h.opts.safe, e.name) {
		md[safeKey] = "true"
	}
	for k, v := range h.opts.Metadata[e.name] {
		md[k] = v
	}
	e.desc = &registry.Endpoint{Name: e.name, Request: req, Response: rsp, Metadata: md}
	h.endpoints = append(h.endpoints, e)
}

// newStructHandler makes a handler of the methods of v.
func newStructHandler(v any, log *slog.Logger, opts ...HandlerOption) *handler {
	h := &handler{value: v, opts: newHandlerOptions(opts)}
	recv := reflect.ValueOf(v)
	if !recv.IsValid() {
		h.err = errors.New("server: the handler is nil")
		return h
	}
	typ := recv.Type()
	h.name = nameOf(typ)
	if h.name == "" {
		h.err = fmt.Errorf("server: a handler of type %s has no name to call it by", typ)
		return h
	}
	if !token.IsExported(h.name) {
		h.err = fmt.Errorf("server: the handler's type %s is not exported", h.name)
		return h
	}
	for i := range typ.NumMethod() {
		m := typ.Method(i)
		why := h.addMethod(recv, m)
		if why != "" {
			log.Debug("method is no endpoint", "method", h.name+"."+m.Name, "reason", why)
		}
	}
	if len(h.endpoints) == 0 {
		h.err = fmt.Errorf("server: type %s has no exported method of the shape func(context.Context, *Req, *Rsp) error or func(context.Context, server.Stream) error", h.name)
	}
	return h
}

// nameOf returns the name of a type or of what it points to.
func nameOf(t reflect.Type) string {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t.Name()
}

// addMethod adds the endpoint of one method, or says why there is none.
func (h *handler) addMethod(recv reflect.Value, m reflect.Method) string {
	t := m.Type
	switch {
	case t.NumOut() != 1 || t.Out(0) != reflect.TypeFor[error]():
		return "it does not return an error alone"
	case t.NumIn() < 3 || t.In(1) != reflect.TypeFor[context.Context]():
		return "its first argument is not a context.Context followed by others"
	}
	e := &endpoint{name: h.name + "." + m.Name}
	switch {
	case t.NumIn() == 3 && t.In(2).Kind() == reflect.Interface && reflect.TypeFor[Stream]().Implements(t.In(2)):
		e.kind = transport.KindBidi
		fn := recv.Method(m.Index)
		e.serve = func(ctx context.Context, s Stream) error {
			err, _ := fn.Call([]reflect.Value{reflect.ValueOf(ctx), reflect.ValueOf(s)})[0].Interface().(error)
			return err
		}
		h.add(e, &registry.Value{Name: "Context", Type: "Context"}, &registry.Value{Name: "Stream", Type: "Stream"})
		return ""
	case t.NumIn() != 4:
		return "it has neither two nor three arguments"
	case !usable(t.In(2)) || !usable(t.In(3)):
		return "its request or response is not a pointer to an exported or built-in type"
	}
	req, rsp := t.In(2).Elem(), t.In(3).Elem()
	e.request, e.response = req, rsp
	e.newReq = func() any { return reflect.New(req).Interface() }
	e.newRsp = func() any { return reflect.New(rsp).Interface() }
	e.invoke = methodInvoker(recv, m)
	h.add(e, describe(req), describe(rsp))
	return ""
}

func usable(t reflect.Type) bool {
	return t.Kind() == reflect.Pointer && (t.Elem().PkgPath() == "" || token.IsExported(t.Elem().Name()))
}

// Typed returns a handler that answers one endpoint, such as "Greeter.Hello",
// with a function. The function's types are known where it is compiled: no
// reflection takes place when it is called. A nil response without an error is
// an empty one.
func Typed[Req, Rsp any](name string, fn func(context.Context, *Req) (*Rsp, error), opts ...HandlerOption) Handler {
	h := &handler{name: name, value: fn, opts: newHandlerOptions(opts)}
	if !h.checkName() {
		return h
	}
	h.add(&endpoint{
		name:    name,
		request: reflect.TypeFor[Req](), response: reflect.TypeFor[Rsp](),
		newReq: func() any { return new(Req) },
		invoke: func(ctx context.Context, req, _ any) (any, error) {
			rsp, err := fn(ctx, req.(*Req))
			if rsp == nil {
				rsp = new(Rsp)
			}
			return rsp, err
		},
		newRsp: func() any { return new(Rsp) },
		fill:   func(dst, src any) { *dst.(*Rsp) = *src.(*Rsp) },
	}, describe(reflect.TypeFor[Req]()), describe(reflect.TypeFor[Rsp]()))
	return h
}

func (h *handler) checkName() bool {
	if h.name == "" || len(h.name) > maxEndpointName {
		h.err = fmt.Errorf("server: the endpoint name %.40q has %d bytes, not 1 to %d", h.name, len(h.name), maxEndpointName)
	}
	return h.err == nil
}

// maxEndpointName is what fits the wire together with a service's name.
const maxEndpointName = 512
