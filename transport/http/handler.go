package http

import (
	"context"
	"encoding/json"
	stderrors "errors"
	"fmt"
	"mime"
	nethttp "net/http"
	"strings"
	"sync"
	"sync/atomic"

	"connectrpc.com/connect"

	"github.com/seed-9a4e2794/micro/codec"
	"github.com/seed-9a4e2794/micro/errors"
	"github.com/seed-9a4e2794/micro/transport"
)

// handlerId is the Id of errors that the handler makes.
const handlerId = "go.micro.http"

// Handler answers the calls of every HTTP protocol. It is made for one
// listener: Shutdown ends it.
type Handler struct {
	cfg   Config
	serve func(transport.Socket)
	opts  transport.AcceptOptions
	fails *connect.ErrorWriter

	ctx    context.Context // ends with Shutdown or Close: health watches and reflection end with it
	cancel context.CancelFunc
	going  atomic.Bool // no more calls are taken

	own   map[string]nethttp.Handler // health and reflection, by path
	takes []connect.HandlerOption    // codecs, compression, limits

	routes bounded[*route]   // by endpoint, of those that are known
	strays bounded[*route]   // by name, of what may be an endpoint
	paths  bounded[*route]   // by path, the same as routes
	strict bounded[struct{}] // the services that strict calls were let in for

	mu sync.Mutex
	// numbers has the endpoints whose field numbers are not written down, nil
	// for those where they are.
	numbers map[string]*untagged

	schema *schema // nil when nothing is known of the service
	micro  *goMicro
}

// NewHandler returns a handler that serves as transport.Listener.Accept is
// told to.
func NewHandler(cfg Config, serve func(transport.Socket), opts ...transport.AcceptOption) *Handler {
	h := &Handler{cfg: cfg.withDefaults(), serve: serve, opts: transport.NewAcceptOptions(opts...), numbers: make(map[string]*untagged),
		routes: bounded[*route]{max: maxRoutes}, strays: bounded[*route]{max: maxStrays}, paths: bounded[*route]{max: maxPaths}, strict: bounded[struct{}]{max: maxStrict}}
	h.ctx, h.cancel = context.WithCancel(context.Background())
	h.takes = h.options()
	h.fails = connect.NewErrorWriter(h.takes...)
	h.own = h.ownRoutes()
	h.micro = newGoMicro(h)
	return h
}

// options returns the options of all connect handlers.
func (h *Handler) options() []connect.HandlerOption {
	names := []string{"proto", "json", jsonUTF8, "protobuf", "bytes", "octet-stream"}
	if s := h.opts.Service; s != nil {
		for _, ct := range s.ContentTypes() {
			if contentType(codecName(ct)) == ct { // else it cannot be told from a codec's name
				names = append(names, codecName(ct))
			}
		}
	}
	opts := []connect.HandlerOption{connect.WithReadMaxBytes(h.cfg.MaxMessage), connect.WithSendMaxBytes(h.cfg.MaxMessage), gzipped(h.cfg.MaxMessage)}
	if h.cfg.CompressMin > 0 {
		opts = append(opts, connect.WithCompressMinBytes(h.cfg.CompressMin))
	} else {
		opts = append(opts, connect.WithCompressMinBytes(h.cfg.MaxMessage+1))
	}
	for _, n := range names {
		opts = append(opts, connect.WithCodec(rawCodec(n)))
	}
	return opts
}

// Shutdown refuses calls from now on, and ends what callers watch. Calls under
// way over net/http are waited for by its server; those that have left it are
// waited for here, until ctx ends.
func (h *Handler) Shutdown(ctx context.Context) error {
	h.going.Store(true)
	h.cancel()
	return h.micro.shutdown(ctx)
}

// Close ends the connections that have left net/http's server.
func (h *Handler) Close() error {
	h.going.Store(true)
	h.cancel()
	return h.micro.close()
}

