package json_test

import (
	"bytes"
	stdjson "encoding/json"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/seed-9a4e2794/micro/codec"
	"github.com/seed-9a4e2794/micro/codec/json"
)

type greeting struct {
	Name  string            `json:"name"`
	Times int               `json:"times,omitempty"`
	Tags  []string          `json:"tags,omitempty"`
	Attrs map[string]string `json:"attrs,omitempty"`
	Next  *greeting         `json:"next,omitempty"`
}

// old is a message as github.com/golang/protobuf v1 generated it.
type old struct {
	Name string `protobuf:"bytes,1,opt,name=name,proto3" json:"name,omitempty"`
	Year int32  `protobuf:"varint,2,opt,name=birth_year,json=birthYear,proto3" json:"birth_year,omitempty"`
}

func (m *old) Reset()         { *m = old{} }
func (m *old) String() string { return m.Name }
func (*old) ProtoMessage()    {}

func TestNameIsTheContentType(t *testing.T) {
	if got := json.NewCodec().Name(); got != codec.JSON {
		t.Errorf("Name() = %q, want %q", got, codec.JSON)
	}
}

func TestGoValuesComeBackAsTheyWere(t *testing.T) {
	c := json.NewCodec()
	text := "hej"
	for _, in := range []any{
		greeting{},
		greeting{Name: "Ada <&> \"\u2028", Times: -3, Tags: []string{"a", ""}, Attrs: map[string]string{"k": "v"}, Next: &greeting{Name: "B"}},
		map[string]int{"a": 1},
		[]byte{0, 255},
		&text,
		42,
		nil,
	} {
		b, err := c.Append(nil, in)
		if err != nil {
			t.Errorf("Append(%v): %v", in, err)
			continue
		}
		if in == nil {
			if string(b) != "null" {
				t.Errorf("nil became %q, want null", b)
			}
			continue
		}
		out := reflect.New(reflect.TypeOf(in))
		if err := c.Unmarshal(b, out.Interface()); err != nil {
			t.Errorf("Unmarshal(%s): %v", b, err)
			continue
		}
		if got := out.Elem().Interface(); !reflect.DeepEqual(got, in) {
			t.Errorf("%v came back as %v", in, got)
		}
	}
}

func TestProtobufMessagesUseTheProtobufJSONMapping(t *testing.T) {
	c := json.NewCodec()
	st, err := structpb.NewStruct(map[string]any{"a": 1.5, "b": []any{"x", nil, true}})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		in   proto.Message
		want string // without blanks, which protojson sets at random
	}{
		{wrapperspb.Int64(1 << 60), `"1152921504606846976"`},
		{wrapperspb.Bytes([]byte{0xfb, 0xff}), `"+/8="`},
		{durationpb.New(1500e6), `"1.500s"`},
		{st, `{"a":1.5,"b":["x",null,true]}`},
		{(*structpb.Struct)(nil), `{}`},
	} {
		b, err := c.Append(nil, tt.in)
		if err != nil {
			t.Errorf("Append(%T): %v", tt.in, err)
			continue
		}
		var compact bytes.Buffer
		if err := stdjson.Compact(&compact, b); err != nil || compact.String() != tt.want {
			t.Errorf("%T became %s (%v), want %s", tt.in, b, err, tt.want)
		}
		out := tt.in.ProtoReflect().New().Interface()
		if err := c.Unmarshal(b, out); err != nil || (tt.in.ProtoReflect().IsValid() && !proto.Equal(out, tt.in)) {
			t.Errorf("%T came back as %v, %v", tt.in, out, err)
		}
	}
}

func TestMessagesOfTheOldProtobufModuleUseTheSameMapping(t *testing.T) {
	c := json.NewCodec()
	b, err := c.Append(nil, &old{Name: "Ada", Year: 1815})
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(b, []byte("birthYear")) {
		t.Errorf("encoded as %s, want protobuf's own field name birthYear", b)
	}
	for _, text := range []string{string(b), `{"name":"Ada","birth_year":1815,"unknown":{}}`} {
		out := &old{Name: "before"}
		if err := c.Unmarshal([]byte(text), out); err != nil || out.Name != "Ada" || out.Year != 1815 {
			t.Errorf("%s came back as %+v, %v", text, *out, err)
		}
	}
}

