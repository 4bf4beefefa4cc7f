package plain_test

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/dynamicpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/seed-9a4e2794/micro/codec"
	"github.com/seed-9a4e2794/micro/codec/plain"
)

type (
	color  int32
	label  string
	blob   []byte
	octet  uint8
	octets []octet
	score  float32
	flag   bool

	point struct{ X, Y int }
	// node reaches itself in every way there is.
	node struct {
		Name  string           `protobuf:"1"`
		Next  *node            `protobuf:"2"`
		Kids  []node           `protobuf:"3"`
		Ptrs  []*node          `protobuf:"4"`
		Named map[string]*node `protobuf:"5"`
	}
)

func TestEachKindIsWrittenAsProtobufHasIt(t *testing.T) {
	seven, none, no, empty := 7, 0, false, ""
	at := time.Date(2026, 2, 3, 4, 5, 6, 7, time.FixedZone("east", 3600))
	for _, tt := range []struct {
		in   any
		want string
	}{
		{struct{}{}, ""},
		{struct{ A bool }{true}, "\x08\x01"},
		{struct{ A bool }{}, ""},
		{struct{ A int8 }{-1}, "\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"},
		{struct{ A int16 }{300}, "\x08\xac\x02"},
		{struct{ A int32 }{math.MaxInt32}, "\x08\xff\xff\xff\xff\x07"},
		{struct{ A int64 }{math.MinInt64}, "\x08\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01"},
		{struct{ A int }{150}, "\x08\x96\x01"},
		{struct{ A uint8 }{255}, "\x08\xff\x01"},
		{struct{ A uint16 }{1}, "\x08\x01"},
		{struct{ A uint32 }{math.MaxUint32}, "\x08\xff\xff\xff\xff\x0f"},
		{struct{ A uint64 }{math.MaxUint64}, "\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"},
		{struct{ A uint }{1}, "\x08\x01"},
		{struct{ A float32 }{1}, "\x0d\x00\x00\x80\x3f"},
		{struct{ A float64 }{1}, "\x09\x00\x00\x00\x00\x00\x00\xf0\x3f"},
		{struct{ A float64 }{math.Copysign(0, -1)}, "\x09\x00\x00\x00\x00\x00\x00\x00\x80"},
		{struct{ A string }{"hej"}, "\x0a\x03hej"},
		{struct{ A []byte }{[]byte{0, 255}}, "\x0a\x02\x00\xff"},
		{struct{ A color }{2}, "\x08\x02"},
		{struct{ A label }{"a"}, "\x0a\x01a"},
		{struct{ A blob }{blob("ab")}, "\x0a\x02ab"},
		{struct{ A octets }{octets{1, 2}}, "\x0a\x02\x01\x02"},
		{struct{ A score }{1}, "\x0d\x00\x00\x80\x3f"},
		{struct{ A flag }{true}, "\x08\x01"},
		{struct{ A point }{point{1, 2}}, "\x0a\x04\x08\x01\x10\x02"},
		{struct{ A point }{}, ""},
		{struct{ A *point }{&point{}}, "\x0a\x00"},
		{struct{ A *point }{}, ""},
		{struct{ A *int }{&seven}, "\x08\x07"},
		{struct{ A *int }{&none}, "\x08\x00"},
		{struct{ A *bool }{&no}, "\x08\x00"},
		{struct{ A *string }{&empty}, "\x0a\x00"},
		{struct{ A []int }{[]int{1, 0, 150}}, "\x0a\x04\x01\x00\x96\x01"},
		{struct{ A []color }{[]color{-1}}, "\x0a\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"},
		{struct{ A []bool }{[]bool{true, false}}, "\x0a\x02\x01\x00"},
		{struct{ A []float32 }{[]float32{1}}, "\x0a\x04\x00\x00\x80\x3f"},
		{struct{ A []float64 }{[]float64{1}}, "\x0a\x08\x00\x00\x00\x00\x00\x00\xf0\x3f"},
		{struct{ A []string }{[]string{"a", ""}}, "\x0a\x01a\x0a\x00"},
		{struct{ A []label }{[]label{"a"}}, "\x0a\x01a"},
		{struct{ A [][]byte }{[][]byte{{1}, nil}}, "\x0a\x01\x01\x0a\x00"},
		{struct{ A []blob }{[]blob{{1}}}, "\x0a\x01\x01"},
		{struct{ A []octets }{[]octets{{1}}}, "\x0a\x01\x01"},
		{struct{ A []point }{[]point{{1, 0}, {}}}, "\x0a\x02\x08\x01\x0a\x00"},
		{struct{ A []*point }{[]*point{{0, 1}, {}}}, "\x0a\x02\x10\x01\x0a\x00"},
		{struct{ A []struct{} }{make([]struct{}, 2)}, "\x0a\x00\x0a\x00"},
		{struct{ A map[string]int }{map[string]int{"a": 1}}, "\x0a\x05\x0a\x01a\x10\x01"},
		{struct{ A map[bool]string }{map[bool]string{false: "x"}}, "\x0a\x05\x08\x00\x12\x01x"},
		{struct{ A map[color]point }{map[color]point{1: {1, 0}}}, "\x0a\x06\x08\x01\x12\x02\x08\x01"},
		{struct{ A map[label]*point }{map[label]*point{"": {}}}, "\x0a\x04\x0a\x00\x12\x00"},
		{struct{ A time.Time }{at}, "\x0a\x08\x08\xe2\xcb\x85\xcc\x06\x10\x07"},
		{struct{ A time.Time }{}, ""},
		{struct{ A time.Time }{time.Unix(0, 0)}, "\x0a\x00"},
		{struct{ A *time.Time }{new(time.Time)}, "\x0a\x0b\x08\x80\x92\xb8\xc3\x98\xfe\xff\xff\xff\x01"},
		{struct{ A []time.Time }{[]time.Time{time.Unix(1, 0)}}, "\x0a\x02\x08\x01"},
		{struct{ A time.Duration }{1500 * time.Millisecond}, "\x0a\x08\x08\x01\x10\x80\xca\xb5\xee\x01"},
		{struct{ A time.Duration }{-1}, "\x0a\x0b\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"},
		{struct{ A *time.Duration }{new(time.Duration)}, "\x0a\x00"},
		{struct{ A map[string]time.Duration }{map[string]time.Duration{"": 0}}, "\x0a\x04\x0a\x00\x12\x00"},
		{struct{ A *wrapperspb.StringValue }{wrapperspb.String("a")}, "\x0a\x03\x0a\x01a"},
		{struct{ A []*wrapperspb.BoolValue }{[]*wrapperspb.BoolValue{wrapperspb.Bool(true)}}, "\x0a\x02\x08\x01"},
		{struct {
			A int `protobuf:"15"`
			B int `protobuf:"16"`
			C int `protobuf:"536870911"`
		}{1, 2, 3}, "\x78\x01\x80\x01\x02\xf8\xff\xff\xff\x0f\x03"},
		{struct {
			B string `protobuf:"bytes,2,opt,name=b,proto3"`
			A []int  `protobuf:"varint,1,rep,packed,name=a,proto3"`
		}{"b", []int{1}}, "\x0a\x01\x01\x12\x01b"},
	} {
		t.Run(fmt.Sprintf("%+v", tt.in), func(t *testing.T) {
			c := plain.NewCodec()
			in := reflect.New(reflect.TypeOf(tt.in))
			in.Elem().Set(reflect.ValueOf(tt.in))
			for _, v := range []any{tt.in, in.Interface()} {
				b, err := c.Append([]byte("prefix"), v)
				if err != nil || string(b) != "prefix"+tt.want {
					t.Fatalf("%T encoded as %q, %v, want %q behind the prefix", v, b, err, tt.want)
				}
			}
			out := reflect.New(in.Type().Elem())
			if err := c.Unmarshal([]byte(tt.want), out.Interface()); err != nil {
				t.Fatal(err)
			}
			again, err := c.Append(nil, out.Interface())
			if err != nil || string(again) != tt.want {
				t.Errorf("came back as %+v, which encodes as %q, %v", out.Elem(), again, err)
			}
		})
	}
}

