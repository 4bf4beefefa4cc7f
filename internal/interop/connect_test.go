package interop

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	stderrors "errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	pb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/seed-9a4e2794/micro"
	"github.com/seed-9a4e2794/micro/errors"
	"github.com/seed-9a4e2794/micro/internal/leaktest"
	"github.com/seed-9a4e2794/micro/metadata"
	"github.com/seed-9a4e2794/micro/server"
	"github.com/seed-9a4e2794/micro/transport/port"
)

// TestConnectGoSeesHeadersErrorsAndSizes calls with connect-go in its three
// protocols, over both versions of HTTP, in both codecs, compressed and not.
func TestConnectGoSeesHeadersErrorsAndSizes(t *testing.T) {
	detail := &errdetails.BadRequest{FieldViolations: []*errdetails.BadRequest_FieldViolation{{Field: "size"}}}
	value, err := proto.Marshal(detail)
	if err != nil {
		t.Fatal(err)
	}
	register := func(s micro.Service) error {
		return micro.Handle(s, "TestService.UnaryCall", func(ctx context.Context, req *pb.SimpleRequest) (*pb.SimpleResponse, error) {
			err := stderrors.Join(metadata.SetHeader(ctx, "x-first", metadata.Values(ctx, "x-asked")...), metadata.SetTrailer(ctx, "x-last", "z"))
			if req.GetResponseSize() == 0 {
				e := errors.NewCode("interop", errors.CodeOutOfRange, "no size ✗")
				e.Details = []errors.Detail{{Type: "google.rpc.BadRequest", Value: value}}
				return nil, e
			}
			return &pb.SimpleResponse{Payload: payload(req.GetResponseSize()), Hostname: fmt.Sprint(len(req.GetPayload().GetBody()))}, err
		}, server.Safe("TestService.UnaryCall"))
	}
	options := map[string][]connect.ClientOption{
		"connect": nil, "connect get": {connect.WithHTTPGet()}, "grpc": {connect.WithGRPC()}, "grpc-web": {connect.WithGRPCWeb()},
	}
	codecs := map[string][]connect.ClientOption{
		"proto": nil, "json": {connect.WithProtoJSON()}, "gzip": {connect.WithSendGzip()}, "json gzip": {connect.WithProtoJSON(), connect.WithSendGzip()},
	}
	sides(t, func(t *testing.T, secure bool) {
		leaktest.Check(t)
		n := serve(t, secure, port.Config{}, register)
		for _, version := range []int{1, 2} {
			for protocol, popts := range options {
				if protocol == "grpc" && version == 1 {
					continue // which has no trailers there
				}
				for codec, copts := range codecs {
					t.Run(fmt.Sprintf("http%d %s %s", version, protocol, codec), func(t *testing.T) {
						opts := slices.Concat(popts, copts)
						if protocol == "connect get" {
							opts = append(opts, connect.WithIdempotency(connect.IdempotencyNoSideEffects))
						}
						c := connect.NewClient[pb.SimpleRequest, pb.SimpleResponse](n.http(t, version), n.url("/grpc.testing.TestService/UnaryCall"), opts...)
						checkConnect(t, c, detail)
					})
				}
			}
		}
	})
}

func checkConnect(t *testing.T, c *connect.Client[pb.SimpleRequest, pb.SimpleResponse], detail proto.Message) {
	ctx, cancel := within(t)
	defer cancel()
	req := connect.NewRequest(&pb.SimpleRequest{ResponseSize: 100_000, Payload: payload(1000)})
	req.Header().Add("X-Asked", "a")
	req.Header().Add("X-Asked", "b, c")
	rsp, err := c.CallUnary(ctx, req)
	if err != nil {
		t.Fatal(err)
	}
	if len(rsp.Msg.GetPayload().GetBody()) != 100_000 || rsp.Msg.GetHostname() != "1000" {
		t.Errorf("got %d bytes for %s, want 100000 for 1000", len(rsp.Msg.GetPayload().GetBody()), rsp.Msg.GetHostname())
	}
	if got := rsp.Header().Values("X-First"); !slices.Equal(got, []string{"a", "b, c"}) {
		t.Errorf("the header is %q", got)
	}
	if got := rsp.Trailer().Values("X-Last"); !slices.Equal(got, []string{"z"}) {
		t.Errorf("the trailer is %q", got)
	}
	_, err = c.CallUnary(ctx, connect.NewRequest(&pb.SimpleRequest{}))
	var ce *connect.Error
	if !stderrors.As(err, &ce) || ce.Code() != connect.CodeOutOfRange || ce.Message() != "no size ✗" {
		t.Fatalf("got the error %v", err)
	}
	if len(ce.Details()) != 1 {
		t.Fatalf("got %d details, want 1", len(ce.Details()))
	}
	if got, err := ce.Details()[0].Value(); err != nil || !proto.Equal(got, detail) {
		t.Errorf("got the detail %v, %v, want %v", got, err, detail)
	}
}