func TestRawMessagesPassAsTheyAreOnceValid(t *testing.T) {
	c := json.NewCodec()
	raw := stdjson.RawMessage(`{"b": 1,  "a":[2]}`)
	for name, v := range map[string]any{"value": raw, "pointer": &raw} {
		if b, err := c.Append([]byte("x"), v); err != nil || string(b) != "x"+string(raw) {
			t.Errorf("%s: Append = %q, %v, want the text unchanged", name, b, err)
		}
	}
	for name, v := range map[string]any{"nil": stdjson.RawMessage(nil), "nil pointer": (*stdjson.RawMessage)(nil)} {
		if b, err := c.Append(nil, v); err != nil || string(b) != "null" {
			t.Errorf("%s: Append = %q, %v, want null", name, b, err)
		}
	}
	data := bytes.Clone(raw)
	var out stdjson.RawMessage
	if err := c.Unmarshal(data, &out); err != nil || string(out) != string(raw) {
		t.Errorf("Unmarshal = %q, %v, want the text unchanged", out, err)
	}
	clear(data)
	if string(out) != string(raw) {
		t.Error("the raw message refers to the buffer it was read from")
	}
}

func TestInvalidRawMessagesAreAnError(t *testing.T) {
	c := json.NewCodec()
	for _, text := range []string{"", "{", "{}{}", "nope", `{"a":1,}`, "\x00", `"\ud800`} {
		raw := stdjson.RawMessage(text)
		for _, v := range []any{raw, &raw} {
			if b, err := c.Append([]byte("kept"), v); err == nil || string(b) != "kept" {
				t.Errorf("Append(%T %q) = %q, %v, want an error and the prefix", v, text, b, err)
			}
		}
		if text == "" {
			continue // an empty body says nothing: see the test of empty data
		}
		out := stdjson.RawMessage("before")
		if err := c.Unmarshal([]byte(text), &out); err == nil || string(out) != "before" {
			t.Errorf("Unmarshal(%q) = %q, %v, want an error and the message as it was", text, out, err)
		}
	}
}

func TestEmptyDataLeavesTheValueAsItIs(t *testing.T) {
	c := json.NewCodec()
	g, w := greeting{Name: "before"}, wrapperspb.String("before")
	for _, v := range []any{&g, w} {
		if err := c.Unmarshal(nil, v); err != nil {
			t.Errorf("%T: %v", v, err)
		}
	}
	if g.Name != "before" || w.Value != "before" {
		t.Errorf("values are %q and %q", g.Name, w.Value)
	}
}

func TestUnknownFieldsAreIgnored(t *testing.T) {
	c := json.NewCodec()
	text := []byte(`{"name":"Ada","new_field":[1,{"x":2}]}`)
	var g greeting
	if err := c.Unmarshal(text, &g); err != nil || g.Name != "Ada" {
		t.Errorf("plain struct: %+v, %v", g, err)
	}
	var d old
	if err := c.Unmarshal(text, &d); err != nil || d.Name != "Ada" {
		t.Errorf("message: %+v, %v", d, err)
	}
}

func TestAppendKeepsThePrefix(t *testing.T) {
	c := json.NewCodec()
	bad := stdjson.RawMessage("{")
	for _, tt := range []struct {
		name string
		v    any
		ok   bool
	}{
		{"struct", greeting{Name: "Ada"}, true},
		{"message", wrapperspb.String("Ada"), true},
		{"old message", &old{Name: "Ada"}, true},
		{"channel", make(chan int), false},
		{"not a number", math.NaN(), false},
		{"invalid raw message", bad, false},
		{"invalid UTF-8 in a message", wrapperspb.String("a\xff"), false},
		{"invalid UTF-8 in an old message", &old{Name: "a\xff"}, false},
	} {
		dst := append(make([]byte, 0, 256), "prefix"...)
		b, err := c.Append(dst, tt.v)
		if (err == nil) != tt.ok {
			t.Errorf("%s: error %v", tt.name, err)
		}
		if !bytes.HasPrefix(b, []byte("prefix")) || string(dst) != "prefix" {
			t.Errorf("%s: the prefix became %q, dst %q", tt.name, b, dst)
		}
		if !tt.ok && len(b) != len(dst) {
			t.Errorf("%s: %q was left behind after an error", tt.name, b[len(dst):])
		}
	}
}

