package interop

import (
	"context"
	stderrors "errors"
	"io"
	"net/http"
	"os/exec"
	"strings"
	"testing"

	"github.com/seed-9a4e2794/micro"
	"github.com/seed-9a4e2794/micro/errors"
	"github.com/seed-9a4e2794/micro/internal/leaktest"
	"github.com/seed-9a4e2794/micro/metadata"
	"github.com/seed-9a4e2794/micro/server"
	"github.com/seed-9a4e2794/micro/transport/port"
)

// HelloRequest and HelloResponse are plain structs without a schema.
type HelloRequest struct {
	Name  string `json:"name" protobuf:"1"`
	Times int    `json:"times" protobuf:"2"`
}

type HelloResponse struct {
	Message string `json:"message"`
}

// Greeter is a handler as go-micro v1 has it.
type Greeter struct{}

func (*Greeter) Hello(_ context.Context, req *HelloRequest, rsp *HelloResponse) error {
	switch {
	case req.Name == "":
		return errors.BadRequest("greeter", "a name is needed")
	case req.Name == "nobody":
		return stderrors.New("nobody is here")
	}
	rsp.Message = strings.TrimSpace(strings.Repeat("Hello "+req.Name+" ", max(req.Times, 1)))
	return nil
}

func registerGreeter(s micro.Service) error {
	return stderrors.Join(
		micro.RegisterHandler(s.Server(), new(Greeter)),
		micro.Handle(s, "Clock.Now", func(ctx context.Context, req *HelloRequest) (*HelloResponse, error) {
			return &HelloResponse{"now, " + req.Name}, metadata.SetHeader(ctx, "x-clock", "right")
		}, server.Safe("Clock.Now")),
		micro.HandleServerStream(s, "Clock.Tick", func(_ context.Context, req *HelloRequest, out server.SendStream[HelloResponse]) error {
			for range req.Times {
				if err := out.Send(&HelloResponse{"tick " + req.Name}); err != nil {
					return err
				}
			}
			return nil
		}),
	)
}

// TestJSONOverHTTP is what curl does.
func TestJSONOverHTTP(t *testing.T) {
	cases := []struct {
		name, method, path, contentType, body string
		status                                int
		want                                  string // the body, or a part of it
	}{
		{"a handler's name", "POST", "/Greeter/Hello", "application/json", `{"name":"Ada"}`, 200, `{"message":"Hello Ada"}`},
		{"with a package", "POST", "/greeter.Greeter/Hello", "application/json", `{"name":"Ada"}`, 200, `{"message":"Hello Ada"}`},
		{"with a long package", "POST", "/a.b.c.Greeter/Hello", "application/json", `{"name":"Ada","times":2}`, 200, `{"message":"Hello Ada Hello Ada"}`},
		{"with a charset", "POST", "/Greeter/Hello", "application/json; charset=utf-8", `{"name":"Ada"}`, 200, `{"message":"Hello Ada"}`},
		{"in capitals", "POST", "/Greeter/Hello", "Application/JSON", `{"name":"Ada"}`, 200, `{"message":"Hello Ada"}`},
		{"the handler's error", "POST", "/Greeter/Hello", "application/json", `{}`, 400, `"message":"a name is needed"`},
		{"its code", "POST", "/Greeter/Hello", "application/json", `{}`, 400, `"code":"invalid_argument"`},
		{"an error without a code", "POST", "/Greeter/Hello", "application/json", `{"name":"nobody"}`, 500, `nobody is here`},
		{"what is no JSON", "POST", "/Greeter/Hello", "application/json", `{"name":`, 400, `"code":"invalid_argument"`},
		{"an unknown endpoint", "POST", "/Greeter/Nope", "application/json", `{}`, 404, `Nope`},
		{"an unknown handler", "POST", "/Nope/Hello", "application/json", `{}`, 404, `Nope`},
		{"an unknown content type", "POST", "/Greeter/Hello", "text/csv", `Ada`, 415, `text/csv`},
		{"GET of what is not safe", "GET", "/Greeter/Hello", "", "", 405, `POST`},
		{"DELETE", "DELETE", "/Greeter/Hello", "", "", 405, `POST`},
		{"GET of what is safe", "GET", "/Clock/Now", "", "", 200, `{"message":"now, "}`},
		{"GET with a message", "GET", "/Clock/Now?connect=v1&encoding=json&message=%7B%22name%22%3A%22Ada%22%7D", "", "", 200, `{"message":"now, Ada"}`},
		{"POST of what is safe", "POST", "/Clock/Now", "application/json", `{"name":"Ada"}`, 200, `{"message":"now, Ada"}`},
		{"livez", "GET", "/livez", "", "", 200, "ok"},
		{"readyz", "GET", "/readyz", "", "", 200, "ok"},
	}
	sides(t, func(t *testing.T, secure bool) {
		for _, version := range []int{1, 2} {
			t.Run([]string{1: "http1", 2: "http2"}[version], func(t *testing.T) {
				leaktest.Check(t)
				n := serve(t, secure, port.Config{}, registerGreeter)
				hc := n.http(t, version)
				for _, c := range cases {
					t.Run(c.name, func(t *testing.T) {
						ctx, cancel := within(t)
						defer cancel()
						req, err := http.NewRequestWithContext(ctx, c.method, n.url(c.path), strings.NewReader(c.body))
						if err != nil {
							t.Fatal(err)
						}
						if c.contentType != "" {
							req.Header.Set("Content-Type", c.contentType)
						}
						rsp, err := hc.Do(req)
						if err != nil {
							t.Fatal(err)
						}
						defer rsp.Body.Close()
						got, err := io.ReadAll(rsp.Body)
						if err != nil {
							t.Fatal(err)
						}
						if rsp.StatusCode != c.status || !strings.Contains(string(got), c.want) {
							t.Errorf("got %d %s, want %d %s", rsp.StatusCode, got, c.status, c.want)
						}
						if rsp.ProtoMajor != version {
							t.Errorf("the answer came over HTTP/%d", rsp.ProtoMajor)
						}
					})
				}
			})
		}
	})
}

