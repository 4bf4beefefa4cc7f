package plain_test

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/seed-9a4e2794/micro/codec/plain"
)

// every has a field of every form.
type every struct {
	B   bool
	I8  int8
	I   int
	U16 uint16
	U64 uint64
	F32 float32
	F64 float64
	S   string
	D   []byte
	T   time.Time
	Dur time.Duration
	PB  *bool
	PS  *string
	PT  *time.Time
	LB  []bool
	LI  []color
	LF  []float32
	LG  []float64
	LS  []label
	LD  [][]byte
	LT  []time.Time
	LP  []*point
	MS  map[string]string
	MI  map[int32]*point
	MT  map[bool]time.Duration
	MW  map[uint]*wrapperspb.StringValue
	W   *wrapperspb.StringValue
	N   node
	P   *every
}

// readDynamic reads data by protobuf's own reader. The one for messages without
// generated code panics when the key of a map's entry comes twice, first as it
// should and then in another wire type; that says nothing about data.
func readDynamic(data []byte, md protoreflect.MessageDescriptor) (err error) {
	defer func() {
		if r := recover(); r != nil && !strings.Contains(fmt.Sprint(r), "to map key") {
			panic(r)
		}
	}()
	return proto.Unmarshal(data, dynamicpb.NewMessage(md))
}

func FuzzUnmarshal(f *testing.F) {
	types := []reflect.Type{reflect.TypeFor[every](), reflect.TypeFor[node](), reflect.TypeFor[order]()}
	var mds []protoreflect.MessageDescriptor
	for i, typ := range types {
		mds = append(mds, described(f, typ))
		for seed := range uint64(60) {
			r := rand.New(rand.NewPCG(seed, 2))
			v := reflect.New(typ)
			item(r, v.Elem(), 1)
			b, err := plain.Codec{}.Append(nil, v.Interface())
			if err != nil {
				f.Fatal(err)
			}
			if len(b) < 200 { // the fuzzer shrinks what it finds interesting, slowly
				f.Add(uint8(i), b)
			}
		}
	}
	for i := range types[0].NumField() {
		v := reflect.New(types[0])
		item(rand.New(rand.NewPCG(uint64(i), 3)), v.Elem().Field(i), 1)
		b, err := plain.Codec{}.Append(nil, v.Interface())
		if err != nil {
			f.Fatal(err)
		}
		if len(b) < 200 {
			f.Add(uint8(0), b)
		}
	}
	f.Add(uint8(0), []byte("\xca\x01\x04\x08\x01\x0a\x00")) // a key twice
	f.Fuzz(func(t *testing.T, which uint8, data []byte) {
		n := int(which) % len(types)
		v := reflect.New(types[n])
		if plain.NewCodec().Unmarshal(data, v.Interface()) != nil {
			return
		}
		if err := readDynamic(data, mds[n]); err != nil {
			t.Fatalf("protobuf does not read it: %v", err)
		}
		b, err := plain.NewCodec().Append(nil, v.Interface())
		if err != nil {
			t.Fatalf("what was read cannot be written: %v", err)
		}
		again := reflect.New(types[n])
		if err := plain.NewCodec().Unmarshal(b, again.Interface()); err != nil {
			t.Fatalf("what was written cannot be read: %v", err)
		}
		if !same(v.Elem(), again.Elem()) {
			t.Fatalf("%+v came back as %+v", v.Elem(), again.Elem())
		}
	})
}
