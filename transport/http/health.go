package http

import (
	"context"
	stderrors "errors"
	"io"
	"math"
	nethttp "net/http"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/seed-9a4e2794/micro/transport"
)

// health is the service grpc.health.v1.Health, as described in
// https://github.com/grpc/grpc/blob/master/doc/health-checking.md and
// https://github.com/grpc/grpc-proto/blob/master/grpc/health/v1/health.proto.
// Its messages are made from a description: the module with their generated
// code is the whole of grpc-go.
type health struct {
	h                    *Handler
	file                 protoreflect.FileDescriptor
	request, reply, list protoreflect.MessageDescriptor
}

const healthService = "grpc.health.v1.Health"

// The values of HealthCheckResponse.ServingStatus.
const (
	healthServing        protoreflect.EnumNumber = 1
	healthNotServing     protoreflect.EnumNumber = 2
	healthServiceUnknown protoreflect.EnumNumber = 3
)

// healthFile describes grpc/health/v1/health.proto.
func healthFile() *descriptorpb.FileDescriptorProto {
	field := func(name string, number int32, typ descriptorpb.FieldDescriptorProto_Type, of string) *descriptorpb.FieldDescriptorProto {
		f := &descriptorpb.FieldDescriptorProto{Name: &name, Number: &number, Type: &typ, Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum()}
		if of != "" {
			f.TypeName = &of
		}
		return f
	}
	const (
		str, enum, msg = descriptorpb.FieldDescriptorProto_TYPE_STRING, descriptorpb.FieldDescriptorProto_TYPE_ENUM, descriptorpb.FieldDescriptorProto_TYPE_MESSAGE
		response       = ".grpc.health.v1.HealthCheckResponse"
	)
	statuses := &descriptorpb.EnumDescriptorProto{Name: proto.String("ServingStatus")}
	for i, n := range []string{"UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"} {
		statuses.Value = append(statuses.Value, &descriptorpb.EnumValueDescriptorProto{Name: &n, Number: proto.Int32(int32(i))})
	}
	entries := field("statuses", 1, msg, ".grpc.health.v1.HealthListResponse.StatusesEntry")
	entries.Label = descriptorpb.FieldDescriptorProto_LABEL_REPEATED.Enum()
	method := func(name, in, out string, stream bool) *descriptorpb.MethodDescriptorProto {
		m := &descriptorpb.MethodDescriptorProto{Name: &name, InputType: proto.String(".grpc.health.v1." + in), OutputType: proto.String(".grpc.health.v1." + out)}
		if stream {
			m.ServerStreaming = proto.Bool(true)
		}
		return m
	}
	return &descriptorpb.FileDescriptorProto{
		Name: proto.String("grpc/health/v1/health.proto"), Package: proto.String("grpc.health.v1"), Syntax: proto.String("proto3"),
		MessageType: []*descriptorpb.DescriptorProto{
			{Name: proto.String("HealthCheckRequest"), Field: []*descriptorpb.FieldDescriptorProto{field("service", 1, str, "")}},
			{Name: proto.String("HealthCheckResponse"), Field: []*descriptorpb.FieldDescriptorProto{field("status", 1, enum, response+".ServingStatus")},
				EnumType: []*descriptorpb.EnumDescriptorProto{statuses}},
			{Name: proto.String("HealthListRequest")},
			{Name: proto.String("HealthListResponse"), Field: []*descriptorpb.FieldDescriptorProto{entries},
				NestedType: []*descriptorpb.DescriptorProto{{Name: proto.String("StatusesEntry"), Options: &descriptorpb.MessageOptions{MapEntry: proto.Bool(true)},
					Field: []*descriptorpb.FieldDescriptorProto{field("key", 1, str, ""), field("value", 2, msg, response)}}}},
		},
		Service: []*descriptorpb.ServiceDescriptorProto{{Name: proto.String("Health"), Method: []*descriptorpb.MethodDescriptorProto{
			method("Check", "HealthCheckRequest", "HealthCheckResponse", false),
			method("List", "HealthListRequest", "HealthListResponse", false),
			method("Watch", "HealthCheckRequest", "HealthCheckResponse", true),
		}}},
	}
}

func newHealth(h *Handler) (*health, error) {
	file, err := protodesc.NewFile(healthFile(), nil)
	if err != nil {
		return nil, err
	}
	m := file.Messages()
	return &health{h: h, file: file, request: m.ByName("HealthCheckRequest"), reply: m.ByName("HealthCheckResponse"), list: m.ByName("HealthListResponse")}, nil
}

