package http_test

import (
	"context"
	"reflect"
	"slices"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"connectrpc.com/grpcreflect"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/seed-9a4e2794/micro/internal/leaktest"
	"github.com/seed-9a4e2794/micro/internal/v1gen"
	"github.com/seed-9a4e2794/micro/transport"
	"github.com/seed-9a4e2794/micro/transport/http"
)

type plainHello struct {
	Name  string   `json:"name"`
	Times int      `json:"times"`
	Notes []string `json:"notes"`
}

type numbered struct {
	Name string `json:"name" protobuf:"1"`
}

// reflection opens a stream of reflection.
func (h *house) reflection() *grpcreflect.ClientStream {
	c := grpcreflect.NewClient(h.two, "http://"+h.addr, connect.WithGRPC())
	s := c.NewStream(context.Background())
	h.t.Cleanup(func() { s.Close() })
	return s
}

func list(t *testing.T, s *grpcreflect.ClientStream) []string {
	t.Helper()
	names, err := s.ListServices()
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, n := range names {
		out = append(out, string(n))
	}
	slices.Sort(out)
	return out
}

// describe returns the service of a name as reflection tells it.
func describe(t *testing.T, s *grpcreflect.ClientStream, name string) protoreflect.ServiceDescriptor {
	t.Helper()
	files, err := s.FileContainingSymbol(protoreflect.FullName(name))
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	all := &descriptorpb.FileDescriptorSet{}
	for {
		var missing []string
		all.File = append(all.File, files...)
		for _, f := range all.File {
			for _, d := range f.Dependency {
				if !slices.ContainsFunc(all.File, func(f *descriptorpb.FileDescriptorProto) bool { return f.GetName() == d }) {
					missing = append(missing, d)
				}
			}
		}
		if len(missing) == 0 {
			break
		}
		if files, err = s.FileByFilename(missing[0]); err != nil {
			t.Fatalf("%s: %v", missing[0], err)
		}
	}
	reg, err := protodesc.NewFiles(all)
	if err != nil {
		t.Fatalf("%s: what came does not fit together: %v", name, err)
	}
	d, err := reg.FindDescriptorByName(protoreflect.FullName(name))
	if err != nil {
		t.Fatal(err)
	}
	return d.(protoreflect.ServiceDescriptor)
}

func TestReflectionDescribesPlainStructs(t *testing.T) {
	leaktest.Check(t)
	h := newHouse(t, http.Config{})
	h.typed("Greeter.Hello", plainHello{}, numbered{})
	h.typed("Greeter.Wrapped", wrapperspb.StringValue{}, plainHello{})
	h.stream("Greeter.Chat", func(transport.Socket) error { return nil })
	h.open()
	s := h.reflection()
	own := []string{"grpc.health.v1.Health"}
	if got, want := list(t, s), append([]string{"go.micro.srv.house.Greeter"}, own...); !slices.Equal(got, want) {
		t.Errorf("listed are %v, want %v", got, want)
	}
	sd := describe(t, s, "go.micro.srv.house.Greeter")
	if n := sd.Methods().Len(); n != 2 {
		t.Errorf("%d methods are described, want the two whose messages are known", n)
	}
	m := sd.Methods().ByName("Hello")
	if m == nil {
		t.Fatal("Hello is not described")
	}
	for i, want := range []struct {
		name string
		kind protoreflect.Kind
		list bool
	}{{"name", protoreflect.StringKind, false}, {"times", protoreflect.Int64Kind, false}, {"notes", protoreflect.StringKind, true}} {
		f := m.Input().Fields().ByNumber(protoreflect.FieldNumber(i + 1))
		if f == nil || string(f.Name()) != want.name || f.Kind() != want.kind || f.IsList() != want.list {
			t.Errorf("field %d is %v, want %v", i+1, f, want)
		}
	}
	if w := sd.Methods().ByName("Wrapped"); w == nil || w.Input().FullName() != "google.protobuf.StringValue" {
		t.Errorf("Wrapped is %v", w)
	}
	if hd := describe(t, s, "grpc.health.v1.Health"); hd.Methods().Len() != 3 {
		t.Errorf("health has %d methods", hd.Methods().Len())
	}
}

// reflectionPackage has a service of generated code that is linked in.
const reflectionPackage = "connectext.grpc.reflection.v1."

// linked returns a message type that is linked in, by its name.
func linked(t *testing.T, name string) any {
	t.Helper()
	mt, err := protoregistry.GlobalTypes.FindMessageByName(protoreflect.FullName(name))
	if err != nil {
		t.Fatal(err)
	}
	return reflect.ValueOf(mt.New().Interface()).Elem().Interface()
}