// ServeHTTP answers one request.
func (h *Handler) ServeHTTP(w nethttp.ResponseWriter, r *nethttp.Request) {
	rpc := isRPC(r)
	switch {
	case !rpc && h.probe(w, r):
		return
	case !rpc && h.micro.is(r):
		h.micro.serve(w, r)
		return
	case h.going.Load():
		w.Header().Set("Connection", "close")
		h.fail(w, r, errors.Refuse(handlerId, errors.CodeUnavailable, "the service is stopping"))
		return
	}
	if err := h.meant(r); err != nil {
		h.fail(w, r, err)
		return
	}
	if own := h.own[r.URL.Path]; own != nil {
		own.ServeHTTP(w, r)
		return
	}
	rt, err := h.route(r.URL.Path)
	if err != nil {
		h.missing(w, r, err)
		return
	}
	switch {
	case r.Method == nethttp.MethodGet && rt.unary != nil:
		h.get(w, r, rt)
	case r.Method != nethttp.MethodPost:
		w.Header().Set("Allow", nethttp.MethodPost)
		decline(w, r, nethttp.StatusMethodNotAllowed, "%s is called with POST, not %s", rt.method.Endpoint, r.Method)
	case rt.stream == nil && isStream(r):
		h.fail(w, r, errors.NewCode(handlerId, errors.CodeUnimplemented, "%s is not a stream: call it with one message, as application/json or application/proto", rt.method.Endpoint))
	case rt.unary == nil && !isStream(r) && !rpc:
		decline(w, r, nethttp.StatusUnsupportedMediaType, "%s is a stream: call it by gRPC, gRPC-Web, or Connect with application/connect+json", rt.method.Endpoint)
	case rt.unary == nil || rpc && rt.stream != nil: // what gRPC does not say, whoever takes both kinds finds out
		rt.stream.ServeHTTP(w, r)
	case !rpc && strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc"):
		decline(w, r, nethttp.StatusHTTPVersionNotSupported, "gRPC needs HTTP/2, and this request came over %s: gRPC-Web and Connect do not", r.Proto)
	case !rpc && !h.readable(r):
		w.Header().Set("Accept-Post", "application/json, application/proto, application/grpc, application/grpc-web")
		decline(w, r, nethttp.StatusUnsupportedMediaType, "the content type %q is none that %s takes: send JSON with Content-Type: application/json", r.Header.Get("Content-Type"), rt.method.Endpoint)
	default:
		rt.unary.ServeHTTP(w, r)
	}
}

// isRPC reports whether a request is of gRPC, gRPC-Web or a Connect stream,
// which say so in their content type.
func isRPC(r *nethttp.Request) bool {
	ct := r.Header.Get("Content-Type")
	if !strings.HasPrefix(ct, "application/") {
		return false
	}
	if rest, ok := strings.CutPrefix(ct, "application/grpc"); ok {
		// go-micro frames its own messages so, over HTTP/1.1.
		return rest == "" && r.ProtoMajor == 2 || strings.HasPrefix(rest, "-web") || strings.HasPrefix(rest, "+") && r.ProtoMajor == 2
	}
	return isStream(r)
}

// isStream reports whether a request is a stream of Connect's.
func isStream(r *nethttp.Request) bool {
	return strings.HasPrefix(r.Header.Get("Content-Type"), "application/connect+")
}

// readable reports whether the content type of a unary request is one of
// those that are known here.
func (h *Handler) readable(r *nethttp.Request) bool {
	ct, parameters, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if charset, has := parameters["charset"]; err != nil || has && !strings.EqualFold(charset, "utf-8") {
		return false
	}
	switch ct {
	case codec.JSON, codec.Proto, codec.Bytes, "application/proto", "application/bytes":
		return true
	}
	if s := h.opts.Service; s != nil {
		for _, known := range s.ContentTypes() {
			if ct == known {
				return true
			}
		}
	}
	return false
}