// webFrame is a frame of gRPC-Web.
type webFrame struct {
	flags byte
	data  []byte
}

// callWeb makes a call as a browser does: HTTP/1.1, no trailers, the whole
// request at once.
func callWeb(ctx context.Context, hc *http.Client, url, contentType string, body []byte) ([]webFrame, *http.Response, error) {
	msg := append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(body))), body...)
	isText := strings.HasPrefix(contentType, "application/grpc-web-text")
	if isText {
		msg = []byte(base64.StdEncoding.EncodeToString(msg))
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(msg))
	if err != nil {
		return nil, nil, err
	}
	for k, v := range map[string]string{"Content-Type": contentType, "Accept": contentType, "X-Grpc-Web": "1", "X-User-Agent": "grpc-web-javascript/0.1",
		"Origin": "https://shop.example", "Sec-Fetch-Mode": "cors"} {
		req.Header.Set(k, v)
	}
	rsp, err := hc.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer rsp.Body.Close()
	var in io.Reader = rsp.Body
	if isText {
		in = base64.NewDecoder(base64.StdEncoding, in)
	}
	var frames []webFrame
	for {
		var head [5]byte
		if _, err := io.ReadFull(in, head[:]); err == io.EOF {
			return frames, rsp, nil
		} else if err != nil {
			return frames, rsp, err
		}
		data := make([]byte, binary.BigEndian.Uint32(head[1:]))
		if _, err := io.ReadFull(in, data); err != nil {
			return frames, rsp, err
		}
		frames = append(frames, webFrame{head[0], data})
	}
}

func TestGRPCWebAsABrowserSpeaksIt(t *testing.T) {
	sides(t, func(t *testing.T, secure bool) {
		leaktest.Check(t)
		e := newEcho()
		n := serve(t, secure, port.Config{}, e.register)
		hc := n.http(t, 1)
		for _, contentType := range []string{"application/grpc-web", "application/grpc-web+proto"} {
			for _, c := range []struct {
				endpoint, what string
				want           []string
				status         string
			}{
				{"Unary", "Ada ✓", []string{"Ada ✓"}, "0"},
				{"Server", "tick", []string{"tick 1", "tick 2"}, "0"},
				{"Unary", doError, nil, "9"},
				{"Server", doError, []string{"error 1"}, "9"},
				{"Nope", "", nil, "12"},
			} {
				t.Run(contentType+" "+c.endpoint+" "+c.what, func(t *testing.T) {
					ctx, cancel := within(t)
					defer cancel()
					body, err := proto.Marshal(wrapperspb.String(c.what))
					if err != nil {
						t.Fatal(err)
					}
					frames, rsp, err := callWeb(ctx, hc, n.url("/interop.Echo/"+c.endpoint), contentType, body)
					if err != nil {
						t.Fatal(err)
					}
					if rsp.StatusCode != http.StatusOK || rsp.Header.Get("Content-Type") != contentType {
						t.Errorf("got %s with %s", rsp.Status, rsp.Header.Get("Content-Type"))
					}
					status := rsp.Header.Get("Grpc-Status") // of an answer that is nothing but trailers
					var got []string
					for _, f := range frames {
						if f.flags&0x80 != 0 {
							for line := range strings.SplitSeq(string(f.data), "\r\n") {
								if k, v, _ := strings.Cut(line, ":"); strings.EqualFold(k, "grpc-status") {
									status = strings.TrimSpace(v)
								}
							}
							continue
						}
						m := new(text)
						if err := proto.Unmarshal(f.data, m); err != nil {
							t.Fatal(err)
						}
						got = append(got, m.Value)
					}
					if !slices.Equal(got, c.want) || status != c.status {
						t.Errorf("got %q and the status %q, want %q and %q", got, status, c.want, c.status)
					}
				})
			}
		}
	})
}

// The text form of gRPC-Web is for browsers that cannot read bytes as they
// come, which none of today is. It is refused in words.
func TestGRPCWebTextIsRefused(t *testing.T) {
	leaktest.Check(t)
	n := serve(t, false, port.Config{}, newEcho().register)
	ctx, cancel := within(t)
	defer cancel()
	_, rsp, err := callWeb(ctx, n.http(t, 1), n.url("/interop.Echo/Unary"), "application/grpc-web-text+proto", []byte("\n\x03Ada"))
	if rsp == nil || rsp.StatusCode != http.StatusUnsupportedMediaType {
		t.Errorf("got %v, %v, want status 415", rsp, err)
	}
}
