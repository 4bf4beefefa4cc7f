package plain_test

import (
	"errors"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/seed-9a4e2794/micro/codec"
	"github.com/seed-9a4e2794/micro/codec/plain"
)

func TestDecodingReplacesWhatTheStructHeld(t *testing.T) {
	n := node{Name: "a", Next: &node{}, Kids: []node{{}}, Named: map[string]*node{"x": nil}}
	if err := (plain.Codec{}).Unmarshal(nil, &n); err != nil || !reflect.DeepEqual(n, node{}) {
		t.Errorf("left behind: %+v, %v", n, err)
	}
}

func TestDecodingKeepsNoReferenceToTheData(t *testing.T) {
	type all struct {
		S string
		B []byte
		L []string
		M map[string]string
	}
	in := all{"string", []byte("bytes"), []string{"list"}, map[string]string{"key": "value"}}
	b, err := plain.Codec{}.Append(nil, in)
	if err != nil {
		t.Fatal(err)
	}
	var out all
	if err := (plain.Codec{}).Unmarshal(b, &out); err != nil {
		t.Fatal(err)
	}
	clear(b)
	if !reflect.DeepEqual(in, out) {
		t.Errorf("the struct changed with the buffer: %+v", out)
	}
}

func TestUnknownFieldsAndForeignWireTypesAreSkipped(t *testing.T) {
	type msg struct {
		A int            `protobuf:"2"`
		M map[string]int `protobuf:"5"`
		L []string       `protobuf:"6"`
	}
	var unknown []byte
	unknown = protowire.AppendVarint(protowire.AppendTag(unknown, 1, protowire.VarintType), 9)
	unknown = protowire.AppendFixed32(protowire.AppendTag(unknown, 90, protowire.Fixed32Type), 9)
	unknown = protowire.AppendFixed64(protowire.AppendTag(unknown, 1000, protowire.Fixed64Type), 9)
	unknown = protowire.AppendBytes(protowire.AppendTag(unknown, 3, protowire.BytesType), []byte("x"))
	unknown = protowire.AppendGroup(protowire.AppendTag(unknown, 4, protowire.StartGroupType), 4, []byte("\x08\x01"))
	unknown = protowire.AppendBytes(protowire.AppendTag(unknown, 2, protowire.BytesType), []byte("no number"))
	unknown = protowire.AppendVarint(protowire.AppendTag(unknown, 5, protowire.VarintType), 1)
	unknown = protowire.AppendVarint(protowire.AppendTag(unknown, 6, protowire.VarintType), 1)
	data := append(append(append([]byte(nil), unknown...), "\x10\x07"...), unknown...)
	var m msg
	if err := (plain.Codec{}).Unmarshal(data, &m); err != nil || !reflect.DeepEqual(m, msg{A: 7}) {
		t.Errorf("got %+v, %v", m, err)
	}
}

func TestRepeatedFieldsAreReadPackedAndUnpackedAndMixed(t *testing.T) {
	type msg struct {
		I []int32
		B []bool
		F []float32
		D []float64
	}
	var m msg
	data := "\x0a\x02\x01\x02\x08\x03\x0a\x01\x04" + "\x10\x01\x12\x02\x00\x01" +
		"\x1d\x00\x00\x80\x3f\x1a\x04\x00\x00\x80\x3f" + "\x21\x00\x00\x00\x00\x00\x00\xf0\x3f\x22\x00"
	err := plain.Codec{}.Unmarshal([]byte(data), &m)
	want := msg{[]int32{1, 2, 3, 4}, []bool{true, false, true}, []float32{1, 1}, []float64{1}}
	if err != nil || !reflect.DeepEqual(m, want) {
		t.Errorf("got %+v, %v, want %+v", m, err, want)
	}
}

func TestRepeatedMessagesAreMergedAndScalarsReplaced(t *testing.T) {
	type msg struct {
		P point
		Q *point
		W *wrapperspb.StringValue
		L *structpb.ListValue
		I int
		M map[string]point
	}
	data := "\x0a\x02\x08\x01\x0a\x02\x10\x02" + "\x12\x02\x08\x03\x12\x02\x10\x04" + "\x1a\x03\x0a\x01a\x1a\x00" +
		"\x22\x04\x0a\x02\x20\x01\x22\x04\x0a\x02\x20\x00" + "\x28\x01\x28\x02" +
		"\x32\x04\x12\x02\x08\x01\x32\x04\x12\x02\x10\x01"
	var m msg
	if err := (plain.Codec{}).Unmarshal([]byte(data), &m); err != nil {
		t.Fatal(err)
	}
	if m.P != (point{1, 2}) || m.Q == nil || *m.Q != (point{3, 4}) || m.W.GetValue() != "a" || len(m.L.GetValues()) != 2 || m.I != 2 {
		t.Errorf("got %+v", m)
	}
	if m.M[""] != (point{0, 1}) {
		t.Errorf("the last entry of a key does not hold: %+v", m.M)
	}
}

func TestWhatAMapEntryLacksIsZero(t *testing.T) {
	type msg struct {
		A map[string]int
		B map[int]*point
		C map[string]time.Time
		D map[string]*wrapperspb.BoolValue
	}
	var m msg
	if err := (plain.Codec{}).Unmarshal([]byte("\x0a\x00\x12\x00\x1a\x00\x22\x00"), &m); err != nil {
		t.Fatal(err)
	}
	want := msg{map[string]int{"": 0}, map[int]*point{0: {}}, map[string]time.Time{"": time.Unix(0, 0).UTC()}, nil}
	if v, ok := m.D[""]; !ok || v == nil || v.Value {
		t.Errorf("the generated message is %v, %t", v, ok)
	}
	if m.D = nil; !reflect.DeepEqual(m, want) {
		t.Errorf("got %+v, want %+v", m, want)
	}
}

