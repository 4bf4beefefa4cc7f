package plain_test

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/seed-9a4e2794/micro/codec/plain"
)

type page[T any] struct {
	Items []T    `json:"items"`
	Next  string `json:"next"`
}

type order struct {
	ID       string                  `json:"id"`
	UserID   *int                    // no tag
	Lines    []line                  `json:"order_lines"`
	Gift     *line                   `json:"gift,omitempty"`
	Labels   map[string]line         `json:"labels"`
	At       time.Time               `json:"at"`
	Took     time.Duration           `json:"took"`
	Note     *wrapperspb.StringValue `json:"note"`
	Größe    float64
	Address  struct{ Street string } `json:"address"`
	Previous *order                  `json:"previous"`
	Page     page[line]              `json:"page"`
}

type line struct {
	SKU   string `json:"sku"`
	Count int    `json:"count"`
}

// names returns "number name json" of the fields of a message.
func names(m *descriptorpb.DescriptorProto) []string {
	var out []string
	for _, f := range m.Field {
		out = append(out, f.GetName()+" "+f.GetJsonName())
	}
	return out
}

func describe(t *testing.T, file *descriptorpb.FileDescriptorProto, v any) string {
	t.Helper()
	s, err := plain.Of(reflect.TypeOf(v))
	if err != nil {
		t.Fatal(err)
	}
	name, err := s.Describe(file)
	if err != nil {
		t.Fatal(err)
	}
	if file.Name == nil {
		file.Name = proto.String("file.proto")
	}
	if _, err := protodesc.NewFile(file, protoregistry.GlobalFiles); err != nil {
		t.Fatalf("%T: the file is not valid: %v", v, err)
	}
	return name
}

func messageNames(file *descriptorpb.FileDescriptorProto) string {
	var out []string
	for _, m := range file.MessageType {
		out = append(out, m.GetName())
	}
	return strings.Join(out, " ")
}

func TestDescriptionsHoldEachMessageOnceWithItsImports(t *testing.T) {
	file := &descriptorpb.FileDescriptorProto{Package: proto.String("shop.v1")}
	if name := describe(t, file, order{}); name != ".shop.v1.order" {
		t.Errorf("the name is %q", name)
	}
	if got, want := messageNames(file), "order line order_Address page_line"; got != want {
		t.Errorf("messages %q, want %q", got, want)
	}
	want := []string{"id id", "user_id UserID", "order_lines order_lines", "gift gift", "labels labels", "at at", "took took", "note note",
		"gre Größe", "address address", "previous previous", "page page"}
	if got := names(file.MessageType[0]); !slices.Equal(got, want) {
		t.Errorf("fields %q, want %q", got, want)
	}
	imports := []string{"google/protobuf/timestamp.proto", "google/protobuf/duration.proto", "google/protobuf/wrappers.proto"}
	if !slices.Equal(file.Dependency, imports) {
		t.Errorf("imports %q, want %q", file.Dependency, imports)
	}
	// More schemas into the same file: what is there is used.
	before := proto.Clone(file).(*descriptorpb.FileDescriptorProto)
	for v, want := range map[any]string{line{}: ".shop.v1.line", &order{}: ".shop.v1.order"} {
		if name := describe(t, file, v); name != want {
			t.Errorf("%T is %q, want %q", v, name, want)
		}
	}
	if !proto.Equal(before, file) {
		t.Errorf("the file has grown to %q", messageNames(file))
	}
}

func TestNamesThatAreTakenGetANumber(t *testing.T) {
	file := &descriptorpb.FileDescriptorProto{
		Service: []*descriptorpb.ServiceDescriptorProto{{Name: proto.String("order")}},
	}
	var other any
	{
		type line struct{ Other *line }
		other = line{}
	}
	for _, tt := range []struct {
		v    any
		want string
	}{
		{line{}, ".line"}, {other, ".line_2"}, {order{}, ".order_2"}, {other, ".line_2"}, {line{}, ".line"},
		{struct{ A int }{}, ".Message"}, {struct{ B int }{}, ".Message_2"}, {struct{ A int }{}, ".Message"},
		{page[page[line]]{}, ".page_page_line"},
	} {
		if name := describe(t, file, tt.v); name != tt.want {
			t.Errorf("%T is %q, want %q", tt.v, name, tt.want)
		}
	}
}

