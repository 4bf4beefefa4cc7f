package main

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"connectrpc.com/grpcreflect"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/seed-9a4e2794/micro"
	"github.com/seed-9a4e2794/micro/internal/leaktest"
	"github.com/seed-9a4e2794/micro/registry"
	"github.com/seed-9a4e2794/micro/server"
	"github.com/seed-9a4e2794/micro/transport"
	"github.com/seed-9a4e2794/micro/transport/credentials"
)

// PeerResponse is who has called, as the handler sees it.
type PeerResponse struct {
	Protocol string `json:"protocol"`
	Secure   bool   `json:"secure"`
	Identity string `json:"identity"`
}

type Peers struct{}

func (*Peers) Who(ctx context.Context, _ *struct{}, rsp *PeerResponse) error {
	if p, ok := transport.PeerFromContext(ctx); ok {
		rsp.Protocol, rsp.Secure = p.Protocol, p.Secure
		if p.Identity != nil {
			rsp.Identity = p.Identity.Name
		}
	}
	return nil
}

func (*Peers) Watch(ctx context.Context, s server.Stream) error {
	var rsp PeerResponse
	if err := new(Peers).Who(ctx, nil, &rsp); err != nil {
		return err
	}
	return s.Send(&rsp)
}

// peers runs a service that tells who has called.
func peers(t *testing.T, opts ...micro.Option) {
	t.Helper()
	runtimeDir(t)
	serve(t, func(s micro.Service) {
		if err := micro.RegisterHandler(s.Server(), new(Peers)); err != nil {
			t.Fatal(err)
		}
	}, append([]micro.Option{micro.Name("peers")}, opts...)...)
}

// certificates makes an authority, its files for the tool, and credentials for
// a service.
func certificates(t *testing.T, clients credentials.Clients) (dir string, c *credentials.Credentials) {
	t.Helper()
	dir = t.TempDir()
	for _, args := range [][]string{{"cert", "ca", "--dir", dir}, {"cert", "node", "tool", "--dir", dir}, {"cert", "node", "peers", "--dir", dir}} {
		if code, _, stderr := tryTool(t, "", args...); code != exitOK {
			t.Fatal(stderr)
		}
	}
	c, err := credentials.Load(credentials.Config{Cert: filepath.Join(dir, "peers.pem"), Key: filepath.Join(dir, "peers-key.pem"),
		CA: filepath.Join(dir, "ca.pem"), Clients: clients})
	if err != nil {
		t.Fatal(err)
	}
	return dir, c
}

func TestTheProtocolOfACallIsChosen(t *testing.T) {
	leaktest.Check(t)
	peers(t)
	for _, tt := range []struct{ flag, want string }{
		{"", "micro"}, {"micro", "micro"}, {"grpc", "grpc"}, {"grpc-web", "grpc-web"}, {"connect", "connect"}, {"http", "connect"}, {"rpc", "micro"}, {"mucp", "mucp"}, {"mucp-legacy", "mucp"},
	} {
		args := []string{"peers", "Peers.Who"}
		if tt.flag != "" {
			args = append(args, "--protocol", tt.flag)
		}
		code, out, stderr := tryTool(t, "", append([]string{"call"}, args...)...)
		if want := `{"protocol":"` + tt.want + `","secure":false,"identity":""}` + "\n"; code != exitOK || out != want {
			t.Errorf("call --protocol %q: exit %d, %s%s", tt.flag, code, out, stderr)
		}
		args[1] = "Peers.Watch"
		code, out, stderr = tryTool(t, "", append([]string{"stream"}, args...)...)
		if code != exitOK || !strings.Contains(out, `"protocol":"`+tt.want+`"`) {
			t.Errorf("stream --protocol %q: exit %d, %s%s", tt.flag, code, out, stderr)
		}
	}
	for _, tt := range []struct{ args, want string }{
		{"call peers Peers.Who --protocol smoke", `protocol "smoke" is not known, these are: connect, grpc, grpc-web, micro, mucp, mucp-legacy`},
		{"stream peers Peers.Watch --protocol smoke", `protocol "smoke" is not known`},
		{"call peers Peers.Who --protocol grpc --transport tcp", "leave --transport out"},
		{"call peers Peers.Who --tls_ca ca.pem --transport tcp", "leave --transport out"},
	} {
		if code, _, stderr := tryTool(t, "", strings.Fields(tt.args)...); code != exitUsage || !strings.Contains(stderr, tt.want) {
			t.Errorf("micro %s: exit %d, %s", tt.args, code, stderr)
		}
	}
}