func TestGRPCurlListsDescribesAndCalls(t *testing.T) {
	path := tool(t, "grpcurl")
	leaktest.Check(t)
	n := serve(t, false, port.Config{}, func(s micro.Service) error {
		return stderrors.Join(registerGreeter(s), registerTestService(s))
	})
	for _, c := range []struct {
		name string
		args []string
		want []string
	}{
		{"list", []string{n.addr, "list"}, []string{"interop.Greeter", "interop.Clock", "grpc.testing.TestService", "grpc.health.v1.Health"}},
		{"list of a service", []string{n.addr, "list", "interop.Greeter"}, []string{"interop.Greeter.Hello"}},
		{"describe a service", []string{n.addr, "describe", "interop.Greeter"}, []string{"rpc Hello ( .interop.HelloRequest ) returns ( .interop.HelloResponse )"}},
		{"describe a message", []string{n.addr, "describe", "interop.HelloRequest"}, []string{"string name = 1;", "int64 times = 2;"}},
		{"describe a stream", []string{n.addr, "describe", "interop.Clock"}, []string{"returns ( stream .interop.HelloResponse )"}},
		{"call", []string{"-d", `{"name":"Ada","times":2}`, n.addr, "interop.Greeter/Hello"}, []string{`"message": "Hello Ada Hello Ada"`}},
		{"call a stream", []string{"-d", `{"name":"tock","times":2}`, n.addr, "interop.Clock/Tick"}, []string{"tick tock"}},
		{"call generated code", []string{"-d", `{"responseSize":3}`, n.addr, "grpc.testing.TestService/UnaryCall"}, []string{`"body": "AAAA"`}},
		{"health", []string{n.addr, "grpc.health.v1.Health/Check"}, []string{`"status": "SERVING"`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx, cancel := within(t)
			defer cancel()
			out, err := exec.CommandContext(ctx, path, append([]string{"-plaintext"}, c.args...)...).CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			for _, want := range c.want {
				if !strings.Contains(string(out), want) {
					t.Errorf("got\n%s\nwant %q in it", out, want)
				}
			}
		})
	}
	t.Run("error", func(t *testing.T) {
		ctx, cancel := within(t)
		defer cancel()
		out, err := exec.CommandContext(ctx, path, "-plaintext", "-d", `{}`, n.addr, "interop.Greeter/Hello").CombinedOutput()
		if err == nil || !strings.Contains(string(out), "Code: InvalidArgument") || !strings.Contains(string(out), "Message: a name is needed") {
			t.Errorf("got %v\n%s", err, out)
		}
	})
}
