package http

import (
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"sync"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/seed-9a4e2794/micro/codec/plain"
	"github.com/seed-9a4e2794/micro/transport"
)

var errNoExtension = fmt.Errorf("%w: services described here have no extensions", protoregistry.NotFound)

// schema describes a service in protobuf's terms, for reflection. Endpoints of
// generated code are described by the file that they were generated from,
// others by a file that is made of their types.
type schema struct {
	service transport.Service
	health  protoreflect.FileDescriptor
	log     *slog.Logger

	mu    sync.Mutex
	of    []string // the endpoints that files and names describe
	files *protoregistry.Files
	names []string
	told  map[string]bool // endpoints whose lack of a description has been logged
}

func newSchema(s transport.Service, health protoreflect.FileDescriptor, log *slog.Logger) *schema {
	return &schema{service: s, health: health, log: log, told: make(map[string]bool)}
}

// Names implements grpcreflect.Namer.
func (s *schema) Names() []string {
	_, names := s.current()
	names = append(slices.Clone(names), healthService)
	slices.Sort(names)
	return slices.Compact(names)
}

// FindFileByPath implements protodesc.Resolver.
func (s *schema) FindFileByPath(path string) (protoreflect.FileDescriptor, error) {
	files, _ := s.current()
	if fd, err := files.FindFileByPath(path); err == nil {
		return fd, nil
	}
	return protoregistry.GlobalFiles.FindFileByPath(path)
}

// FindDescriptorByName implements protodesc.Resolver.
func (s *schema) FindDescriptorByName(name protoreflect.FullName) (protoreflect.Descriptor, error) {
	files, _ := s.current()
	if d, err := files.FindDescriptorByName(name); err == nil {
		return d, nil
	}
	return protoregistry.GlobalFiles.FindDescriptorByName(name)
}