func TestReflectionTellsTheFileOfGeneratedCode(t *testing.T) {
	leaktest.Check(t)
	h := newHouse(t, http.Config{})
	h.typed("ServerReflection.ServerReflectionInfo", linked(t, reflectionPackage+"ServerReflectionRequest"), linked(t, reflectionPackage+"ServerReflectionResponse"))
	// The same messages under a name that their file does not have.
	h.typed("Mirror.Look", linked(t, reflectionPackage+"ServerReflectionRequest"), linked(t, reflectionPackage+"ServerReflectionResponse"))
	h.typed("Greeter.Hello", v1gen.Request{}, v1gen.Response{})
	h.open()
	s := h.reflection()
	want := []string{reflectionPackage + "ServerReflection", "go.micro.srv.house.Greeter", "go.micro.srv.house.Mirror", "grpc.health.v1.Health"}
	if names := list(t, s); !slices.Equal(names, want) {
		t.Errorf("listed are %v, want %v", names, want)
	}
	if sd := describe(t, s, reflectionPackage+"ServerReflection"); sd.ParentFile().Path() != "connectext/grpc/reflection/v1/reflection.proto" {
		t.Errorf("a service of generated code is described by %s", sd.ParentFile().Path())
	}
	if in := describe(t, s, "go.micro.srv.house.Mirror").Methods().Get(0).Input(); in.FullName() != reflectionPackage+"ServerReflectionRequest" || in.Fields().ByName("list_services").Number() != 7 {
		t.Errorf("a generated message is described as %v", in)
	}
	// Old generated code without its file is described by its tags.
	if f := describe(t, s, "go.micro.srv.house.Greeter").Methods().Get(0).Input().Fields().ByNumber(2); f == nil || f.Name() != "count" || f.Kind() != protoreflect.Int64Kind {
		t.Errorf("field 2 is %v", f)
	}
	if _, err := s.FileContainingSymbol("no.such.Thing"); err == nil {
		t.Error("an unknown symbol was found")
	}
}

func TestEndpointsWithoutADescriptionAreLeftOutAndToldOnce(t *testing.T) {
	leaktest.Check(t)
	h := newHouse(t, http.Config{})
	h.typed("Greeter.Hello", plainHello{}, plainHello{})
	h.typed("Greeter.Any", struct{ V any }{}, plainHello{})
	h.typed("Greeter.Nothing", nil, nil)
	h.typed("nodot", plainHello{}, plainHello{})
	h.typed("Greeter-two.Hello", plainHello{}, plainHello{})
	h.open()
	s := h.reflection()
	for range 3 {
		list(t, s)
	}
	sd := describe(t, s, "go.micro.srv.house.Greeter")
	if sd.Methods().Len() != 1 || sd.Methods().Get(0).Name() != "Hello" {
		t.Errorf("described are %v", sd.Methods())
	}
	for _, name := range []string{"Greeter.Any", "Greeter.Nothing", "nodot", "Greeter-two.Hello"} {
		if n := h.log.count("endpoint=" + name); n != 1 {
			t.Errorf("%s is told of %d times", name, n)
		}
	}
	h.typed("Late.Hello", plainHello{}, plainHello{})
	if names := list(t, s); !slices.Contains(names, "go.micro.srv.house.Late") {
		t.Errorf("an endpoint that came later is not listed: %v", names)
	}
	if n := h.log.count("endpoint=Greeter.Any"); n != 1 {
		t.Errorf("Greeter.Any is told of %d times after a change", n)
	}
}

// awkward is a house whose name is none in protobuf.
type awkward struct {
	*house
	name string
}

func (a awkward) Name() string { return a.name }

func TestServicesWhoseNamesAreNoneInProtobufAreDescribed(t *testing.T) {
	for name, pkg := range map[string]string{"my-greeter": "my_greeter", "go.micro.api.2nd": "go.micro.api._2nd", "": "service", "..": "service", "größe": "gr__e"} {
		h := newHouse(t, http.Config{})
		h.typed("Greeter.Hello", plainHello{}, plainHello{})
		handler := http.NewHandler(h.cfg, h.serve, transport.WithService(awkward{h, name}), transport.WithUnary(h.lookup))
		w := record(handler, "/grpc.health.v1.Health/List", "{}")
		if strings.ReplaceAll(pkg, "gr__e", "") != "" && !strings.Contains(w, `"`+pkg+`.Greeter"`) {
			t.Errorf("%q: %s", name, w)
		}
		if !strings.Contains(w, `.Greeter"`) {
			t.Errorf("%q has no description: %s", name, w)
		}
	}
}

func TestShutdownEndsStreamsOfReflection(t *testing.T) {
	leaktest.Check(t)
	h := newHouse(t, http.Config{}).open()
	s := h.reflection()
	list(t, s)
	stopped := make(chan error, 1)
	go func() { stopped <- h.ln.Shutdown(context.Background()) }()
	if err := within(t, stopped); err != nil {
		t.Errorf("shutdown: %v", err)
	}
	if _, err := s.ListServices(); err == nil {
		t.Error("the stream goes on")
	}
}

func TestCallersOfProtobufWithoutNumbersAreToldOfOnce(t *testing.T) {
	leaktest.Check(t)
	h := newHouse(t, http.Config{})
	h.typed("Greeter.Hello", plainHello{}, numbered{})
	h.typed("Greeter.Numbered", numbered{}, numbered{})
	h.typed("Greeter.Empty", struct{}{}, numbered{})
	h.typed("Greeter.Generated", v1gen.Request{}, wrapperspb.StringValue{})
	h.open()
	const told = "depends on the order of their fields"
	for _, m := range []string{"Hello", "Numbered", "Empty", "Generated"} {
		h.json("/Greeter/"+m, "{}")
	}
	if n := h.log.count(told); n != 0 {
		t.Errorf("callers of JSON are told of: %d", n)
	}
	for range 3 {
		for _, m := range []string{"Numbered", "Empty", "Generated", "Hello"} {
			h.grpc("/Greeter/"+m, "")
			h.grpc("/other.Greeter/"+m, "")
			h.ask("POST", "/Greeter/"+m, "", "Content-Type", "application/proto")
		}
	}
	if n := h.log.count(told); n != 1 || h.log.count("endpoint=Greeter.Hello") != 1 || h.log.count("plainHello") != 1 {
		t.Errorf("told %d times: %s", n, &h.log.b)
	}
}
