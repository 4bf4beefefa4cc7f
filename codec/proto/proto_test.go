package proto_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	googleproto "google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/seed-9a4e2794/micro/codec"
	"github.com/seed-9a4e2794/micro/codec/proto"
)

// old is a message as github.com/golang/protobuf v1 generated it: fields with
// tags, three methods, no reflection.
type old struct {
	Name   string           `protobuf:"bytes,1,opt,name=name,proto3"`
	Year   int32            `protobuf:"varint,2,opt,name=year,proto3"`
	Friend *old             `protobuf:"bytes,3,opt,name=friend,proto3"`
	Scores map[string]int64 `protobuf:"bytes,4,rep,name=scores,proto3" protobuf_key:"bytes,1,opt,name=key,proto3" protobuf_val:"varint,2,opt,name=value,proto3"`
}

func (m *old) Reset()         { *m = old{} }
func (m *old) String() string { return m.Name }
func (*old) ProtoMessage()    {}

var _ protoadapt.MessageV1 = (*old)(nil)

// vt has the methods that vtprotobuf generates and counts their calls. Its
// wire form is field 1, a fixed 32-bit number: a tag byte and four bytes.
type vt struct {
	n       uint32
	fail    error
	claim   int // added to the size it announces
	encoded int
	decoded int
	reset   int
}

func (m *vt) SizeVT() int { return 5 + m.claim }

func (m *vt) MarshalToSizedBufferVT(b []byte) (int, error) {
	m.encoded++
	for i := range b {
		b[i] = 0xee // generated code fills from the end and may stop anywhere
	}
	if m.fail != nil {
		return 0, m.fail
	}
	i := len(b) - 5
	b[i] = 1<<3 | 5
	binary.LittleEndian.PutUint32(b[i+1:], m.n)
	return 5, nil
}

func (m *vt) UnmarshalVT(b []byte) error {
	m.decoded++
	if len(b) == 0 {
		return nil
	}
	if len(b) != 5 || b[0] != 1<<3|5 {
		return io.ErrUnexpectedEOF
	}
	m.n += binary.LittleEndian.Uint32(b[1:]) // like a real one it adds to what is there
	return nil
}

func (m *vt) Reset() { m.n = 0; m.reset++ }

// vtMessage is a generated message with those methods added.
type vtMessage struct {
	*wrapperspb.StringValue
}

func (m vtMessage) SizeVT() int { return googleproto.Size(m.StringValue) }

func (m vtMessage) MarshalToSizedBufferVT(b []byte) (int, error) {
	out, err := googleproto.Marshal(m.StringValue)
	return copy(b[len(b)-len(out):], out), err
}

func (m vtMessage) UnmarshalVT(b []byte) error { return googleproto.Unmarshal(b, m.StringValue) }

func TestNameIsTheContentType(t *testing.T) {
	if got := proto.NewCodec().Name(); got != codec.Proto {
		t.Errorf("Name() = %q, want %q", got, codec.Proto)
	}
}

func TestMessagesComeBackAsTheyWere(t *testing.T) {
	c := proto.NewCodec()
	st, err := structpb.NewStruct(map[string]any{"a": 1.5, "b": []any{"x", nil, map[string]any{"c": true}}})
	if err != nil {
		t.Fatal(err)
	}
	for _, in := range []googleproto.Message{
		wrapperspb.String("hej \x00 då"),
		wrapperspb.Bytes([]byte{0, 255}),
		wrapperspb.UInt64(1<<64 - 1),
		durationpb.New(-1500e6),
		st,
		new(structpb.Struct),
	} {
		want, err := googleproto.MarshalOptions{Deterministic: true}.Marshal(in)
		if err != nil {
			t.Fatal(err)
		}
		b, err := c.Append([]byte("prefix"), in)
		if err != nil || len(b) != len("prefix")+len(want) || !bytes.HasPrefix(b, []byte("prefix")) {
			t.Errorf("Append(%v) = %x, %v, want the prefix and %d bytes", in, b, err, len(want))
			continue
		}
		out := in.ProtoReflect().New().Interface()
		if err := c.Unmarshal(b[len("prefix"):], out); err != nil || !googleproto.Equal(out, in) {
			t.Errorf("%v came back as %v, %v", in, out, err)
		}
	}
}

func TestDecodingReplacesWhatTheMessageHeld(t *testing.T) {
	c := proto.NewCodec()
	st, err := structpb.NewStruct(map[string]any{"before": true})
	if err != nil {
		t.Fatal(err)
	}
	o := &old{Name: "before", Scores: map[string]int64{"a": 1}}
	for _, v := range []any{st, o} {
		if err := c.Unmarshal(nil, v); err != nil {
			t.Errorf("%T: %v", v, err)
		}
	}
	if len(st.Fields) != 0 || o.Name != "" || o.Scores != nil {
		t.Errorf("left behind: %v, %+v", st, *o)
	}
}