func TestServicesWithTLSAreCalledWithCertificates(t *testing.T) {
	leaktest.Check(t)
	dir, c := certificates(t, credentials.ClientsRequired)
	peers(t, micro.TLS(c))
	in := func(name string) string { return filepath.Join(dir, name) }
	flags := []string{"--tls_ca", in("ca.pem"), "--tls_cert", in("tool.pem"), "--tls_key", in("tool-key.pem")}
	commands := [][]string{{"call", "peers", "Peers.Who"}, {"call", "peers", "Peers.Who", "--protocol", "grpc"}, {"stream", "peers", "Peers.Watch"},
		{"stream", "peers", "Peers.Watch", "--protocol", "connect"}, {"health", "peers"}, {"stats", "peers"}}
	for _, args := range commands {
		code, out, stderr := tryTool(t, "", append(args, flags...)...)
		if code != exitOK || (args[0] == "call" || args[0] == "stream") && !strings.Contains(out, `"secure":true,"identity":"tool"`) {
			t.Errorf("micro %s: exit %d, %s%s", args, code, out, stderr)
		}
	}
	for _, args := range commands {
		if code, out, stderr := tryTool(t, "", append(args, flags[:2]...)...); code == exitOK || !strings.Contains(out+stderr, "certificate") {
			t.Errorf("micro %s without a certificate: exit %d, %s%s", args, code, out, stderr)
		}
		// Its record says that it takes TLS, and the system knows no such authority.
		if code, out, stderr := tryTool(t, "", args...); code == exitOK || !strings.Contains(out+stderr, "signed by unknown authority") ||
			(args[0] == "call" || args[0] == "stream") && !strings.Contains(stderr, "--tls_ca FILE") {
			t.Errorf("micro %s without flags: exit %d, %s%s", args, code, out, stderr)
		}
	}
	t.Setenv("MICRO_TLS_CA", in("ca.pem"))
	t.Setenv("MICRO_TLS_CERT", in("tool.pem"))
	t.Setenv("MICRO_TLS_KEY", in("tool-key.pem"))
	if code, out, stderr := tryTool(t, "", "call", "peers", "Peers.Who"); code != exitOK || !strings.Contains(out, `"identity":"tool"`) {
		t.Errorf("by variables: exit %d, %s%s", code, out, stderr)
	}
	for _, tt := range []struct{ flag, value, want string }{
		{"--tls_ca", in("nowhere.pem"), "no such file"},
		{"--tls_key", in("ca-key.pem"), "private key"},
	} {
		if code, _, stderr := tryTool(t, "", "call", "peers", "Peers.Who", tt.flag, tt.value); code != exitUsage || !strings.Contains(stderr, tt.want) || !strings.Contains(stderr, "micro cert") {
			t.Errorf("%s %s: exit %d, %s", tt.flag, tt.value, code, stderr)
		}
	}
}

func TestEventsReachSubscribersWithTLS(t *testing.T) {
	leaktest.Check(t)
	dir, _ := certificates(t, credentials.ClientsAny)
	runtimeDir(t)
	for flag, file := range map[string]string{"CA": "ca.pem", "CERT": "tool.pem", "KEY": "tool-key.pem"} {
		t.Setenv("MICRO_TLS_"+flag, filepath.Join(dir, file))
	}
	ctx, cancel := context.WithCancel(t.Context())
	out, done := newScreen(), make(chan int, 1)
	go func() { done <- run(ctx, []string{"subscribe", "orders"}, strings.NewReader(""), out, out) }()
	out.await(t, "subscribed to orders", 1, 10*time.Second)
	if code, _, stderr := tryTool(t, "", "publish", "orders", "id=1", "--require"); code != exitOK {
		t.Errorf("publish: exit %d, %s", code, stderr)
	}
	out.await(t, `{"id":1}`, 1, 10*time.Second)
	cancel()
	if code := <-done; code != exitOK {
		t.Errorf("subscribe: exit %d, %s", code, out)
	}
}

