package interop

import (
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	health "google.golang.org/grpc/health/grpc_health_v1"
	reflection "google.golang.org/grpc/reflection/grpc_reflection_v1"
	reflectionalpha "google.golang.org/grpc/reflection/grpc_reflection_v1alpha"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/seed-9a4e2794/micro"
	"github.com/seed-9a4e2794/micro/internal/leaktest"
	"github.com/seed-9a4e2794/micro/transport/port"
)

func TestGRPCHealthIsToldAndWatchedToTheEnd(t *testing.T) {
	sides(t, func(t *testing.T, secure bool) {
		leaktest.Check(t)
		var service micro.Service
		n := serve(t, secure, port.Config{}, func(s micro.Service) error {
			service = s
			return registerTestService(s)
		})
		c := health.NewHealthClient(n.grpc(t))
		ctx, cancel := within(t)
		defer cancel()
		for _, name := range []string{"", "interop", "grpc.testing.TestService"} {
			rsp, err := c.Check(ctx, &health.HealthCheckRequest{Service: name})
			if err != nil || rsp.Status != health.HealthCheckResponse_SERVING {
				t.Errorf("check of %q: %v, %v", name, rsp, err)
			}
		}
		if _, err := c.Check(ctx, &health.HealthCheckRequest{Service: "nobody"}); status.Code(err) != codes.NotFound {
			t.Errorf("check of a service that is not there: %v, want NotFound", err)
		}
		list, err := c.List(ctx, &health.HealthListRequest{})
		if err != nil || list.Statuses["grpc.testing.TestService"].GetStatus() != health.HealthCheckResponse_SERVING {
			t.Errorf("list: %v, %v", list, err)
		}
		nobody, err := c.Watch(ctx, &health.HealthCheckRequest{Service: "nobody"})
		if err != nil {
			t.Fatal(err)
		}
		if rsp, err := nobody.Recv(); err != nil || rsp.Status != health.HealthCheckResponse_SERVICE_UNKNOWN {
			t.Errorf("watch of a service that is not there: %v, %v", rsp, err)
		}
		watch, err := c.Watch(ctx, &health.HealthCheckRequest{})
		if err != nil {
			t.Fatal(err)
		}
		if rsp, err := watch.Recv(); err != nil || rsp.Status != health.HealthCheckResponse_SERVING {
			t.Fatalf("watch: %v, %v", rsp, err)
		}
		stopped := make(chan struct{})
		go func() {
			defer close(stopped)
			n.net.Stop(t, service)
		}()
		if rsp, err := watch.Recv(); err != nil || rsp.Status != health.HealthCheckResponse_NOT_SERVING {
			t.Errorf("watch at the end: %v, %v, want NOT_SERVING", rsp, err)
		}
		for {
			if _, err := watch.Recv(); err != nil {
				break
			}
		}
		<-stopped
	})
}

// reflectionStream asks one version of reflection.
type reflectionStream struct {
	services func() ([]string, error)
	file     func(symbol string) ([][]byte, error)
}

func TestGRPCReflectionDescribesGeneratedAndPlainEndpoints(t *testing.T) {
	leaktest.Check(t)
	n := serve(t, false, port.Config{}, func(s micro.Service) error {
		if err := registerTestService(s); err != nil {
			return err
		}
		return micro.RegisterHandler(s.Server(), new(Greeter))
	})
	cc := n.grpc(t)
	for version, open := range map[string]func(*testing.T, *grpc.ClientConn) reflectionStream{"v1": reflectionV1, "v1alpha": reflectionV1Alpha} {
		t.Run(version, func(t *testing.T) {
			s := open(t, cc)
			names, err := s.services()
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range []string{"grpc.testing.TestService", "interop.Greeter", "grpc.health.v1.Health"} {
				if !slices.Contains(names, want) {
					t.Errorf("the services are %q, want %q among them", names, want)
				}
			}
			files, err := s.file("interop.Greeter")
			if err != nil || len(files) == 0 {
				t.Fatalf("no file has interop.Greeter: %v", err)
			}
			all := ""
			for _, b := range files {
				fd := new(descriptorpb.FileDescriptorProto)
				if err := proto.Unmarshal(b, fd); err != nil {
					t.Fatal(err)
				}
				all += fd.String()
			}
			for _, want := range []string{"Hello", "HelloRequest", "name", "times"} {
				if !strings.Contains(all, want) {
					t.Errorf("the description lacks %q: %s", want, all)
				}
			}
			if _, err := s.file("nobody.Nothing"); status.Code(err) != codes.NotFound {
				t.Errorf("a symbol that is not there: %v, want NotFound", err)
			}
		})
	}
}

func reflectionV1(t *testing.T, cc *grpc.ClientConn) reflectionStream {
	s, err := reflection.NewServerReflectionClient(cc).ServerReflectionInfo(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { drain(s.CloseSend, func() error { _, err := s.Recv(); return err }) })
	ask := func(req *reflection.ServerReflectionRequest) (*reflection.ServerReflectionResponse, error) {
		if err := s.Send(req); err != nil {
			return nil, err
		}
		rsp, err := s.Recv()
		if e := rsp.GetErrorResponse(); e != nil {
			return nil, status.Error(codes.Code(e.ErrorCode), e.ErrorMessage)
		}
		return rsp, err
	}
	return reflectionStream{
		services: func() ([]string, error) {
			rsp, err := ask(&reflection.ServerReflectionRequest{MessageRequest: &reflection.ServerReflectionRequest_ListServices{}})
			var names []string
			for _, s := range rsp.GetListServicesResponse().GetService() {
				names = append(names, s.Name)
			}
			return names, err
		},
		file: func(symbol string) ([][]byte, error) {
			rsp, err := ask(&reflection.ServerReflectionRequest{MessageRequest: &reflection.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: symbol}})
			return rsp.GetFileDescriptorResponse().GetFileDescriptorProto(), err
		},
	}
}

func reflectionV1Alpha(t *testing.T, cc *grpc.ClientConn) reflectionStream {
	s, err := reflectionalpha.NewServerReflectionClient(cc).ServerReflectionInfo(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { drain(s.CloseSend, func() error { _, err := s.Recv(); return err }) })
	ask := func(req *reflectionalpha.ServerReflectionRequest) (*reflectionalpha.ServerReflectionResponse, error) {
		if err := s.Send(req); err != nil {
			return nil, err
		}
		rsp, err := s.Recv()
		if e := rsp.GetErrorResponse(); e != nil {
			return nil, status.Error(codes.Code(e.ErrorCode), e.ErrorMessage)
		}
		return rsp, err
	}
	return reflectionStream{
		services: func() ([]string, error) {
			rsp, err := ask(&reflectionalpha.ServerReflectionRequest{MessageRequest: &reflectionalpha.ServerReflectionRequest_ListServices{}})
			var names []string
			for _, s := range rsp.GetListServicesResponse().GetService() {
				names = append(names, s.Name)
			}
			return names, err
		},
		file: func(symbol string) ([][]byte, error) {
			rsp, err := ask(&reflectionalpha.ServerReflectionRequest{MessageRequest: &reflectionalpha.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: symbol}})
			return rsp.GetFileDescriptorResponse().GetFileDescriptorProto(), err
		},
	}
}

// drain ends a stream.
func drain(end, recv func() error) {
	if end() != nil {
		return
	}
	for recv() == nil {
	}
}