// get answers a GET, which only endpoints that are marked safe take. The
// request stands in the URL as Connect has it: encoding and message. Without
// them it is an empty one.
func (h *Handler) get(w nethttp.ResponseWriter, r *nethttp.Request, rt *route) {
	if !rt.safe {
		w.Header().Set("Allow", nethttp.MethodPost)
		decline(w, r, nethttp.StatusMethodNotAllowed, "%s is called with POST: it is not marked as safe, so a GET must not call it", rt.method.Endpoint)
		return
	}
	q := r.URL.Query()
	if q.Has("message") && q.Has("encoding") {
		rt.unary.ServeHTTP(w, r)
		return
	}
	for k := range q {
		switch k {
		case "message", "encoding", "base64", "compression", "connect":
		default:
			h.answer(w, r, nethttp.StatusBadRequest, errors.NewCode(handlerId, errors.CodeInvalidArgument,
				"the parameter %q is not known: give the request as ?message=JSON", k))
			return
		}
	}
	if !q.Has("encoding") {
		q.Set("encoding", "json")
	}
	if !q.Has("message") {
		q.Set("message", "{}")
	}
	r = r.Clone(r.Context())
	r.URL.RawQuery = q.Encode()
	rt.unary.ServeHTTP(w, r)
}

// fail answers with an error in the form of the request's protocol.
func (h *Handler) fail(w nethttp.ResponseWriter, r *nethttp.Request, err error) {
	// It fails when the caller has gone.
	_ = h.fails.Write(w, r, toConnect(err, fromGoMicro(r.Header)))
}

// missing answers a call of an endpoint that cannot be found. By convention
// that is UNIMPLEMENTED in gRPC and 404 in HTTP.
func (h *Handler) missing(w nethttp.ResponseWriter, r *nethttp.Request, err error) {
	e := errors.From(handlerId, err)
	if e.GRPCCode() != errors.CodeNotFound {
		h.fail(w, r, e)
		return
	}
	gone := *e
	gone.Exact = errors.CodeUnimplemented
	if isRPC(r) {
		h.fail(w, r, &gone)
		return
	}
	h.answer(w, r, nethttp.StatusNotFound, &gone)
}

// answer answers with an error under a status of its own, in the JSON that
// Connect has for errors.
func (h *Handler) answer(w nethttp.ResponseWriter, r *nethttp.Request, status int, err error) {
	if isRPC(r) {
		h.fail(w, r, err)
		return
	}
	h.fail(statusWriter{w, status}, r, err)
}

// decline answers a request whose form is of no protocol. There is no code: it
// would be that of a call, and this is none. Clients of the protocols look for
// one in JSON, and else at the status; they say nothing of what they accept.
func decline(w nethttp.ResponseWriter, r *nethttp.Request, status int, format string, a ...any) {
	text := fmt.Sprintf(format, a...)
	form := "text/plain; charset=utf-8"
	if r.Header.Get("Accept") != "" {
		if b, err := json.Marshal(map[string]string{"message": text}); err == nil { // a string always has a form
			form, text = codec.JSON, string(b)
		}
	}
	w.Header().Set("Content-Type", form)
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = fmt.Fprintln(w, text) // it fails when the caller has gone
}

// statusWriter replaces the status.
type statusWriter struct {
	nethttp.ResponseWriter
	status int
}

// WriteHeader implements http.ResponseWriter.
func (w statusWriter) WriteHeader(int) { w.ResponseWriter.WriteHeader(w.status) }

// serviceName returns the name of the service, "" when it is not known.
func (h *Handler) serviceName() string {
	if h.opts.Service == nil {
		return ""
	}
	return h.opts.Service.Name()
}

// fromGoMicro reports whether a gRPC request is of go-micro's gRPC client.
func fromGoMicro(h nethttp.Header) bool { return h.Get("X-Content-Type") != "" }

// errStopped says that what is watched has ended with the service.
var errStopped = stderrors.New("the service is stopping")
