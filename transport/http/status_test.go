package http_test

import (
	"context"
	stderrors "errors"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/seed-9a4e2794/micro/errors"
	"github.com/seed-9a4e2794/micro/internal/leaktest"
	"github.com/seed-9a4e2794/micro/transport"
	"github.com/seed-9a4e2794/micro/transport/http"
)

// detail returns a detail with a type as it comes.
func detail(name, value string) errors.Detail {
	return errors.Detail{Type: "type.googleapis.com/" + name, Value: []byte(value)}
}

func TestErrorsComeAsTheyWereMade(t *testing.T) {
	cases := []*errors.Error{
		errors.NewCode("go.micro.srv.house", errors.CodeAborted, "taken by %s", "Ann"),
		{Id: "x", Code: 418, Detail: "teapot", Status: "I am short"},
		{Id: "x", Code: 418, Detail: "teapot", Status: "I'm a teapot"},
		{Id: "x", Code: 404, Detail: "none", Status: "Not Found"},
		{Code: 400, Status: "Bad Request"},
		{Detail: "nothing but a text"},
		{Id: "x", Code: -7, Detail: "odd"},
		{Id: "größe", Code: 500, Detail: "äöü \r\n\x00 100% \u2028", Status: "Internal Server Error"},
		{Id: "x", Code: 409, Exact: errors.CodeAborted, Detail: `{"id":"y","code":1,"detail":"d","status":"s"}`, Status: "Conflict"},
		errors.Refuse("x", errors.CodeUnavailable, "stopping"),
		{Id: "x", Code: 500, Status: "Internal Server Error", Details: []errors.Detail{detail("google.protobuf.StringValue", "\n\x03why"), detail("a.Other", ""), detail("a.Other", "\xff\x00")}},
	}
	for c := errors.CodeCanceled; c <= errors.CodeUnauthenticated; c++ {
		cases = append(cases, errors.NewCode("codes", c, "as %s", c))
	}
	for _, p := range []http.Protocol{http.GRPC, http.GRPCWeb, http.Connect} {
		t.Run(string(p), func(t *testing.T) {
			leaktest.Check(t)
			h := newHouse(t, http.Config{})
			h.answer("House.Fail", func(_ context.Context, b transport.Body) (transport.Message, error) {
				return transport.Message{}, cases[b.Data[0]]
			})
			h.stream("House.Stream", func(s transport.Socket) error {
				b, err := s.Recv()
				if err != nil {
					return err
				}
				defer b.Release()
				return cases[b.Data[0]]
			})
			h.open()
			conn, err := http.New(http.Config{Protocol: p}).Dial(context.Background(), h.addr)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			for i, want := range cases {
				m := raw(string([]byte{byte(i)}))
				_, err := conn.Call(context.Background(), transport.Request{Method: transport.Method{Endpoint: "House.Fail"}, Message: m})
				same(t, "unary", err, want)
				s, err := conn.Open(context.Background(), transport.Request{Method: transport.Method{Endpoint: "House.Stream"}, Message: m})
				if err != nil {
					t.Fatal(err)
				}
				if err := s.Send(m); err != nil {
					t.Fatal(err)
				}
				_, err = s.Recv()
				same(t, "stream", err, want)
			}
		})
	}
}

// same reports an error that is not the one that was made.
func same(t *testing.T, how string, err error, want *errors.Error) {
	t.Helper()
	var e *errors.Error
	if !stderrors.As(err, &e) {
		t.Errorf("%s: got %v, want %v", how, err, want)
		return
	}
	if e.Id != want.Id || e.Code != want.Code || e.Detail != want.Detail || e.Status != want.Status || e.Refused != want.Refused || e.GRPCCode() != want.GRPCCode() {
		t.Errorf("%s: got %+v, want %+v", how, e, want)
	}
	if len(e.Details) != len(want.Details) {
		t.Errorf("%s: the details are %v, want %v", how, e.Details, want.Details)
		return
	}
	for i, d := range e.Details {
		if d.Type != want.Details[i].Type || string(d.Value) != string(want.Details[i].Value) {
			t.Errorf("%s: detail %d is %+v, want %+v", how, i, d, want.Details[i])
		}
	}
}

// go-micro's gRPC client reads an error from the first detail, and its oldest
// versions from JSON in the message.
func TestGoMicroCallersOfGRPCGetTheirError(t *testing.T) {
	leaktest.Check(t)
	h := newHouse(t, http.Config{})
	h.answer("House.Fail", func(context.Context, transport.Body) (transport.Message, error) {
		e := errors.NewCode("go.micro.srv.house", errors.CodeNotFound, "no %s", "Ann")
		e.Details = []errors.Detail{detail("a.Other", "x")}
		return transport.Message{}, e
	})
	h.open()
	client := connect.NewClient[str, str](h.two, "http://"+h.addr+"/House/Fail", connect.WithGRPC())
	call := func(header string) *connect.Error {
		t.Helper()
		r := connect.NewRequest(new(str))
		if header != "" {
			r.Header().Set(header, "application/grpc+proto")
		}
		_, err := client.CallUnary(context.Background(), r)
		var ce *connect.Error
		if !stderrors.As(err, &ce) || ce.Code() != connect.CodeNotFound {
			t.Fatalf("got %v", err)
		}
		return ce
	}
	ce := call("X-Content-Type")
	if want := `{"id":"go.micro.srv.house","code":404,"detail":"no Ann","status":"Not Found"}`; ce.Message() != want {
		t.Errorf("the message is %s, want %s", ce.Message(), want)
	}
	d := ce.Details()
	if len(d) != 2 || d[0].Type() != "errors.Error" || d[1].Type() != "a.Other" {
		t.Fatalf("the details are %v", d)
	}
	fields := make(map[protowire.Number]any)
	for b := d[0].Bytes(); len(b) > 0; {
		num, typ, n := protowire.ConsumeTag(b)
		b = b[n:]
		if typ == protowire.BytesType {
			v, n := protowire.ConsumeString(b)
			fields[num], b = v, b[n:]
			continue
		}
		v, n := protowire.ConsumeVarint(b)
		fields[num], b = int(v), b[n:]
	}
	if fields[1] != "go.micro.srv.house" || fields[2] != 404 || fields[3] != "no Ann" {
		t.Errorf("the fields are %v", fields)
	}
	if ce := call(""); ce.Message() != "no Ann" || len(ce.Details()) != 1 {
		t.Errorf("others get %q with %v", ce.Message(), ce.Details())
	}
}

func TestErrorsOfAReaderAreTheCallers(t *testing.T) {
	leaktest.Check(t)
	h := newHouse(t, http.Config{})
	h.stream("House.Stream", func(s transport.Socket) error {
		for {
			b, err := s.Recv()
			if err != nil {
				return err
			}
			b.Release()
		}
	})
	h.open()
	got := h.askBy(h.two, "POST", "/House/Stream", strings.NewReader("\x00\x00\x00\x00\x09half"), "Content-Type", "application/grpc")
	if status := got.trailer.Get("Grpc-Status") + got.header.Get("Grpc-Status"); status == "" || status == "0" || status == "2" {
		t.Errorf("half a message: %+v", got)
	}
	got = h.askBy(h.two, "POST", "/House/Stream", strings.NewReader(frame(1, "no gzip")), "Content-Type", "application/grpc", "Grpc-Encoding", "gzip")
	if status := got.trailer.Get("Grpc-Status") + got.header.Get("Grpc-Status"); status != "3" {
		t.Errorf("a message that is not compressed: %+v", got)
	}
}
