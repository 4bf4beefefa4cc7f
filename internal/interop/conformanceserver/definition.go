package main

import (
	"context"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/seed-9a4e2794/micro/errors"
	"github.com/seed-9a4e2794/micro/metadata"
)

// definition is what a request asks to be answered with. The zero definition
// asks for nothing.
type definition struct{ m protoreflect.Message }

func definitionOf(req protoreflect.Message) definition {
	f := field(req, "response_definition")
	if !req.Has(f) {
		return definition{}
	}
	return definition{req.Get(f).Message()}
}

// sendMetadata adds the header and trailer that are asked for to the reply.
func (d definition) sendMetadata(ctx context.Context) error {
	if d.m == nil {
		return nil
	}
	if err := sendAll(ctx, d.list("response_headers"), metadata.SetHeader); err != nil {
		return err
	}
	return sendAll(ctx, d.list("response_trailers"), metadata.SetTrailer)
}

func sendAll(ctx context.Context, headers protoreflect.List, set func(context.Context, string, ...string) error) error {
	for i := range headers.Len() {
		h := headers.Get(i).Message()
		values := h.Get(field(h, "value")).List()
		for j := range values.Len() {
			if err := set(ctx, h.Get(field(h, "name")).String(), values.Get(j).String()); err != nil {
				return err
			}
		}
	}
	return nil
}

func (d definition) list(name protoreflect.Name) protoreflect.List {
	return d.m.Get(field(d.m, name)).List()
}

func (d definition) delay() time.Duration {
	if d.m == nil {
		return 0
	}
	return time.Duration(d.m.Get(field(d.m, "response_delay_ms")).Uint()) * time.Millisecond
}

// one returns the data of the only message.
func (d definition) one() []byte {
	if d.m == nil {
		return nil
	}
	return d.m.Get(field(d.m, "response_data")).Bytes()
}

// count returns how many messages a stream is to send, each the data of one.
func (d definition) count() int {
	if d.m == nil {
		return 0
	}
	return d.list("response_data").Len()
}

func (d definition) each(i int) []byte { return d.list("response_data").Get(i).Bytes() }

// err returns the error that is asked for.
func (d definition) err() *failure {
	if d.m == nil || !d.m.Has(field(d.m, "error")) {
		return nil
	}
	return &failure{d.m.Get(field(d.m, "error")).Message()}
}

// failure is an error that a request asks for.
type failure struct{ m protoreflect.Message }

// with returns the error; info, if there is one, is its last detail.
func (f *failure) with(info *requestInfo) error {
	e := errors.NewCode("connectrpc.conformance.v1", errors.Code(f.m.Get(field(f.m, "code")).Enum()),
		"%s", f.m.Get(field(f.m, "message")).String())
	details := f.m.Get(field(f.m, "details")).List()
	for i := range details.Len() {
		a := details.Get(i).Message()
		e.Details = append(e.Details, errors.Detail{Type: a.Get(field(a, "type_url")).String(), Value: a.Get(field(a, "value")).Bytes()})
	}
	if info != nil {
		b, err := proto.Marshal(info.m.Interface())
		if err != nil {
			return err
		}
		e.Details = append(e.Details, errors.Detail{Type: typeURL(info.m), Value: b})
	}
	return e
}