func TestTypesOfOneNameDoNotBecomeOneWhileTheyAreMade(t *testing.T) {
	// The message of the outer type is as empty as that of the inner one when
	// its fields are about to be added.
	type twin struct{}
	type inner = twin
	var outer any
	{
		type twin struct{ Inner inner }
		outer = twin{}
	}
	file := new(descriptorpb.FileDescriptorProto)
	if name := describe(t, file, outer); name != ".twin" || messageNames(file) != "twin twin_2" {
		t.Errorf("the name is %q, messages %q", name, messageNames(file))
	}
}

func TestFieldNamesAreWhatProtobufAllows(t *testing.T) {
	type odd struct {
		A int            `json:"some-name"`
		B int            `json:"some_name2"`
		C int            `json:"someName2"`
		D int            `json:"SOMENAME2"`
		E map[string]int `json:"x"`
		F int            `json:"XEntry"`
		G *int           `json:"y"`
		H int            `json:"_y"`
		I int            `json:"_"`
		Ä int
		J int            `json:"1st"`
		K int            `json:"a b"`
		L map[string]int `json:"_some__map_"`
		M int            `json:"ZEntry"`
		N map[string]int `json:"z"`
	}
	type generated struct {
		UserName string `protobuf:"bytes,3,opt,name=user_name,json=userName,proto3" json:"userName"`
		HTTPCode int32  `protobuf:"varint,7,opt,name=http_code,proto3" json:"http_code"`
	}
	file := new(descriptorpb.FileDescriptorProto)
	describe(t, file, odd{})
	want := []string{"a some-name", "some_name2 some_name2", "someName2_2 someName2", "SOMENAME2_3 SOMENAME2", "x x", "XEntry_2 XEntry",
		"y y", "_y_2 _y", "field_9 _", "field_10 Ä", "j 1st", "k a b", "_some__map_ _some__map_", "ZEntry ZEntry", "z_2 z"}
	if got := names(file.MessageType[0]); !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
	describe(t, file, generated{})
	if got, want := names(file.MessageType[1]), []string{"user_name userName", "http_code http_code"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestOnlyProto3FilesAreDescribedInto(t *testing.T) {
	s, err := plain.Of(reflect.TypeFor[line]())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Describe(nil); err == nil {
		t.Error("a nil file was taken")
	}
	if _, err := s.Describe(&descriptorpb.FileDescriptorProto{Syntax: proto.String("editions")}); err == nil {
		t.Error("another syntax was taken")
	}
	file := new(descriptorpb.FileDescriptorProto)
	if _, err := s.Describe(file); err != nil || file.GetSyntax() != "proto3" {
		t.Errorf("syntax %q, %v", file.GetSyntax(), err)
	}
}

func TestProtojsonAndEncodingJSONReadOneAnother(t *testing.T) {
	// All but Duration, a number of nanoseconds to encoding/json, and 64-bit
	// numbers, which protojson writes as strings and reads as either.
	type msg struct {
		Name     string          `json:"name"`
		UserID   int32           `json:"user-id"`
		Plain    float64         // no tag
		Größe    []int16         `json:",omitempty"`
		Data     []byte          `json:"data"`
		At       time.Time       `json:"at"`
		Lines    map[string]bool `json:"order_lines"`
		Optional *uint32         `json:"optional"`
		Inner    *msg            `json:"inner,omitempty"`
	}
	n := uint32(0)
	in := msg{"Ada", 7, 1.5, []int16{1, -2}, []byte{1, 255}, time.Unix(1e9, 5e8).UTC(), map[string]bool{"a": true}, &n, &msg{Name: "x", At: time.Unix(0, 0).UTC()}}
	md := described(t, reflect.TypeOf(in))
	b, err := plain.Codec{}.Append(nil, in)
	if err != nil {
		t.Fatal(err)
	}
	m := dynamicpb.NewMessage(md)
	if err := proto.Unmarshal(b, m); err != nil {
		t.Fatal(err)
	}
	text, err := protojson.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	var out msg
	if err := json.Unmarshal(text, &out); err != nil || !reflect.DeepEqual(in, out) {
		t.Errorf("encoding/json reads %s as %+v, %v", text, out, err)
	}
	if text, err = json.Marshal(in); err != nil {
		t.Fatal(err)
	}
	m2 := dynamicpb.NewMessage(md)
	if err := protojson.Unmarshal(text, m2); err != nil || !proto.Equal(m, m2) {
		t.Errorf("protojson reads %s as %v, %v", text, m2, err)
	}
}

// What follows has every rule of embedding in it.
type (
	base struct {
		ID    int `json:"id"`
		Twice int
		Deep  string
		deep2
	}
	deep2   struct{ Deep, Deeper string }
	Side    struct{ Twice, Aside int }
	Loop    struct{ *Loop }
	Word    string
	wordy   string
	outside struct {
		base
		*Side
		Loop
		Word
		wordy
		Named   Side `json:"named"`
		Deeper  int
		hidden  int
		Skipped int `json:"-"`
		//lint:ignore SA5008 encoding/json takes it as the name "-"
		Dash int `json:"-,"`
		//lint:ignore SA5008 encoding/json does not take it
		Bad   int `json:"a\\b"`
		Lose1 int
		Lose2 int `json:"Lose1"`
		Win1  int `json:"Win2"`
		Win2  int
		Inner `json:"inner"`
	}
	Inner struct{ Aside int }
)

func TestFieldsAreThoseOfEncodingJSON(t *testing.T) {
	in := outside{Side: &Side{1, 2}, Word: "w", Inner: Inner{3}, wordy: "x", hidden: 1, Deeper: 9, Win1: 5, Win2: 6, Lose1: 7, Lose2: 8}
	in.ID, in.Deep = 7, "deep"
	for _, v := range []any{&in, new(outside), new(order), new(base), new(struct {
		Side
		*Base2
	})} {
		text, err := json.Marshal(v)
		var want map[string]json.RawMessage
		if err == nil {
			err = json.Unmarshal(text, &want)
		}
		if err != nil {
			t.Fatal(err)
		}
		md := described(t, reflect.TypeOf(v).Elem())
		for name := range want {
			if md.Fields().ByJSONName(name) == nil {
				t.Errorf("%T: there is no field %q", v, name)
			}
		}
		if v == any(&in) && md.Fields().Len() != len(want) {
			t.Errorf("%T: %d fields, %d in JSON: %v", v, md.Fields().Len(), len(want), md.Fields())
		}
	}
	b, err := plain.Codec{}.Append(nil, &in)
	if err != nil {
		t.Fatal(err)
	}
	var out outside
	if err := (plain.Codec{}).Unmarshal(b, &out); err != nil {
		t.Fatal(err)
	}
	a, err1 := json.Marshal(in)
	c, err2 := json.Marshal(out)
	if err1 != nil || err2 != nil || string(a) != string(c) {
		t.Errorf("came back as\n%s, want\n%s (%v, %v)", c, a, err1, err2)
	}
}

// Base2 is embedded by pointer.
type Base2 struct{ Twice, Far int }

func TestEmbeddedPointersAreMadeWhenTheirFieldsAreThere(t *testing.T) {
	type msg struct {
		*Side
		*Base2
		Own int
	}
	var out msg
	b, err := plain.Codec{}.Append(nil, msg{Side: &Side{Aside: 5}})
	if err == nil {
		err = plain.Codec{}.Unmarshal(b, &out)
	}
	if err != nil || out.Side == nil || out.Aside != 5 || out.Base2 != nil {
		t.Errorf("got %+v, %v", out, err)
	}
}