// echoFile describes a service whose messages are of protobuf only.
func echoFile(t *testing.T) protoreflect.FileDescriptor {
	t.Helper()
	text := &descriptorpb.DescriptorProto{Name: proto.String("Text"), Field: []*descriptorpb.FieldDescriptorProto{
		{Name: proto.String("text"), Number: proto.Int32(7), Type: descriptorpb.FieldDescriptorProto_TYPE_STRING.Enum(), Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum()}}}
	method := func(name string, stream bool) *descriptorpb.MethodDescriptorProto {
		return &descriptorpb.MethodDescriptorProto{Name: &name, InputType: proto.String(".echo.v1.Text"), OutputType: proto.String(".echo.v1.Text"), ClientStreaming: &stream, ServerStreaming: &stream}
	}
	file, err := protodesc.NewFile(&descriptorpb.FileDescriptorProto{Name: proto.String("echo.proto"), Package: proto.String("echo.v1"), Syntax: proto.String("proto3"),
		MessageType: []*descriptorpb.DescriptorProto{text},
		Service:     []*descriptorpb.ServiceDescriptorProto{{Name: proto.String("Echo"), Method: []*descriptorpb.MethodDescriptorProto{method("Say", false), method("Chat", true)}}},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// grpcServer runs a gRPC server that is none of this framework's: it takes
// protobuf, tells what it serves, and knows no registry.
func grpcServer(t *testing.T) string {
	t.Helper()
	file := echoFile(t)
	files := new(protoregistry.Files)
	if err := files.RegisterFile(file); err != nil {
		t.Fatal(err)
	}
	schema := connect.WithRequestInitializer(func(_ connect.Spec, m any) error {
		*m.(*dynamicpb.Message) = *dynamicpb.NewMessage(file.Messages().ByName("Text"))
		return nil
	})
	mux := http.NewServeMux()
	mux.Handle("/echo.v1.Echo/Say", connect.NewUnaryHandler("/echo.v1.Echo/Say", func(_ context.Context, r *connect.Request[dynamicpb.Message]) (*connect.Response[dynamicpb.Message], error) {
		return connect.NewResponse(r.Msg), nil
	}, schema))
	mux.Handle("/echo.v1.Echo/Chat", connect.NewBidiStreamHandler("/echo.v1.Echo/Chat", func(_ context.Context, s *connect.BidiStream[dynamicpb.Message, dynamicpb.Message]) error {
		for {
			m, err := s.Receive()
			if err != nil { // the caller has ended it
				return nil
			}
			if err := s.Send(m); err != nil {
				return err
			}
		}
	}, schema))
	namer := grpcreflect.NamerFunc(func() []string { return []string{"echo.v1.Echo"} })
	mux.Handle(grpcreflect.NewHandlerV1(grpcreflect.NewReflector(namer, grpcreflect.WithDescriptorResolver(files), grpcreflect.WithExtensionResolver(new(protoregistry.Types)))))
	protobufOnly := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if ct := r.Header.Get("Content-Type"); ct != "application/grpc" && ct != "application/grpc+proto" {
			http.Error(w, "no codec", http.StatusUnsupportedMediaType)
			return
		}
		mux.ServeHTTP(w, r)
	})
	srv := &http.Server{Handler: protobufOnly, Protocols: new(http.Protocols)}
	srv.Protocols.SetUnencryptedHTTP2(true)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	t.Cleanup(func() {
		srv.Close()
		<-done
	})
	return l.Addr().String()
}

func TestAGRPCServerOfAnotherFrameworkIsCalledByAddressAndByName(t *testing.T) {
	leaktest.Check(t)
	runtimeDir(t)
	address := grpcServer(t)
	record, err := json.Marshal(map[string]any{"name": "echo", "version": "1", "nodes": []any{
		map[string]any{"id": "echo-1", "address": address, "metadata": map[string]string{"protocol": "grpc"}}}})
	if err != nil {
		t.Fatal(err)
	}
	static := "echo=" + address + "?protocol=grpc"
	for _, tt := range []struct {
		name string
		args []string
		want string
	}{
		{"address", []string{"call", "echo.v1.Echo", "Say", "text=hi", "--protocol", "grpc", "--address", address}, `{"text":"hi"}`},
		{"method in any case", []string{"call", "echo.v1.Echo", "say", "text=hi", "--protocol", "grpc", "--address", address}, `{"text":"hi"}`},
		{"path", []string{"call", "any", "/echo.v1.Echo/Say", "text=hi", "--protocol", "grpc", "--address", address}, `{"text":"hi"}`},
		{"stream", []string{"stream", "echo.v1.Echo", "Chat", `{"text":"a"}`, `{"text":"b"}`, "--protocol", "grpc", "--address", address}, "{\"text\":\"a\"}\n{\"text\":\"b\"}"},
		{"static registry", []string{"call", "echo", "echo.v1.Echo.Say", "text=hi", "--registry", "static", "--registry_address", static}, `{"text":"hi"}`},
		{"registry", []string{"call", "echo", "echo.v1.Echo.Say", "text=hi"}, `{"text":"hi"}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.name == "registry" {
				if code, _, stderr := tryTool(t, "", "register", string(record)); code != exitOK {
					t.Fatal(stderr)
				}
			}
			code, out, stderr := tryTool(t, "", tt.args...)
			if code != exitOK || out != tt.want+"\n" {
				t.Errorf("exit %d, %s%s", code, out, stderr)
			}
		})
	}
	for _, tt := range []struct{ args, want string }{
		{"Shout text=hi", `echo.v1.Echo has no endpoint "Shout"`},
		{"Say words=hi", "the request is no echo.v1.Text"},
	} {
		args := append([]string{"call", "echo.v1.Echo"}, strings.Fields(tt.args)...)
		if code, _, stderr := tryTool(t, "", append(args, "--protocol", "grpc", "--address", address)...); code == exitOK || !strings.Contains(stderr, tt.want) {
			t.Errorf("%s: exit %d, %s", tt.args, code, stderr)
		}
	}
}

func TestServicesThatAreRunGetTheFilesOfTheTool(t *testing.T) {
	leaktest.Check(t)
	runtimeDir(t)
	dir, _ := certificates(t, credentials.ClientsAny)
	program := module(t, `package main

import (
	"fmt"
	"os"

	"github.com/seed-9a4e2794/micro"
)

type Greeter struct{}

func main() {
	fmt.Println("ca is", os.Getenv("MICRO_TLS_CA"))
	s := micro.NewService(micro.Name("greeter"))
	s.Init()
	if err := s.Run(); err != nil {
		panic(err)
	}
}
`)
	t.Chdir(dir)
	r := startRun(t, program, "--tls_ca", "ca.pem", "--tls_cert", "peers.pem", "--tls_key", "peers-key.pem")
	r.out.await(t, "ca is "+filepath.Join(dir, "ca.pem"), 1, time.Minute)
}

func TestAReflectionThatFailsIsToldAndTheFirstNodeIsAsked(t *testing.T) {
	leaktest.Check(t)
	for _, tt := range []struct {
		status string // of gRPC, by number
		want   string // in the error; empty is JSON
	}{{"12", ""}, {"5", ""}, {"7", "permission_denied"}, {"14", "unavailable"}} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		srv := &http.Server{Protocols: new(http.Protocols), Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/grpc")
			w.Header().Set("Grpc-Status", tt.status)
		})}
		srv.Protocols.SetUnencryptedHTTP2(true)
		done := make(chan error, 1)
		go func() { done <- srv.Serve(l) }()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		versions := []*registry.Service{{Name: "echo", Version: "0"},
			{Name: "echo", Version: "1", Nodes: []*registry.Node{{Id: "a", Address: l.Addr().String(), Metadata: map[string]string{"protocol": "grpc"}}}},
			{Name: "echo", Version: "2", Nodes: []*registry.Node{{Id: "b", Address: "127.0.0.1:1"}}}}
		f, err := new(parts).form(ctx, &target{service: "echo", endpoint: "Echo.Say"}, versions, "", "")
		if f.in != nil || (err == nil) != (tt.want == "") || err != nil && (!strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "by reflection")) {
			t.Errorf("status %s: got %v, want %q", tt.status, err, tt.want)
		}
		cancel()
		srv.Close()
		<-done
	}
}