func TestStructsOfOnePointerAreTakenByValueToo(t *testing.T) {
	// An interface holds such a struct itself and not its address.
	n := 7
	b, err := plain.Codec{}.Append(nil, struct{ A *int }{&n})
	if err != nil || string(b) != "\x08\x07" {
		t.Errorf("a pointer: %q, %v", b, err)
	}
	b, err = plain.Codec{}.Append(nil, struct{ M map[string]int }{map[string]int{"": 1}})
	if err != nil || string(b) != "\x0a\x04\x0a\x00\x10\x01" {
		t.Errorf("a map: %q, %v", b, err)
	}
}

// old is a message as github.com/golang/protobuf v1 generated it.
type old struct {
	Name   string           `protobuf:"bytes,1,opt,name=name,proto3" json:"name,omitempty"`
	Year   int32            `protobuf:"varint,2,opt,name=year,proto3" json:"year,omitempty"`
	Friend *old             `protobuf:"bytes,3,opt,name=friend,proto3" json:"friend,omitempty"`
	Scores map[string]int64 `protobuf:"bytes,4,rep,name=scores,proto3" protobuf_key:"bytes,1,opt,name=key,proto3" protobuf_val:"varint,2,opt,name=value,proto3"`
	Ratios []float64        `protobuf:"fixed64,5,rep,packed,name=ratios,proto3"`
	Old    bool             `protobuf:"varint,6,opt,name=old,proto3"`

	XXX_unrecognized []byte `json:"-"`
}

