package interop

import (
	"context"
	"fmt"
	"os"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/grpclog"
	"google.golang.org/grpc/interop"
	pb "google.golang.org/grpc/interop/grpc_testing"

	"github.com/seed-9a4e2794/micro/internal/leaktest"
	"github.com/seed-9a4e2794/micro/transport/port"
)

func TestMain(m *testing.M) {
	// The cases of grpc-go end the process when they fail, through their
	// logger: this one ends the case.
	grpclog.SetLoggerV2(panicLogger{grpclog.NewLoggerV2(discard{}, discard{}, discard{})})
	os.Exit(m.Run())
}

// panicLogger panics where others exit.
type panicLogger struct{ grpclog.LoggerV2 }

// fatal is what a panicLogger panics with.
type fatal string

func (panicLogger) Fatal(args ...any)                 { panic(fatal(fmt.Sprint(args...))) }
func (panicLogger) Fatalln(args ...any)               { panic(fatal(fmt.Sprintln(args...))) }
func (panicLogger) Fatalf(format string, args ...any) { panic(fatal(fmt.Sprintf(format, args...))) }

type discard struct{}

func (discard) Write(b []byte) (int, error) { return len(b), nil }

// TestGRPCInteropCases runs the client half of gRPC's interoperability tests,
// as grpc-go has it.
func TestGRPCInteropCases(t *testing.T) {
	cases := []struct {
		name string
		run  func(context.Context, *grpc.ClientConn, ...grpc.CallOption)
	}{
		{"empty_unary", onClient(interop.DoEmptyUnaryCall)},
		{"large_unary", onClient(interop.DoLargeUnaryCall)},
		{"client_streaming", onClient(interop.DoClientStreaming)},
		{"server_streaming", onClient(interop.DoServerStreaming)},
		{"ping_pong", onClient(interop.DoPingPong)},
		{"empty_stream", onClient(interop.DoEmptyStream)},
		{"timeout_on_sleeping_server", onClient(interop.DoTimeoutOnSleepingServer)},
		{"cancel_after_begin", onClient(interop.DoCancelAfterBegin)},
		{"cancel_after_first_response", onClient(interop.DoCancelAfterFirstResponse)},
		{"custom_metadata", onClient(interop.DoCustomMetadata)},
		{"status_code_and_message", onClient(interop.DoStatusCodeAndMessage)},
		{"special_status_message", onClient(interop.DoSpecialStatusMessage)},
		{"unimplemented_service", func(ctx context.Context, cc *grpc.ClientConn, _ ...grpc.CallOption) {
			interop.DoUnimplementedService(ctx, pb.NewUnimplementedServiceClient(cc))
		}},
		{"unimplemented_method", func(ctx context.Context, cc *grpc.ClientConn, _ ...grpc.CallOption) {
			interop.DoUnimplementedMethod(ctx, cc)
		}},
	}
	sides(t, func(t *testing.T, secure bool) {
		for _, compressed := range []bool{false, true} {
			t.Run(fmt.Sprintf("gzip=%v", compressed), func(t *testing.T) {
				leaktest.Check(t)
				n := serve(t, secure, port.Config{}, registerTestService)
				cc := n.grpc(t)
				var opts []grpc.CallOption
				if compressed {
					opts = append(opts, grpc.UseCompressor(gzip.Name))
				}
				for _, c := range cases {
					t.Run(c.name, func(t *testing.T) {
						defer func() {
							if r := recover(); r != nil {
								t.Error(r)
							}
						}()
						ctx, cancel := within(t)
						defer cancel()
						c.run(ctx, cc, opts...)
					})
				}
			})
		}
	})
}

func onClient(do func(context.Context, pb.TestServiceClient, ...grpc.CallOption)) func(context.Context, *grpc.ClientConn, ...grpc.CallOption) {
	return func(ctx context.Context, cc *grpc.ClientConn, opts ...grpc.CallOption) {
		do(ctx, pb.NewTestServiceClient(cc), opts...)
	}
}
