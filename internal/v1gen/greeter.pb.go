// Package v1gen holds code in the shape that go-micro v1 programs carry with
// them: messages of the old golang/protobuf, and a client and a handler as
// protoc-gen-micro v1 generated them. It is written by hand, small, and there
// for the tests that show that such code compiles and runs here.
//
//	syntax = "proto3";
//	package greeter;
//	service Greeter {
//		rpc Hello(Request) returns (Response) {}
//		rpc Countdown(Request) returns (stream Response) {}
//		rpc Collect(stream Request) returns (Response) {}
//		rpc Chat(stream Request) returns (stream Response) {}
//	}
//	message Request  { string name = 1; int64 count = 2; bool last = 3; }
//	message Response { string message = 1; repeated string names = 2; }
package v1gen

import (
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/protoadapt"
)

type Request struct {
	Name  string `protobuf:"bytes,1,opt,name=name,proto3" json:"name,omitempty"`
	Count int64  `protobuf:"varint,2,opt,name=count,proto3" json:"count,omitempty"`
	Last  bool   `protobuf:"varint,3,opt,name=last,proto3" json:"last,omitempty"`
}

func (m *Request) Reset()         { *m = Request{} }
func (m *Request) String() string { return prototext.Format(protoadapt.MessageV2Of(m)) }
func (*Request) ProtoMessage()    {}

func (m *Request) GetName() string {
	if m != nil {
		return m.Name
	}
	return ""
}

func (m *Request) GetCount() int64 {
	if m != nil {
		return m.Count
	}
	return 0
}

func (m *Request) GetLast() bool {
	if m != nil {
		return m.Last
	}
	return false
}

type Response struct {
	Message string   `protobuf:"bytes,1,opt,name=message,proto3" json:"message,omitempty"`
	Names   []string `protobuf:"bytes,2,rep,name=names,proto3" json:"names,omitempty"`
}

func (m *Response) Reset()         { *m = Response{} }
func (m *Response) String() string { return prototext.Format(protoadapt.MessageV2Of(m)) }
func (*Response) ProtoMessage()    {}

func (m *Response) GetMessage() string {
	if m != nil {
		return m.Message
	}
	return ""
}

func (m *Response) GetNames() []string {
	if m != nil {
		return m.Names
	}
	return nil
}