func (m *old) Reset()         { *m = old{} }
func (m *old) String() string { return m.Name }
func (*old) ProtoMessage()    {}

func TestOldGeneratedMessagesArePlainStructsToo(t *testing.T) {
	in := &old{Name: "Ada", Year: -1815, Friend: &old{Name: "Charles", Old: true}, Scores: map[string]int64{"wit": 10}, Ratios: []float64{0, 1.5}}
	b, err := plain.Codec{}.Append(nil, in)
	if err != nil {
		t.Fatal(err)
	}
	want, err := proto.Marshal(protoadapt.MessageV2Of(in))
	if err != nil || string(b) != string(want) {
		t.Errorf("encoded as %q and by protobuf as %q, %v", b, want, err)
	}
	var out old
	if err := (plain.Codec{}).Unmarshal(want, &out); err != nil || !reflect.DeepEqual(&out, in) {
		t.Errorf("came back as %+v, %v", out, err)
	}
	s, err := plain.Of(reflect.TypeFor[old]())
	if err != nil || !s.Tagged() {
		t.Errorf("%v, or not tagged", err)
	}
}

func TestExtremesOfTimeAndDurationComeBack(t *testing.T) {
	type msg struct {
		T []time.Time
		D []time.Duration
	}
	in := msg{
		T: []time.Time{{}, time.Unix(0, 0).UTC(), time.Unix(-1, 1).UTC(), time.Date(9999, 12, 31, 23, 59, 59, 999999999, time.UTC)},
		D: []time.Duration{math.MinInt64, math.MinInt64 + 1, -1, 0, 1, math.MaxInt64},
	}
	b, err := plain.Codec{}.Append(nil, in)
	if err != nil {
		t.Fatal(err)
	}
	var out msg
	if err := (plain.Codec{}).Unmarshal(b, &out); err != nil || !reflect.DeepEqual(in, out) {
		t.Errorf("came back as %v, %v", out, err)
	}
}

func TestValuesWithoutAFormAreErrTypeAndLeaveThePrefix(t *testing.T) {
	ring := &node{Name: "ring"}
	ring.Next = ring
	wide := &node{}
	wide.Named = map[string]*node{"self": wide}
	for _, tt := range []struct {
		in   any
		want string
	}{
		{node{Kids: []node{{Name: "\xff"}}}, "Kids: element 0: Name: the string is not valid UTF-8"},
		{struct{ A []string }{[]string{"a", "\xff"}}, "A: element 1: the string is not valid UTF-8"},
		{struct{ A map[string]int }{map[string]int{"\xff": 1}}, "A: a key: the string is not valid UTF-8"},
		{struct{ A *wrapperspb.StringValue }{wrapperspb.String("\xff")}, "A: "},
		{node{Ptrs: []*node{{}, nil}}, "Ptrs: element 1: nil"},
		{node{Named: map[string]*node{"a": nil}}, "Named: the value of a: nil"},
		{struct{ A []*wrapperspb.BoolValue }{make([]*wrapperspb.BoolValue, 1)}, "A: element 0: nil"},
		{struct{ A time.Time }{time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)}, "A: the time is in the year 10000"},
		{struct{ A time.Time }{time.Date(0, 12, 31, 0, 0, 0, 0, time.UTC)}, "A: the time is in the year 0"},
		{ring, "more than 100 deep"},
		{wide, "more than 100 deep"},
	} {
		for _, room := range []int{0, 4096} {
			dst := append(make([]byte, 0, len("prefix")+room), "prefix"...)
			b, err := plain.Codec{}.Append(dst, tt.in)
			if !errors.Is(err, codec.ErrType) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%T: %v, want codec.ErrType and %q", tt.in, err, tt.want)
			}
			if string(b) != "prefix" || string(dst) != "prefix" {
				t.Errorf("%T: got %q, %q, want the prefix alone", tt.in, b, dst)
			}
		}
	}
}

