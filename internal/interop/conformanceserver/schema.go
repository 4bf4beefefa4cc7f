package main

import (
	"context"
	"fmt"

	"github.com/bufbuild/protocompile"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/dynamicpb"
)

// schemaPackage is the protobuf package of the suite. The Go package that the
// suite generates from it is internal to the suite, so the schema is compiled
// when the program starts, and its messages are dynamic.
const schemaPackage = "connectrpc.conformance.v1"

// loadSchema compiles the suite's .proto files and makes their messages known
// to the process, as generated code does on import.
func loadSchema(ctx context.Context, dir string) error {
	compiler := protocompile.Compiler{
		Resolver: protocompile.WithStandardImports(&protocompile.SourceResolver{ImportPaths: []string{dir}}),
	}
	const prefix = "connectrpc/conformance/v1/"
	files, err := compiler.Compile(ctx, prefix+"config.proto", prefix+"service.proto", prefix+"server_compat.proto")
	if err != nil {
		return fmt.Errorf("compiling the suite's schema in %s: %w", dir, err)
	}
	for _, f := range files {
		if err := protoregistry.GlobalFiles.RegisterFile(f); err != nil {
			return err
		}
		if err := registerMessages(f.Messages()); err != nil {
			return err
		}
	}
	return nil
}

func registerMessages(ms protoreflect.MessageDescriptors) error {
	for i := range ms.Len() {
		if err := protoregistry.GlobalTypes.RegisterMessage(dynamicpb.NewMessageType(ms.Get(i))); err != nil {
			return err
		}
		if err := registerMessages(ms.Get(i).Messages()); err != nil {
			return err
		}
	}
	return nil
}

// messageType returns a type of the schema. A name that is not in it is a
// mistake in this program.
func messageType(name protoreflect.FullName) protoreflect.MessageType {
	t, err := protoregistry.GlobalTypes.FindMessageByName(schemaPackage + "." + name)
	if err != nil {
		panic(fmt.Sprintf("the schema has no message %s: %v", name, err))
	}
	return t
}

func newMessage(name protoreflect.FullName) protoreflect.Message { return messageType(name).New() }

// field returns a field of a message. A name that it does not have is a mistake
// in this program.
func field(m protoreflect.Message, name protoreflect.Name) protoreflect.FieldDescriptor {
	f := m.Descriptor().Fields().ByName(name)
	if f == nil {
		panic(fmt.Sprintf("%s has no field %s", m.Descriptor().FullName(), name))
	}
	return f
}

// message is a dynamic message that is made when it is first asked for. N says
// of which type.
type message[N name] struct{ m protoreflect.Message }

// name is a type that stands for a message of the schema.
type name interface{ name() protoreflect.FullName }

// ProtoReflect implements proto.Message.
func (m *message[N]) ProtoReflect() protoreflect.Message {
	var n N
	if m == nil {
		return messageType(n.name()).Zero()
	}
	if m.m == nil {
		m.m = newMessage(n.name())
	}
	return m.m
}

// The messages of the endpoints.
type (
	unaryRequest            struct{}
	unaryResponse           struct{}
	idempotentUnaryRequest  struct{}
	idempotentUnaryResponse struct{}
	serverStreamRequest     struct{}
	serverStreamResponse    struct{}
	clientStreamRequest     struct{}
	clientStreamResponse    struct{}
	bidiStreamRequest       struct{}
	bidiStreamResponse      struct{}
)

func (unaryRequest) name() protoreflect.FullName            { return "UnaryRequest" }
func (unaryResponse) name() protoreflect.FullName           { return "UnaryResponse" }
func (idempotentUnaryRequest) name() protoreflect.FullName  { return "IdempotentUnaryRequest" }
func (idempotentUnaryResponse) name() protoreflect.FullName { return "IdempotentUnaryResponse" }
func (serverStreamRequest) name() protoreflect.FullName     { return "ServerStreamRequest" }
func (serverStreamResponse) name() protoreflect.FullName    { return "ServerStreamResponse" }
func (clientStreamRequest) name() protoreflect.FullName     { return "ClientStreamRequest" }
func (clientStreamResponse) name() protoreflect.FullName    { return "ClientStreamResponse" }
func (bidiStreamRequest) name() protoreflect.FullName       { return "BidiStreamRequest" }
func (bidiStreamResponse) name() protoreflect.FullName      { return "BidiStreamResponse" }
