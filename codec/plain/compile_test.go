package plain_test

import (
	"encoding/json"
	"errors"
	"net"
	"reflect"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/dynamicpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/seed-9a4e2794/micro/codec"
	"github.com/seed-9a4e2794/micro/codec/plain"
)

func TestFieldsWithoutAFormAreNamedWithTheReason(t *testing.T) {
	type inner struct{ F func() }
	type hidden struct{ A int }
	for _, tt := range []struct {
		v    any
		want string
	}{
		{struct{ A any }{}, "field A of struct { A interface {} }: interface {} has no form"},
		{struct{ A func() }{}, "field A"},
		{struct{ A chan int }{}, "field A"},
		{struct{ A complex128 }{}, "field A"},
		{struct{ A uintptr }{}, "field A"},
		{struct{ A [3]int }{}, "field A"},
		{struct{ A error }{}, "field A"},
		{struct{ A **int }{}, "a pointer to a ptr"},
		{struct{ A *[]int }{}, "a pointer to a slice"},
		{struct{ A *map[string]int }{}, "a pointer to a map"},
		{struct{ A *any }{}, "interface {} has no form"},
		{struct{ A [][]int }{}, "[]int has no form"},
		{struct{ A []*int }{}, "pointers to int"},
		{struct{ A []map[string]int }{}, "map[string]int has no form"},
		{struct{ A map[string][]int }{}, "the value: []int has no form"},
		{struct{ A map[string]*string }{}, "the value: a list or map of pointers to string"},
		{struct{ A map[float64]int }{}, "float64 is no key"},
		{struct{ A map[point]int }{}, "plain_test.point is no key"},
		{struct{ A map[time.Time]int }{}, "time.Time is no key"},
		{struct{ A json.RawMessage }{}, "json.RawMessage has a form of its own, by MarshalJSON"},
		{struct{ A *json.RawMessage }{}, "a pointer to a slice"},
		{struct{ A net.IP }{}, "net.IP has a form of its own, by MarshalText"},
		{struct{ A []net.IP }{}, "net.IP has a form of its own"},
		{struct{ A map[string]net.IP }{}, "net.IP has a form of its own"},
		{struct{ A wrapperspb.BoolValue }{}, "is a message of generated code"},
		{struct{ A *dynamicpb.Message }{}, "without a descriptor"},
		{struct{ A proto.Message }{}, "no pointer to a struct"},
		{struct{ time.Time }{}, "has a form of its own"},
		{struct{ A inner }{}, "field F of plain_test.inner: func() has no form"},
		{struct{ A map[string]*inner }{}, "field F of plain_test.inner"},
		{struct{ *hidden }{}, "an embedded pointer to an unexported struct"},
		{struct {
			A int `protobuf:"1"`
			B int
		}{}, "field B"},
		{struct {
			A int
			B int `protobuf:"1"`
		}{}, "field A"},
		{struct {
			A int `protobuf:"1"`
			B int `protobuf:"1"`
		}{}, "its number 1 is that of A"},
		{struct {
			A int `protobuf:"0"`
		}{}, "its number 0 is not in 1 to 536870911"},
		{struct {
			A int `protobuf:"-1"`
		}{}, "its number -1 is not"},
		{struct {
			A int `protobuf:"536870912"`
		}{}, "its number 536870912 is not"},
		{struct {
			A int `protobuf:"19500"`
		}{}, "keeps to itself, 19000 to 19999"},
		{struct {
			A int `protobuf:"x"`
		}{}, "has no number"},
		{struct {
			A int `protobuf:""`
		}{}, "has no number"},
		{struct {
			A int `protobuf:"zigzag64,1,opt"`
		}{}, "asks for the wire type zigzag64 and a int is written as varint"},
		{struct {
			A string `protobuf:"varint,1,opt"`
		}{}, "asks for the wire type varint"},
		{struct {
			point `protobuf:"1"`
		}{}, "it is embedded"},
	} {
		s, err := plain.Of(reflect.TypeOf(tt.v))
		if s != nil || !errors.Is(err, codec.ErrType) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%T: %v, want codec.ErrType and %q", tt.v, err, tt.want)
		}
		if _, again := plain.Of(reflect.PointerTo(reflect.TypeOf(tt.v))); again != err {
			t.Errorf("%T: the error was made again: %v", tt.v, again)
		}
	}
}
