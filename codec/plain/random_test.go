package plain_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/seed-9a4e2794/micro/codec/plain"
)

// described returns the descriptor that Describe makes of t.
func described(t testing.TB, typ reflect.Type) protoreflect.MessageDescriptor {
	t.Helper()
	s, err := plain.Of(typ)
	if err != nil {
		t.Fatal(err)
	}
	file := &descriptorpb.FileDescriptorProto{Name: proto.String("random.proto"), Package: proto.String("test.random")}
	name, err := s.Describe(file)
	if err != nil {
		t.Fatal(err)
	}
	fd, err := protodesc.NewFile(file, protoregistry.GlobalFiles)
	if err != nil {
		t.Fatalf("the file of %s is not valid: %v\n%v", typ, err, file)
	}
	md := fd.Messages().ByName(protoreflect.FullName(name[1:]).Name())
	if md == nil {
		t.Fatalf("%s is not in %v", name, file)
	}
	return md
}

var scalars = []reflect.Type{
	reflect.TypeFor[bool](), reflect.TypeFor[int8](), reflect.TypeFor[int16](), reflect.TypeFor[int32](), reflect.TypeFor[int64](), reflect.TypeFor[int](),
	reflect.TypeFor[uint8](), reflect.TypeFor[uint16](), reflect.TypeFor[uint32](), reflect.TypeFor[uint64](), reflect.TypeFor[uint](),
	reflect.TypeFor[float32](), reflect.TypeFor[float64](), reflect.TypeFor[string](), reflect.TypeFor[color](), reflect.TypeFor[label](), reflect.TypeFor[flag](),
}

var keys = []reflect.Type{
	reflect.TypeFor[string](), reflect.TypeFor[label](), reflect.TypeFor[bool](), reflect.TypeFor[int8](), reflect.TypeFor[int64](), reflect.TypeFor[uint32](), reflect.TypeFor[uint](), reflect.TypeFor[color](),
}

var messages = []reflect.Type{
	reflect.TypeFor[time.Time](), reflect.TypeFor[time.Duration](), reflect.TypeFor[point](), reflect.TypeFor[node](), reflect.TypeFor[struct{}](),
}

// randomType returns a struct of random fields.
func randomType(r *rand.Rand, depth int) reflect.Type {
	tagged := r.IntN(2) == 0
	number := 0
	fields := make([]reflect.StructField, r.IntN(12))
	for i := range fields {
		f := reflect.StructField{Name: fmt.Sprintf("F%d", i), Type: randomFieldType(r, depth)}
		if r.IntN(2) == 0 {
			f.Tag = reflect.StructTag(fmt.Sprintf(`json:"%s%d" `, []string{"f", "some_name", "camelName", "with-dash", "größe"}[r.IntN(5)], i))
		}
		if tagged {
			if number += 1 + r.IntN(40)*r.IntN(40); number >= 19000 {
				number += 1000
			}
			f.Tag += reflect.StructTag(fmt.Sprintf(`protobuf:"%d"`, number))
		}
		fields[i] = f
	}
	r.Shuffle(len(fields), func(i, j int) { fields[i], fields[j] = fields[j], fields[i] })
	return reflect.StructOf(fields)
}

func randomFieldType(r *rand.Rand, depth int) reflect.Type {
	pick := func(ts []reflect.Type) reflect.Type { return ts[r.IntN(len(ts))] }
	strct := func() reflect.Type {
		if depth > 0 && r.IntN(3) == 0 {
			return randomType(r, depth-1)
		}
		return pick(messages[2:])
	}
	one := func() reflect.Type {
		switch r.IntN(8) {
		case 0:
			return pick(messages)
		case 1:
			return strct()
		case 2:
			return reflect.PointerTo(strct())
		case 3:
			return reflect.TypeFor[*wrapperspb.StringValue]()
		case 4:
			return reflect.TypeFor[[]byte]()
		}
		return pick(scalars)
	}
	switch r.IntN(5) {
	case 0:
		return reflect.PointerTo(pick(append(scalars[:len(scalars):len(scalars)], messages...)))
	case 1:
		return reflect.SliceOf(one())
	case 2:
		return reflect.MapOf(pick(keys), one())
	}
	return one()
}