func TestMessagesAreReadAsDeepAsTheyAreWritten(t *testing.T) {
	chain := func(n int) *node {
		var top *node
		for range n {
			top = &node{Name: "n", Next: top}
		}
		return top
	}
	b, err := plain.Codec{}.Append(nil, chain(plain.MaxDepth))
	if err != nil {
		t.Fatal(err)
	}
	var out node
	if err := (plain.Codec{}).Unmarshal(b, &out); err != nil || !reflect.DeepEqual(&out, chain(plain.MaxDepth)) {
		t.Errorf("%v, or another value", err)
	}
	if _, err := (plain.Codec{}).Append(nil, chain(plain.MaxDepth+1)); !errors.Is(err, codec.ErrType) {
		t.Errorf("one more was written: %v", err)
	}
	deeper := append(protowire.AppendVarint([]byte{2<<3 | 2}, uint64(len(b))), b...)
	if err := (plain.Codec{}).Unmarshal(deeper, &out); err == nil || errors.Is(err, codec.ErrType) {
		t.Errorf("one more was read: %v", err)
	}
}

func TestValuesThatAreNoStructsAreErrType(t *testing.T) {
	var nothing *point
	n := 1
	for _, v := range []any{nil, 1, "a", &n, []point{}, map[string]int{}, &nothing, wrapperspb.Bool(true), dynamicpb.NewMessage(wrapperspb.Bool(true).ProtoReflect().Descriptor())} {
		if b, err := (plain.Codec{}).Append([]byte("p"), v); !errors.Is(err, codec.ErrType) || string(b) != "p" {
			t.Errorf("Append(%T) = %q, %v", v, b, err)
		}
		if err := (plain.Codec{}).Unmarshal(nil, v); !errors.Is(err, codec.ErrType) {
			t.Errorf("Unmarshal into %T: %v", v, err)
		}
	}
	if b, err := (plain.Codec{}).Append(nil, nothing); err != nil || len(b) != 0 {
		t.Errorf("a nil pointer is written as %q, %v, want nothing", b, err)
	}
	for _, v := range []any{nothing, point{}} {
		if err := (plain.Codec{}).Unmarshal(nil, v); !errors.Is(err, codec.ErrType) {
			t.Errorf("Unmarshal into %#v: %v", v, err)
		}
	}
	s, err := plain.Of(reflect.TypeFor[point]())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Append(nil, node{}); !errors.Is(err, codec.ErrType) {
		t.Errorf("a schema took another type: %v", err)
	}
	if err := s.Unmarshal(nil, new(node)); !errors.Is(err, codec.ErrType) {
		t.Errorf("a schema took another type: %v", err)
	}
}

func TestSchemasAreMadeOnceWhoeverAsks(t *testing.T) {
	type mine struct {
		N *node
		P point
		M *mine
	}
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			in := mine{N: &node{Name: "a"}, M: &mine{P: point{1, 2}}}
			b, err := plain.Codec{}.Append(nil, in)
			var out mine
			if err := errors.Join(err, plain.Codec{}.Unmarshal(b, &out)); err != nil || !reflect.DeepEqual(in, out) {
				t.Errorf("%+v, %v", out, err)
			}
		})
	}
	group.Wait()
	a, err := plain.Of(reflect.TypeFor[mine]())
	b, err2 := plain.Of(reflect.TypeFor[*mine]())
	if a != b || err != nil || err2 != nil {
		t.Errorf("got %p and %p, %v, %v", a, b, err, err2)
	}
}