func TestValuesWithoutAFormAreErrType(t *testing.T) {
	c := json.NewCodec()
	for _, v := range []any{make(chan int), func() {}, math.Inf(1), map[bool]int{true: 1}, struct{ C chan int }{}} {
		if _, err := c.Append(nil, v); !errors.Is(err, codec.ErrType) {
			t.Errorf("Append(%T) returned %v, want codec.ErrType", v, err)
		}
	}
	for _, v := range []any{nil, greeting{}, (*greeting)(nil), (*wrapperspb.StringValue)(nil), (*old)(nil)} {
		if err := c.Unmarshal([]byte(`{}`), v); !errors.Is(err, codec.ErrType) {
			t.Errorf("Unmarshal into %T returned %v, want codec.ErrType", v, err)
		}
	}
}

func TestBadDataIsAnErrorThatNamesTheType(t *testing.T) {
	c := json.NewCodec()
	for _, tt := range []struct {
		text string
		into any
	}{
		{`{"name":1}`, new(greeting)},
		{`{"name":"a"`, new(greeting)},
		{`{"name":1}`, new(old)},
		{`[]`, new(structpb.Struct)},
		{strings.Repeat("[", 100_000), new(any)},
		{strings.Repeat("[", 100_000), new(structpb.Value)},
	} {
		err := c.Unmarshal([]byte(tt.text), tt.into)
		if err == nil || errors.Is(err, codec.ErrType) || !strings.Contains(err.Error(), reflect.TypeOf(tt.into).String()) {
			t.Errorf("%.20q into %T: error %v, want one that names the type and is not codec.ErrType", tt.text, tt.into, err)
		}
	}
}

// What decodes also encodes, and decodes again to the same.
func FuzzUnmarshal(f *testing.F) {
	for _, s := range []string{``, `null`, `{}`, `{"name":"Ada","times":3,"tags":["a"],"attrs":{"k":"v"},"next":{}}`,
		`{"name":"\ud800"}`, `{"a":[1,null,{"b":1e400}]}`, `"1.5s"`, `[[[[`, "{\"name\":\"\xff\"}", `{"birthYear":"7"}`} {
		f.Add([]byte(s))
	}
	c := json.NewCodec()
	f.Fuzz(func(t *testing.T, data []byte) {
		var g, g2 greeting
		if c.Unmarshal(data, &g) == nil {
			again(t, c, &g, &g2)
			// omitempty makes an empty list or map a nil one, so their texts are compared.
			if a, b := text(t, c, &g), text(t, c, &g2); !bytes.Equal(a, b) {
				t.Fatalf("%q decoded to %s, after another trip %s", data, a, b)
			}
		}
		for _, m := range []proto.Message{new(structpb.Value), new(durationpb.Duration), new(wrapperspb.BytesValue)} {
			if len(data) == 0 || c.Unmarshal(data, m) != nil {
				continue
			}
			if v, ok := m.(*structpb.Value); ok && v.Kind == nil {
				continue // has no JSON form
			}
			out := m.ProtoReflect().New().Interface()
			again(t, c, m, out)
			if !proto.Equal(m, out) {
				t.Fatalf("%q decoded to %v, after another trip %v", data, m, out)
			}
		}
		var o, o2 old
		if c.Unmarshal(data, &o) == nil {
			again(t, c, &o, &o2)
			if o != o2 {
				t.Fatalf("%q decoded to %+v, after another trip %+v", data, o, o2)
			}
		}
	})
}

func again(t *testing.T, c codec.Codec, in, out any) {
	t.Helper()
	if err := c.Unmarshal(text(t, c, in), out); err != nil {
		t.Fatalf("%+v was decoded and encoded, and does not decode again: %v", in, err)
	}
}

func text(t *testing.T, c codec.Codec, v any) []byte {
	t.Helper()
	b, err := c.Append(nil, v)
	if err != nil {
		t.Fatalf("%+v was decoded and does not encode: %v", v, err)
	}
	return b
}

func BenchmarkAppend(b *testing.B) {
	c := json.NewCodec()
	for name, v := range map[string]any{"struct": &greeting{Name: "Ada", Times: 3}, "message": wrapperspb.String("Ada")} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			var buf []byte
			for b.Loop() {
				buf, _ = c.Append(buf[:0], v)
			}
		})
	}
}