// fill sets v to a random value that protobuf can keep: no empty slices or maps,
// times in UTC.
func fill(r *rand.Rand, v reflect.Value, depth int) {
	if r.IntN(5) == 0 {
		return
	}
	switch p := v.Addr().Interface().(type) {
	case *time.Time:
		*p = time.Unix(r.Int64N(3e11)-6e10, r.Int64N(1e9)).UTC()
		return
	case *time.Duration:
		*p = time.Duration(r.Uint64()) >> r.IntN(64)
		return
	case **wrapperspb.StringValue:
		*p = wrapperspb.String(text(r))
		return
	}
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64, reflect.Int:
		v.SetInt(int64(r.Uint64()) >> (64 - v.Type().Bits()) >> r.IntN(v.Type().Bits()))
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uint:
		v.SetUint(r.Uint64() >> (64 - v.Type().Bits()) >> r.IntN(v.Type().Bits()))
	case reflect.Float32, reflect.Float64:
		v.SetFloat(float64(float32(r.NormFloat64())))
	case reflect.String:
		v.SetString(text(r))
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			v.SetBytes([]byte(text(r) + "\xff"))
			return
		}
		if depth == 0 {
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), 1+r.IntN(4)*r.IntN(1+4*depth), 60))
		for i := range v.Len() {
			item(r, v.Index(i), depth-1)
		}
	case reflect.Map:
		if depth == 0 {
			return
		}
		v.Set(reflect.MakeMap(v.Type()))
		for range 1 + r.IntN(5) {
			key, val := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			fill(r, key, 0)
			item(r, val, depth-1)
			v.SetMapIndex(key, val)
		}
	case reflect.Pointer:
		if depth > 0 {
			item(r, v, depth-1)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			fill(r, v.Field(i), depth)
		}
	}
}

// item is fill for what must not be nil.
func item(r *rand.Rand, v reflect.Value, depth int) {
	if v.Kind() == reflect.Pointer {
		v.Set(reflect.New(v.Type().Elem()))
		if _, ok := v.Interface().(proto.Message); !ok {
			v = v.Elem()
		}
	}
	fill(r, v, depth)
}

func text(r *rand.Rand) string {
	return strings.Repeat([]string{"a", "å", "日本", "\x00"}[r.IntN(4)], 1+r.IntN(1+r.IntN(200)))
}

// message sets the fields of m, found by their names in JSON, to those of v.
func message(t testing.TB, m protoreflect.Message, v reflect.Value) {
	t.Helper()
	switch p := v.Addr().Interface().(type) {
	case *time.Time:
		copyInto(t, m, timestamppb.New(*p))
		return
	case *time.Duration:
		copyInto(t, m, durationpb.New(*p))
		return
	}
	for i := range v.NumField() {
		sf := v.Type().Field(i)
		name := sf.Tag.Get("json")
		if name == "" {
			name = sf.Name
		}
		fd := m.Descriptor().Fields().ByJSONName(name)
		if fd == nil {
			t.Fatalf("%s has no field %q", m.Descriptor().FullName(), name)
		}
		f := v.Field(i)
		switch {
		case fd.IsMap():
			for it := f.MapRange(); it.Next(); {
				val := reflect.New(f.Type().Elem()).Elem()
				val.Set(it.Value())
				m.Mutable(fd).Map().Set(single(t, nil, fd.MapKey(), it.Key()).MapKey(), single(t, m.Mutable(fd).Map().NewValue, fd.MapValue(), val))
			}
		case fd.IsList():
			for j := range f.Len() {
				l := m.Mutable(fd).List()
				l.Append(single(t, l.NewElement, fd, f.Index(j)))
			}
		case f.Kind() == reflect.Pointer && f.IsNil(), !fd.HasPresence() && f.IsZero(), f.Kind() == reflect.Slice && f.Len() == 0:
		case fd.Message() != nil && f.Kind() != reflect.Pointer && f.IsZero():
		default:
			x := single(t, func() protoreflect.Value { return m.NewField(fd) }, fd, f)
			if fd.Message() != nil && f.Kind() == reflect.Struct && f.Type() != reflect.TypeFor[time.Time]() && proto.Size(x.Message().Interface()) == 0 {
				continue // all its fields are zero, though not by reflection
			}
			m.Set(fd, x)
		}
	}
}