// routes returns the handlers of the three methods. They speak the codecs of
// connect itself, whose messages these are.
func (s *health) routes() map[string]nethttp.Handler {
	schema := func(req protoreflect.MessageDescriptor) connect.HandlerOption {
		return connect.WithRequestInitializer(func(_ connect.Spec, m any) error {
			*m.(*dynamicpb.Message) = *dynamicpb.NewMessage(req)
			return nil
		})
	}
	opts := []connect.HandlerOption{connect.WithReadMaxBytes(maxHealthRequest), connect.WithIdempotency(connect.IdempotencyNoSideEffects), gzipped(maxHealthRequest)}
	if s.h.cfg.CompressMin > 0 {
		opts = append(opts, connect.WithCompressMinBytes(s.h.cfg.CompressMin))
	} else {
		opts = append(opts, connect.WithCompressMinBytes(math.MaxInt))
	}
	const base = "/" + healthService + "/"
	return map[string]nethttp.Handler{
		base + "Check": s.h.unaryBounds(connect.NewUnaryHandler(base+"Check", s.check, append(opts, schema(s.request))...), maxHealthRequest),
		base + "List":  s.h.unaryBounds(connect.NewUnaryHandler(base+"List", s.all, append(opts, schema(s.file.Messages().ByName("HealthListRequest")))...), maxHealthRequest),
		base + "Watch": s.h.streamBounds(connect.NewServerStreamHandler(base+"Watch", s.watch, append(opts, schema(s.request))...)),
	}
}

// maxHealthRequest is the largest request taken, in bytes: it holds a name.
const maxHealthRequest = 64 << 10

func (s *health) check(_ context.Context, req *connect.Request[dynamicpb.Message]) (*connect.Response[dynamicpb.Message], error) {
	name := s.name(req.Msg)
	status, _ := s.status(name)
	if status == healthServiceUnknown {
		return nil, connect.NewError(connect.CodeNotFound, stderrors.New("unknown service "+name))
	}
	return connect.NewResponse(s.answer(status)), nil
}

// all lists the names of the handlers only to those who may know them.
func (s *health) all(ctx context.Context, req *connect.Request[dynamicpb.Message]) (*connect.Response[dynamicpb.Message], error) {
	out := dynamicpb.NewMessage(s.list)
	entries := out.Mutable(s.list.Fields().ByName("statuses")).Map()
	overall, _ := s.status("")
	entries.Set(protoreflect.ValueOfString("").MapKey(), protoreflect.ValueOfMessage(s.answer(overall)))
	names := s.h.serviceNames()
	if a, ok := s.h.opts.Service.(transport.Authorizer); ok &&
		a.Authorize(&callContext{Context: ctx, request: req.Header(), protocol: protocolName(req.Peer().Protocol)}, "Health.List") != nil {
		names = []string{s.h.serviceName()}
	}
	for _, name := range names {
		entries.Set(protoreflect.ValueOfString(name).MapKey(), protoreflect.ValueOfMessage(s.answer(overall)))
	}
	return connect.NewResponse(out), nil
}

// watch sends the status, and again whenever it has changed.
func (s *health) watch(ctx context.Context, req *connect.Request[dynamicpb.Message], stream *connect.ServerStream[dynamicpb.Message]) error {
	name := s.name(req.Msg)
	var last protoreflect.EnumNumber
	for {
		status, changed := s.status(name)
		if status != last {
			if err := stream.Send(s.answer(status)); err != nil {
				return err
			}
			last = status
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		case <-s.h.ctx.Done():
			if last != healthNotServing {
				if err := stream.Send(s.answer(healthNotServing)); err != nil && !stderrors.Is(err, io.EOF) {
					return err
				}
			}
			return connect.NewError(connect.CodeUnavailable, errStopped)
		}
	}
}

func (s *health) name(m *dynamicpb.Message) string {
	return m.Get(s.request.Fields().ByName("service")).String()
}

func (s *health) answer(status protoreflect.EnumNumber) *dynamicpb.Message {
	m := dynamicpb.NewMessage(s.reply)
	m.Set(s.reply.Fields().ByName("status"), protoreflect.ValueOfEnum(status))
	return m
}

// status returns the status of a service by its name here or in gRPC; an empty
// name is all.
func (s *health) status(name string) (protoreflect.EnumNumber, <-chan struct{}) {
	if s.h.opts.Service == nil {
		return healthServing, nil
	}
	now, changed := s.h.opts.Service.Health()
	switch {
	case name != "" && !s.h.hasService(name):
		return healthServiceUnknown, changed
	case now.Ready() && !s.h.going.Load():
		return healthServing, changed
	}
	return healthNotServing, changed
}