// current returns the description of the endpoints that there are now.
func (s *schema) current() (*protoregistry.Files, []string) {
	endpoints := s.service.Endpoints()
	of := make([]string, len(endpoints))
	for i, e := range endpoints {
		of[i] = e.Name
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.files == nil || !slices.Equal(of, s.of) {
		s.of = of
		s.files, s.names = s.describe(endpoints)
	}
	return s.files, s.names
}

// describe makes the description. The lock is held.
func (s *schema) describe(endpoints []transport.Endpoint) (*protoregistry.Files, []string) {
	files := new(protoregistry.Files)
	if err := files.RegisterFile(s.health); err != nil {
		s.log.Error("the health service cannot be described", "error", err)
	}
	var names []string
	made := &descriptorpb.FileDescriptorProto{Name: proto.String(fileName(s.service.Name())), Package: proto.String(packageName(s.service.Name())), Syntax: proto.String("proto3")}
	own := make(map[string]*descriptorpb.ServiceDescriptorProto)
	for _, e := range endpoints {
		handler, method, ok := cutLast(e.Name)
		if !ok || !identifier(handler) || !identifier(method) {
			s.undescribed(e, errors.New("its name is not Handler.Method"))
			continue
		}
		if sd := generated(handler, method, e); sd != nil {
			if name := string(sd.FullName()); !slices.Contains(names, name) {
				names = append(names, name)
			}
			continue
		}
		in, err1 := messageName(made, e.Request)
		out, err2 := messageName(made, e.Response)
		if err := errors.Join(err1, err2); err != nil {
			s.undescribed(e, err)
			continue
		}
		sd := own[handler]
		if sd == nil {
			sd = &descriptorpb.ServiceDescriptorProto{Name: &handler}
			own[handler] = sd
			made.Service = append(made.Service, sd)
			names = append(names, made.GetPackage()+"."+handler)
		}
		m := &descriptorpb.MethodDescriptorProto{Name: &method, InputType: &in, OutputType: &out}
		if e.Kind == transport.KindClientStream || e.Kind == transport.KindBidi {
			m.ClientStreaming = proto.Bool(true)
		}
		if e.Kind == transport.KindServerStream || e.Kind == transport.KindBidi {
			m.ServerStreaming = proto.Bool(true)
		}
		if e.Safe {
			m.Options = &descriptorpb.MethodOptions{IdempotencyLevel: descriptorpb.MethodOptions_NO_SIDE_EFFECTS.Enum()}
		}
		sd.Method = append(sd.Method, m)
	}
	if len(made.Service) == 0 {
		return files, names
	}
	fd, err := protodesc.NewFile(made, protoregistry.GlobalFiles)
	if err == nil {
		err = files.RegisterFile(fd)
	}
	if err != nil {
		s.log.Warn("the service's endpoints cannot be described to gRPC callers", "service", s.service.Name(), "error", err)
		names = slices.DeleteFunc(names, func(n string) bool {
			return strings.HasPrefix(n, made.GetPackage()+".") && own[n[len(made.GetPackage())+1:]] != nil
		})
	}
	return files, names
}

// undescribed logs once why an endpoint has no description.
func (s *schema) undescribed(e transport.Endpoint, err error) {
	if !s.told[e.Name] {
		s.told[e.Name] = true
		s.log.Info("endpoint has no description for gRPC callers, and is called with JSON", "endpoint", e.Name, "reason", err)
	}
}

// generated returns the service of generated code that has an endpoint: one of
// that name with such a method, if it is the only one that is linked in. Of a
// stream whose handler does not say what it sends and receives the name must do.
func generated(handler, method string, e transport.Endpoint) (found protoreflect.ServiceDescriptor) {
	in, out := generatedMessage(e.Request), generatedMessage(e.Response)
	unknown := e.Kind != transport.KindUnary && e.Request == nil && e.Response == nil
	if !unknown && (in == nil || out == nil) {
		return nil
	}
	many := false
	protoregistry.GlobalFiles.RangeFiles(func(file protoreflect.FileDescriptor) bool {
		sd := file.Services().ByName(protoreflect.Name(handler))
		if sd == nil {
			return true
		}
		m := sd.Methods().ByName(protoreflect.Name(method))
		if m != nil && (unknown || m.Input().FullName() == in.FullName() && m.Output().FullName() == out.FullName()) {
			many = found != nil
			found = sd
		}
		return !many
	})
	if many {
		return nil
	}
	return found
}

// generatedMessage returns the descriptor of a generated message type, nil for
// other types.
func generatedMessage(t reflect.Type) protoreflect.MessageDescriptor {
	if t == nil {
		return nil
	}
	switch m := reflect.Zero(reflect.PointerTo(t)).Interface().(type) {
	case proto.Message:
		return m.ProtoReflect().Descriptor()
	case protoadapt.MessageV1: // of a generator before 2020
		md := protoadapt.MessageV2Of(m).ProtoReflect().Descriptor()
		if _, err := protoregistry.GlobalFiles.FindDescriptorByName(md.FullName()); err == nil {
			return md
		}
	}
	return nil
}

// messageName returns the full name of a type's message, which it adds to a
// file unless it is of a file of its own.
func messageName(file *descriptorpb.FileDescriptorProto, t reflect.Type) (string, error) {
	if t == nil {
		return "", errors.New("its handler does not say which messages it sends and receives")
	}
	if md := generatedMessage(t); md != nil {
		path := md.ParentFile().Path()
		if _, err := protoregistry.GlobalFiles.FindFileByPath(path); err != nil {
			return "", err
		}
		if !slices.Contains(file.Dependency, path) {
			file.Dependency = append(file.Dependency, path)
		}
		return "." + string(md.FullName()), nil
	}
	sc, err := plain.Of(t)
	if err != nil {
		return "", err
	}
	return sc.Describe(file)
}

// serviceNames returns the names under which health is known: that of the
// service, and those that gRPC callers have for it.
func (h *Handler) serviceNames() []string {
	if h.opts.Service == nil {
		return nil
	}
	_, names := h.schema.current()
	return append([]string{h.serviceName()}, names...)
}

// hasService reports whether a name is one of the service's: also the name of a
// handler without or with any package.
func (h *Handler) hasService(name string) bool {
	if slices.Contains(h.serviceNames(), name) || name == healthService {
		return true
	}
	last := name[strings.LastIndexByte(name, '.')+1:]
	for _, e := range h.opts.Service.Endpoints() {
		if handler, _, ok := cutLast(e.Name); ok && handler == last {
			return true
		}
	}
	return false
}

// cutLast cuts an endpoint's name at its last dot.
func cutLast(name string) (handler, method string, ok bool) {
	i := strings.LastIndexByte(name, '.')
	if i < 0 {
		return "", name, false
	}
	return name[:i], name[i+1:], true
}

// identifier reports whether s can be a name in protobuf.
func identifier(s string) bool {
	for i := range len(s) {
		c := s[i]
		if c != '_' && ('a' > c || c > 'z') && ('A' > c || c > 'Z') && (i == 0 || '0' > c || c > '9') {
			return false
		}
	}
	return s != ""
}

// packageName makes a package's name of a service's.
func packageName(service string) string {
	var parts []string
	for part := range strings.SplitSeq(service, ".") {
		b := []byte(part)
		for i, c := range b {
			if !identifier("_" + string(c)) {
				b[i] = '_'
			}
		}
		if len(b) == 0 {
			continue
		}
		if part = string(b); !identifier(part) {
			part = "_" + part
		}
		parts = append(parts, part)
	}
	if len(parts) == 0 {
		return "service"
	}
	return strings.Join(parts, ".")
}

// fileName returns the name of the file that is made for a service.
func fileName(service string) string {
	return "micro/" + strings.ReplaceAll(packageName(service), ".", "/") + ".proto"
}