func TestDecodingKeepsNoReferenceToTheData(t *testing.T) {
	c := proto.NewCodec()
	data, err := c.Append(nil, wrapperspb.Bytes([]byte("payload")))
	if err != nil {
		t.Fatal(err)
	}
	var out wrapperspb.BytesValue
	if err := c.Unmarshal(data, &out); err != nil {
		t.Fatal(err)
	}
	clear(data)
	if string(out.Value) != "payload" {
		t.Errorf("the message changed with the buffer: %q", out.Value)
	}
}

func TestMessagesOfTheOldProtobufModuleUseTheSameWireForm(t *testing.T) {
	c := proto.NewCodec()
	in := &old{Name: "Ada", Year: 1815, Friend: &old{Name: "Charles"}, Scores: map[string]int64{"wit": 10}}
	b, err := c.Append([]byte("prefix"), in)
	if err != nil {
		t.Fatal(err)
	}
	want := "prefix" + "\x0a\x03Ada" + "\x10\x97\x0e" + "\x1a\x09\x0a\x07Charles" + "\x22\x07\x0a\x03wit\x10\x0a"
	if string(b) != want {
		t.Errorf("encoded as %q, want %q", b, want)
	}
	var out old
	if err := c.Unmarshal(b[len("prefix"):], &out); err != nil {
		t.Fatal(err)
	}
	if out.Name != "Ada" || out.Year != 1815 || out.Friend == nil || out.Friend.Name != "Charles" || out.Scores["wit"] != 10 {
		t.Errorf("came back as %+v", out)
	}
}

func TestMethodsOfVtprotobufAreUsed(t *testing.T) {
	c := proto.NewCodec()
	for name, dst := range map[string][]byte{
		"no room":   []byte("prefix"),
		"some room": append(make([]byte, 0, 8), "prefix"...),
		"much room": append(make([]byte, 0, 64), "prefix"...),
	} {
		in, out := &vt{n: 7}, &vt{n: 100}
		b, err := c.Append(dst, in)
		if err != nil || string(b) != "prefix\x0d\x07\x00\x00\x00" {
			t.Errorf("%s: Append = %q, %v", name, b, err)
			continue
		}
		if err := c.Unmarshal(b[len("prefix"):], out); err != nil || out.n != 7 {
			t.Errorf("%s: came back as %d, %v, want 7: what was there is replaced", name, out.n, err)
		}
		if in.encoded != 1 || out.decoded != 1 || out.reset != 1 {
			t.Errorf("%s: %d encodings, %d decodings, %d resets, want one each", name, in.encoded, out.decoded, out.reset)
		}
	}
}

func TestMethodsOfVtprotobufAndGoogleAgree(t *testing.T) {
	c := proto.NewCodec()
	b, err := c.Append(nil, vtMessage{wrapperspb.String("hej")})
	if err != nil {
		t.Fatal(err)
	}
	var plain wrapperspb.StringValue
	if err := c.Unmarshal(b, &plain); err != nil || plain.Value != "hej" {
		t.Errorf("google's decoder read %q, %v", plain.Value, err)
	}
	out := vtMessage{wrapperspb.String("before")}
	if err := c.Unmarshal(b, out); err != nil || out.Value != "hej" {
		t.Errorf("vtprotobuf's decoder read %q, %v", out.Value, err)
	}
}

func TestAppendKeepsThePrefixOnAnError(t *testing.T) {
	c := proto.NewCodec()
	for _, tt := range []struct {
		name string
		v    any
		want error
	}{
		{"invalid UTF-8", wrapperspb.String("a\xff"), nil},
		{"invalid UTF-8 in an old message", &old{Friend: &old{Name: "a\xff"}}, nil},
		{"vtprotobuf's method fails", &vt{fail: io.ErrShortWrite}, io.ErrShortWrite},
		{"vtprotobuf's size is wrong", &vt{claim: 3}, nil},
		{"no message", struct{}{}, codec.ErrType},
	} {
		for _, room := range []int{0, 64} {
			dst := append(make([]byte, 0, len("prefix")+room), "prefix"...)
			b, err := c.Append(dst, tt.v)
			if err == nil || (tt.want != nil && !errors.Is(err, tt.want)) {
				t.Errorf("%s, room for %d: error %v, want %v", tt.name, room, err, tt.want)
			}
			if string(b) != "prefix" || string(dst) != "prefix" {
				t.Errorf("%s, room for %d: got %q, dst %q, want the prefix alone", tt.name, room, b, dst)
			}
		}
	}
}

func TestValuesThatAreNoMessagesAreErrType(t *testing.T) {
	type plain struct{ Name string }
	c := proto.NewCodec()
	for _, v := range []any{nil, plain{}, &plain{}, "text", []byte("raw"), 1, map[string]string{}, old{}} {
		if b, err := c.Append([]byte("p"), v); !errors.Is(err, codec.ErrType) || string(b) != "p" {
			t.Errorf("Append(%T) = %q, %v, want codec.ErrType", v, b, err)
		}
		if err := c.Unmarshal(nil, v); !errors.Is(err, codec.ErrType) {
			t.Errorf("Unmarshal into %T returned %v, want codec.ErrType", v, err)
		}
		if proto.Is(v) {
			t.Errorf("Is(%T) is true", v)
		}
	}
	for _, v := range []any{wrapperspb.String(""), &old{}, (*old)(nil)} {
		if !proto.Is(v) {
			t.Errorf("Is(%T) is false", v)
		}
	}
}

