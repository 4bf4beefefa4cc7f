package plain_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/seed-9a4e2794/micro/codec/plain"
)

// These mirror descriptorpb's messages, so that plain structs and generated
// code write the same bytes.
type (
	fileMirror struct {
		Name       *string          `protobuf:"1" json:"name"`
		Package    *string          `protobuf:"2" json:"package"`
		Dependency []string         `protobuf:"3" json:"dependency"`
		Message    []*messageMirror `protobuf:"4" json:"messageType"`
		Syntax     *string          `protobuf:"12" json:"syntax"`
	}
	messageMirror struct {
		Name  *string        `protobuf:"1" json:"name"`
		Field []*fieldMirror `protobuf:"2" json:"field"`
	}
	fieldMirror struct {
		Name     *string `protobuf:"1" json:"name"`
		Number   *int32  `protobuf:"3" json:"number"`
		Label    *int32  `protobuf:"4" json:"label"`
		Type     *int32  `protobuf:"5" json:"type"`
		TypeName *string `protobuf:"6" json:"typeName"`
		JSONName *string `protobuf:"10" json:"jsonName"`
		Optional *bool   `protobuf:"17" json:"proto3Optional"`
	}
	// hello is what most calls carry.
	hello struct {
		Name string `protobuf:"1" json:"value"`
	}
	// mixed is a request as people write them.
	mixed struct {
		ID      string            `json:"id"`
		User    int64             `json:"user"`
		Ok      bool              `json:"ok"`
		Price   float64           `json:"price"`
		Tags    []string          `json:"tags"`
		Counts  []int             `json:"counts"`
		Lines   []line            `json:"lines"`
		Address address           `json:"address"`
		Labels  map[string]string `json:"labels"`
		At      time.Time         `json:"at"`
	}
	address struct {
		Street, City, Zip string
	}
)

func newMixed() *mixed {
	return &mixed{
		ID: "0192f0c2-7d0a-7d3e-8c55-1f0e3c1b2a90", User: 123456, Ok: true, Price: 19.99, Tags: []string{"new", "gift", "express"},
		Counts: []int{1, 2, 3, 500, 70000}, Lines: []line{{"A-1", 1}, {"B-22", 2}, {"C-333", 300}}, Address: address{"Main Street 1", "Springfield", "01234"},
		Labels: map[string]string{"zone": "a", "tier": "gold"}, At: time.Unix(1.7e9, 5).UTC(),
	}
}

func newFile(t testing.TB) (*descriptorpb.FileDescriptorProto, *fileMirror, []byte) {
	t.Helper()
	s, err := plain.Of(reflect.TypeFor[every]())
	if err != nil {
		t.Fatal(err)
	}
	file := &descriptorpb.FileDescriptorProto{Name: proto.String("a.proto"), Package: proto.String("a.b")}
	if _, err := s.Describe(file); err != nil {
		t.Fatal(err)
	}
	for _, m := range file.MessageType {
		m.NestedType, m.OneofDecl = nil, nil
		for _, f := range m.Field {
			f.OneofIndex = nil
		}
	}
	b, err := proto.Marshal(file)
	if err != nil {
		t.Fatal(err)
	}
	mirror := new(fileMirror)
	if err := (plain.Codec{}).Unmarshal(b, mirror); err != nil {
		t.Fatal(err)
	}
	return file, mirror, b
}

func TestPlainStructsWriteTheBytesOfGeneratedCode(t *testing.T) {
	file, mirror, b := newFile(t)
	got, err := plain.Codec{}.Append(nil, mirror)
	if err != nil || string(got) != string(b) {
		t.Errorf("%d bytes of the plain struct, %v, differ from %d of the generated one", len(got), err, len(b))
	}
	if out := new(descriptorpb.FileDescriptorProto); proto.Unmarshal(got, out) != nil || !proto.Equal(out, file) {
		t.Errorf("generated code reads it as %v", out)
	}
	if len(file.MessageType) < 3 || len(file.MessageType[0].Field) < 20 || len(b) < 500 {
		t.Errorf("%d messages of %d bytes say little", len(file.MessageType), len(b))
	}
}

func encode(t testing.TB, dst []byte, v any) []byte {
	b, err := plain.Codec{}.Append(dst, v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func decode(t testing.TB, data []byte, v any) {
	if err := (plain.Codec{}).Unmarshal(data, v); err != nil {
		t.Fatal(err)
	}
}

func BenchmarkEncode(b *testing.B) {
	file, mirror, _ := newFile(b)
	buf := make([]byte, 0, 1<<16)
	run := func(name string, size int, f func() error) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(size))
			for b.Loop() {
				if err := f(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	for _, v := range []struct {
		name      string
		plain     any
		generated proto.Message
	}{{"hello", &hello{"Ada Lovelace"}, wrapperspb.String("Ada Lovelace")}, {"mixed", newMixed(), nil}, {"file", mirror, file}} {
		size := len(encode(b, nil, v.plain))
		run(v.name+"/plain", size, func() error { _, err := plain.NewCodec().Append(buf, v.plain); return err })
		run(v.name+"/json", size, func() error { _, err := json.Marshal(v.plain); return err })
		if v.generated != nil {
			run(v.name+"/generated", size, func() error { _, err := proto.MarshalOptions{}.MarshalAppend(buf, v.generated); return err })
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	file, mirror, _ := newFile(b)
	for _, v := range []struct {
		name      string
		plain     any
		generated proto.Message
	}{{"hello", &hello{"Ada Lovelace"}, wrapperspb.String("Ada Lovelace")}, {"mixed", newMixed(), nil}, {"file", mirror, file}} {
		data := encode(b, nil, v.plain)
		text, err := json.Marshal(v.plain)
		if err != nil {
			b.Fatal(err)
		}
		out := reflect.New(reflect.TypeOf(v.plain).Elem()).Interface()
		for _, c := range []struct {
			name string
			f    func() error
		}{
			{"plain", func() error { return plain.NewCodec().Unmarshal(data, out) }},
			{"json", func() error { // which does not reset
				reflect.ValueOf(out).Elem().SetZero()
				return json.Unmarshal(text, out)
			}},
			{"generated", func() error { return proto.Unmarshal(data, v.generated) }},
		} {
			if v.generated == nil && c.name == "generated" {
				continue
			}
			b.Run(fmt.Sprint(v.name, "/", c.name), func(b *testing.B) {
				b.ReportAllocs()
				b.SetBytes(int64(len(data)))
				for b.Loop() {
					if err := c.f(); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// What it costs to make room for lengths, at its worst: each message is moved
// once for every one that it stands in.
func BenchmarkEncodeChain(b *testing.B) {
	var top *node
	for range plain.MaxDepth {
		top = &node{Name: strings.Repeat("x", 100), Next: top}
	}
	buf := make([]byte, 0, 1<<16)
	b.ReportAllocs()
	for b.Loop() {
		encode(b, buf, top)
	}
}
