package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"connectrpc.com/connect"
	"connectrpc.com/grpcreflect"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/seed-9a4e2794/micro/client"
	"github.com/seed-9a4e2794/micro/codec"
	"github.com/seed-9a4e2794/micro/registry"
	"github.com/seed-9a4e2794/micro/transport"
)

// speaks says of a name of --protocol that calls cannot be made in it. An empty
// one is the node's own.
func (p *parts) speaks(protocol string) error {
	if protocol = client.ProtocolOf(protocol); protocol == "" {
		return nil
	}
	many, ok := p.transport.(transport.Protocols)
	if !ok {
		return usage("leave --transport out: the default one speaks every protocol", "--protocol is %q, and the transport that is chosen speaks only its own", protocol)
	}
	if _, err := many.Protocol(protocol, false); err != nil {
		return usage("", "%v", err)
	}
	return nil
}

// form is what messages travel as. The zero form is JSON, which services of
// this framework take; a gRPC server of another one mostly takes protobuf only,
// and by its reflection says of which types.
type form struct {
	in, out protoreflect.MessageDescriptor
}

// contentType is that of the messages.
func (f form) contentType() string {
	if f.in == nil {
		return codec.JSON
	}
	return codec.Proto
}

// request returns the message that JSON stands for.
func (f form) request(body json.RawMessage) (any, error) {
	if f.in == nil {
		return body, nil
	}
	m := dynamicpb.NewMessage(f.in)
	if err := protojson.Unmarshal(body, m); err != nil {
		return nil, usage("", "the request is no %s: %v", f.in.FullName(), err)
	}
	return m, nil
}

// send sends the message that JSON stands for.
func (f form) send(s client.Stream, body json.RawMessage) error {
	m, err := f.request(body)
	if err != nil {
		return err
	}
	return s.Send(m)
}

// response returns what a message is received into.
func (f form) response() any {
	if f.out == nil {
		return new(json.RawMessage)
	}
	return dynamicpb.NewMessage(f.out)
}

// text returns a received message as JSON in its short form.
func (f form) text(m any) (json.RawMessage, error) {
	switch m := m.(type) {
	case *json.RawMessage:
		if len(*m) == 0 {
			return json.RawMessage("{}"), nil
		}
		return *m, nil
	case proto.Message:
		b, err := protojson.MarshalOptions{EmitUnpopulated: true}.Marshal(m)
		if err != nil {
			return nil, err
		}
		return checkJSON("the answer", b, "") // protojson puts spaces at random
	}
	return nil, fmt.Errorf("a message of type %T has no JSON", m)
}

// form returns what an endpoint that nobody has registered takes. A gRPC server
// is asked, at the address or at the first node there is.
func (p *parts) form(ctx context.Context, x *target, versions []*registry.Service, protocol, address string) (form, error) {
	node := nodeAt(versions, address)
	if address == "" {
		for _, s := range versions {
			if len(s.Nodes) > 0 {
				node = s.Nodes[0]
				address = node.Address
				break
			}
		}
	}
	if protocol = client.ProtocolOf(protocol); protocol == "" && node != nil {
		if protocol = node.Metadata[registry.ProtocolKey]; protocol == "" && (node.Metadata["server"] == "grpc" || node.Metadata["transport"] == "grpc") {
			protocol = "grpc"
		}
	}
	if address == "" || protocol != "grpc" && protocol != "grpc-web" {
		return form{}, nil
	}
	secure := p.tls != nil || node != nil && node.Metadata[registry.SecureKey] == "true"
	files, err := p.describe(ctx, address, secure, symbols(x))
	switch connect.CodeOf(err) {
	case connect.CodeUnimplemented, connect.CodeNotFound: // it does not say, and may take JSON
		return form{}, nil
	}
	if err != nil {
		return form{}, fmt.Errorf("asking %s by reflection what %s takes: %w", address, x.endpoint, err)
	}
	return x.described(files)
}

// symbols returns the names under which a server may know the service of an
// endpoint, such as helloworld.Greeter for SayHello of helloworld.Greeter.
func symbols(x *target) []protoreflect.FullName {
	var names []protoreflect.FullName
	if handler, _, ok := cutLast(strings.ReplaceAll(strings.TrimPrefix(x.endpoint, "/"), "/", ".")); ok {
		if !strings.Contains(handler, ".") {
			names = append(names, protoreflect.FullName(x.service+"."+handler))
		}
		names = append(names, protoreflect.FullName(handler))
	}
	return append(names, protoreflect.FullName(x.service))
}

func cutLast(name string) (before, after string, ok bool) {
	i := strings.LastIndexByte(name, '.')
	if i < 0 {
		return "", name, false
	}
	return name[:i], name[i+1:], true
}

// describe asks a gRPC server for the first of the symbols that it knows.
func (p *parts) describe(ctx context.Context, address string, secure bool, symbols []protoreflect.FullName) (*symbol, error) {
	web := &http.Transport{Protocols: new(http.Protocols)}
	scheme := "http"
	web.Protocols.SetUnencryptedHTTP2(true)
	if secure {
		scheme = "https"
		web.Protocols.SetHTTP2(true)
		if p.tls != nil {
			web.TLSClientConfig = p.tls.Client()
		}
	}
	defer web.CloseIdleConnections()
	stream := grpcreflect.NewClient(&http.Client{Transport: web}, scheme+"://"+address, connect.WithGRPC(), connect.WithReadMaxBytes(maxInput)).NewStream(ctx)
	defer stream.Close()
	var last error
	for _, name := range symbols {
		if !name.IsValid() {
			continue
		}
		files, err := stream.FileContainingSymbol(name)
		if err == nil {
			return &symbol{name, files}, nil
		}
		last = err
		if connect.CodeOf(err) != connect.CodeNotFound {
			break
		}
	}
	return nil, last
}

// symbol is a service as its server describes it.
type symbol struct {
	name  protoreflect.FullName
	files []*descriptorpb.FileDescriptorProto
}

// described takes the endpoint's path and form from a description.
func (x *target) described(sy *symbol) (form, error) {
	files, err := protodesc.NewFiles(&descriptorpb.FileDescriptorSet{File: sy.files})
	if err != nil {
		return form{}, fmt.Errorf("the description of %s by its server: %w", sy.name, err)
	}
	d, err := files.FindDescriptorByName(sy.name)
	if err != nil {
		return form{}, fmt.Errorf("the description of %s by its server: %w", sy.name, err)
	}
	service, ok := d.(protoreflect.ServiceDescriptor)
	if !ok {
		return form{}, fmt.Errorf("%s is no service", sy.name)
	}
	_, method, _ := cutLast(strings.ReplaceAll(x.endpoint, "/", "."))
	var names []string
	for i := range service.Methods().Len() {
		m := service.Methods().Get(i)
		names = append(names, string(m.Name()))
		if strings.EqualFold(string(m.Name()), method) {
			x.endpoint = "/" + string(sy.name) + "/" + string(m.Name())
			return form{m.Input(), m.Output()}, nil
		}
	}
	return form{}, missing(fmt.Sprintf("%s has no endpoint %q", sy.name, x.endpoint), method, names, "")
}