func TestNumbersThatDoNotFitAreErrors(t *testing.T) {
	var b []byte
	b = protowire.AppendVarint(append(b, 1<<3), 1<<40)
	for _, v := range []any{
		new(struct{ A int8 }), new(struct{ A int16 }), new(struct{ A int32 }), new(struct{ A uint8 }), new(struct{ A uint16 }), new(struct{ A uint32 }),
		new(struct{ A []int16 }), new(struct{ A *uint16 }), new(struct{ A color }),
	} {
		err := plain.Codec{}.Unmarshal(b, v)
		if err == nil || errors.Is(err, codec.ErrType) || !strings.Contains(err.Error(), "A: the number 1099511627776") {
			t.Errorf("%T: %v", v, err)
		}
	}
	for _, tt := range []struct {
		v    any
		data string
	}{
		{new(struct{ A time.Time }), "\x0a\x07\x08\x80\x83\xd1\xff\xaf\x07"},                                                                 // 253402300800 seconds
		{new(struct{ A time.Time }), "\x0a\x0b\x08\xff\x91\xb8\xc3\x98\xfe\xff\xff\xff\x01"},                                                 // -62135596801 seconds
		{new(struct{ A time.Time }), "\x0a\x0b\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"},                                                 // -1 nanoseconds
		{new(struct{ A time.Time }), "\x0a\x06\x10\x80\x94\xeb\xdc\x03"},                                                                     // 1000000000 nanoseconds
		{new(struct{ A time.Duration }), "\x0a\x06\x08\x85\xfa\x85\xae\x22"},                                                                 // 9223372037 seconds
		{new(struct{ A time.Duration }), "\x0a\x0b\x08\xfb\x85\xfa\xd1\xdd\xff\xff\xff\xff\x01"},                                             // -9223372037 seconds
		{new(struct{ A time.Duration }), "\x0a\x0c\x08\x84\xfa\x85\xae\x22\x10\x80\xb0\xcb\x97\x03"},                                         // 9223372036 seconds, 854775808 nanoseconds
		{new(struct{ A time.Duration }), "\x0a\x16\x08\xfc\x85\xfa\xd1\xdd\xff\xff\xff\xff\x01\x10\xff\xcf\xb4\xe8\xfc\xff\xff\xff\xff\x01"}, // -9223372036 seconds, -854775809 nanoseconds
		{new(struct{ A time.Duration }), "\x0a\x0d\x08\x01\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"},                                     // 1 seconds, -1 nanoseconds
		{new(struct{ A time.Duration }), "\x0a\x0d\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x10\x01"},                                     // -1 seconds, 1 nanoseconds
		{new(struct{ A time.Duration }), "\x0a\x06\x10\x80\x94\xeb\xdc\x03"},                                                                 // 1000000000 nanoseconds
	} {
		if err := (plain.Codec{}).Unmarshal([]byte(tt.data), tt.v); err == nil || !strings.Contains(err.Error(), "A: a ") {
			t.Errorf("%T from %x: %v, %+v", tt.v, tt.data, err, tt.v)
		}
	}
}

func TestBadDataIsAnErrorThatNamesTheField(t *testing.T) {
	type msg struct {
		S string         `json:"s"`
		N node           `json:"n"`
		L []int          `json:"l"`
		M map[string]int `json:"m"`
		F float64        `json:"f"`
		G []float32      `json:"g"`
		H []string       `json:"h"`
	}
	for data, want := range map[string]string{
		"\x0a":        "s: ",
		"\x0a\x05hej": "s: a length of 5 where 3 bytes are left",
		"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01": "s: a length of",
		"\x0a\x01\xff":             "s: the string is not valid UTF-8",
		"\x12\x04\x12\x02\x0a\x01": "n: Next: Name: a length of 1",
		"\x1a\x01\x80":             "l: ",
		"\x18\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01": "l: ",
		"\x22\x03\x0a\x01\xff":                             "m: the string is not valid",
		"\x22\x02\x10\x80":                                 "m: ",
		"\x29\x00":                                         "f: ",
		"\x32\x03abc":                                      "g: ",
		"\x3a\x01\xff":                                     "h: the string is not valid UTF-8",
		"\x00\x00":                                         "number 0",
		"\x42\x05":                                         "field 8, which is not known: ",
		"\x44":                                             "field 8, which is not known: ",
		"\x47":                                             "field 8, which is not known: ",
		"\x80\x80\x80\x80\x80\x80\x01":                     "a field has the number",
		"\x80":                                             "the message was cut",
	} {
		err := plain.Codec{}.Unmarshal([]byte(data), new(msg))
		if err == nil || errors.Is(err, codec.ErrType) || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "plain_test.msg") {
			t.Errorf("%q: %v, want %q and the type", data, err, want)
		}
	}
}

func TestClaimedLengthsCostNothing(t *testing.T) {
	// A few bytes that promise much, in each field.
	for num := byte(1); num < 16; num++ {
		data := []byte{num<<3 | 2, 0xff, 0xff, 0xff, 0xff, 0x07}
		out := new(every)
		const runs = 100
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range runs {
			if (plain.Codec{}).Unmarshal(data, out) == nil {
				t.Fatalf("field %d was taken", num)
			}
		}
		runtime.ReadMemStats(&after)
		if n := (after.TotalAlloc - before.TotalAlloc) / runs; n > 4096 {
			t.Errorf("field %d: %d bytes allocated for %d", num, n, len(data))
		}
	}
}