func single(t testing.TB, fresh func() protoreflect.Value, fd protoreflect.FieldDescriptor, v reflect.Value) protoreflect.Value {
	t.Helper()
	if fd.Message() != nil {
		x := fresh()
		if v.Kind() == reflect.Pointer {
			if g, ok := v.Interface().(proto.Message); ok {
				copyInto(t, x.Message(), g)
				return x
			}
			v = v.Elem()
		}
		message(t, x.Message(), v)
		return x
	}
	if v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	switch fd.Kind() {
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(v.Bool())
	case protoreflect.Int32Kind:
		return protoreflect.ValueOfInt32(int32(v.Int()))
	case protoreflect.Int64Kind:
		return protoreflect.ValueOfInt64(v.Int())
	case protoreflect.Uint32Kind:
		return protoreflect.ValueOfUint32(uint32(v.Uint()))
	case protoreflect.Uint64Kind:
		return protoreflect.ValueOfUint64(v.Uint())
	case protoreflect.FloatKind:
		return protoreflect.ValueOfFloat32(float32(v.Float()))
	case protoreflect.DoubleKind:
		return protoreflect.ValueOfFloat64(v.Float())
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(v.String())
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes(append([]byte{}, v.Bytes()...))
	}
	t.Fatalf("a field of the kind %s", fd.Kind())
	panic("not reached")
}

func copyInto(t testing.TB, m protoreflect.Message, from proto.Message) {
	t.Helper()
	b, err := proto.Marshal(from)
	if err == nil {
		err = proto.Unmarshal(b, m.Interface())
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestProtobufReadsWhatIsWrittenAndTheOtherWayRound(t *testing.T) {
	types, written := 0, 0
	for seed := range uint64(100) {
		r := rand.New(rand.NewPCG(seed, 1))
		typ := randomType(r, 3)
		md := described(t, typ)
		types++
		for range 3 {
			in := reflect.New(typ)
			item(r, in.Elem(), 3)
			b, err := plain.Codec{}.Append(nil, in.Interface())
			if err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			written += len(b)
			want, got := dynamicpb.NewMessage(md), dynamicpb.NewMessage(md)
			message(t, want, in.Elem())
			if err := proto.Unmarshal(b, got); err != nil {
				t.Fatalf("seed %d, %s: protobuf does not read %x: %v", seed, typ, b, err)
			}
			if !proto.Equal(want, got) {
				t.Fatalf("seed %d, %s: protobuf reads\n%v, want\n%v", seed, typ, got, want)
			}
			b2, err := proto.Marshal(want)
			if err != nil {
				t.Fatal(err)
			}
			if len(b2) != len(b) {
				t.Errorf("seed %d: %d bytes, by protobuf %d", seed, len(b), len(b2))
			}
			for _, data := range [][]byte{b, b2} {
				out := reflect.New(typ)
				if err := (plain.Codec{}).Unmarshal(data, out.Interface()); err != nil {
					t.Fatalf("seed %d, %s: %v", seed, typ, err)
				}
				if !same(in.Elem(), out.Elem()) {
					t.Fatalf("seed %d:\n%+v came back as\n%+v", seed, in.Elem(), out.Elem())
				}
			}
		}
	}
	if written < 100_000 {
		t.Errorf("%d types and only %d bytes: the values are too small to say much", types, written)
	}
}

// same is reflect.DeepEqual that compares generated messages as such and floats
// by their bits.
func same(a, b reflect.Value) bool {
	switch a.Kind() {
	case reflect.Pointer:
		if a.IsNil() || b.IsNil() {
			return a.IsNil() == b.IsNil()
		}
		if m, ok := a.Interface().(proto.Message); ok {
			return proto.Equal(m, b.Interface().(proto.Message))
		}
		return same(a.Elem(), b.Elem())
	case reflect.Struct:
		if at, ok := a.Interface().(time.Time); ok {
			return at == b.Interface().(time.Time) // the location counts
		}
		for i := range a.NumField() {
			if !same(a.Field(i), b.Field(i)) {
				return false
			}
		}
		return true
	case reflect.Slice:
		if a.Len() != b.Len() || a.IsNil() != b.IsNil() {
			return false
		}
		for i := range a.Len() {
			if !same(a.Index(i), b.Index(i)) {
				return false
			}
		}
		return true
	case reflect.Map:
		if a.Len() != b.Len() || a.IsNil() != b.IsNil() {
			return false
		}
		for it := a.MapRange(); it.Next(); {
			if v := b.MapIndex(it.Key()); !v.IsValid() || !same(it.Value(), v) {
				return false
			}
		}
		return true
	}
	if a.CanFloat() {
		return math.Float64bits(a.Float()) == math.Float64bits(b.Float())
	}
	return reflect.DeepEqual(a.Interface(), b.Interface())
}