func TestNilMessagesEncodeAsEmptyAndCannotBeDecodedInto(t *testing.T) {
	c := proto.NewCodec()
	for _, v := range []any{(*wrapperspb.StringValue)(nil), (*old)(nil), vtMessage{}} {
		if b, err := c.Append(nil, v); err != nil || len(b) != 0 {
			t.Errorf("Append of a nil %T = %x, %v, want nothing", v, b, err)
		}
		if err := c.Unmarshal([]byte("\x0a\x01a"), v); !errors.Is(err, codec.ErrType) {
			t.Errorf("Unmarshal into a nil %T returned %v, want codec.ErrType", v, err)
		}
	}
}

func TestBadDataIsAnErrorThatNamesTheType(t *testing.T) {
	c := proto.NewCodec()
	// A list in a list in a list, deeper than the decoder goes. The tags are
	// gathered from the innermost out and joined the other way round.
	var tags [][]byte
	for i, size := 0, 0; i < 12_000; i++ {
		tag := binary.AppendUvarint([]byte{[]byte{0x32, 0x0a}[i%2]}, uint64(size)) // Value.list_value, ListValue.values
		tags, size = append(tags, tag), size+len(tag)
	}
	slices.Reverse(tags)
	deep := bytes.Join(tags, nil)
	for _, tt := range []struct {
		data string
		into any
		name string
	}{
		{"\x0a\x05ab", new(wrapperspb.StringValue), "StringValue"},
		{"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", new(wrapperspb.StringValue), "StringValue"},
		{"\x0a\x01\xff", new(wrapperspb.StringValue), "StringValue"},
		{"\x00", new(old), "old"},
		{"\x0d\x01", new(vt), "vt"},
		{string(deep), new(structpb.ListValue), "ListValue"},
	} {
		err := c.Unmarshal([]byte(tt.data), tt.into)
		if err == nil || errors.Is(err, codec.ErrType) || !strings.Contains(err.Error(), tt.name) {
			t.Errorf("%.12q into %T: error %v, want one that names the type and is not codec.ErrType", tt.data, tt.into, err)
		}
	}
}

func TestEncodingIntoABufferWithRoomAllocatesNothing(t *testing.T) {
	c := proto.NewCodec()
	buf := make([]byte, 0, 64)
	for name, v := range map[string]any{"message": wrapperspb.String("hej"), "vtprotobuf": &vt{n: 1}} {
		if n := testing.AllocsPerRun(100, func() { buf, _ = c.Append(buf[:0], v) }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// What decodes also encodes, and decodes again to the same.
func FuzzUnmarshal(f *testing.F) {
	for _, s := range []string{"", "\x0a\x03Ada", "\x0a\x03Ada\x10\x97\x0e\x1a\x09\x0a\x07Charles\x22\x07\x0a\x03wit\x10\x0a",
		"\x0a\x01\xff", "\x0a\xff\xff\xff\xff\x0f", "\x09\x00\x00\x00\x00\x00\x00\xf8\x7f", "\x12\x07\x0a\x01k\x12\x02\x20\x01", "\x00", "\x0b\x0c"} {
		f.Add([]byte(s))
	}
	c := proto.NewCodec()
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, m := range []googleproto.Message{
			new(wrapperspb.StringValue), new(wrapperspb.DoubleValue), new(structpb.Struct), protoadapt.MessageV2Of(new(old)),
		} {
			before := bytes.Clone(data)
			err := c.Unmarshal(data, m)
			if !bytes.Equal(data, before) {
				t.Fatalf("decoding changed its input %x to %x", before, data)
			}
			if err != nil {
				continue
			}
			b, err := c.Append([]byte("prefix"), m)
			if err != nil || !bytes.HasPrefix(b, []byte("prefix")) {
				t.Fatalf("%x decoded to %v and does not encode: %q, %v", data, m, b, err)
			}
			out := m.ProtoReflect().New().Interface()
			if err := c.Unmarshal(b[len("prefix"):], out); err != nil || !googleproto.Equal(m, out) {
				t.Fatalf("%x decoded to %v, after another trip %v, %v", data, m, out, err)
			}
		}
	})
}

func BenchmarkAppend(b *testing.B) {
	c := proto.NewCodec()
	for name, v := range map[string]any{"message": wrapperspb.String("Ada"), "old": &old{Name: "Ada"}, "vtprotobuf": &vt{n: 1}} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			var buf []byte
			for b.Loop() {
				buf, _ = c.Append(buf[:0], v)
			}
		})
	}
}
