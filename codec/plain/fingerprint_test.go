package plain_test

import (
	"reflect"
	"regexp"
	"testing"
	"time"

	"github.com/seed-9a4e2794/micro/codec/plain"
)

type (
	treeA struct {
		Name string
		Kids []*treeA
	}
	treeB struct {
		Name string
		Kids []treeB
	}
	ping struct {
		Pong *pong
		N    int
	}
	pong struct {
		Ping *ping
		N    int
	}
	ping2 struct {
		Pong *pong2
		N    int
	}
	pong2 struct {
		Ping *ping2
		M    int
	}
)

func fingerprint(t *testing.T, v any) string {
	t.Helper()
	s, err := plain.Of(reflect.TypeOf(v))
	if err != nil {
		t.Fatal(err)
	}
	return s.Fingerprint()
}

func TestFingerprintsAreEqualForEqualLayouts(t *testing.T) {
	for name, same := range map[string][]any{
		"names of types": {point{}, &point{}, struct{ X, Y int }{}, struct{ X, Y int64 }{}},
		"order with tags": {
			struct {
				A int    `protobuf:"1"`
				B string `protobuf:"2"`
			}{},
			struct {
				B label `protobuf:"2"`
				A int64 `protobuf:"1"`
			}{},
			struct { // a tag that says what is so without
				A int
				B string
			}{},
		},
		"recursion": {treeA{}, treeB{}},
		"what is left out": {struct{ A int }{}, struct {
			A int
			b int
		}{}, struct {
			A int
			B func() `json:"-"`
		}{}},
		"embedding": {struct {
			point
			Z int
		}{}, struct{ X, Y, Z int }{}},
	} {
		for _, v := range same[1:] {
			if a, b := fingerprint(t, same[0]), fingerprint(t, v); a != b {
				t.Errorf("%s: %T has %s and %T has %s", name, same[0], a, v, b)
			}
		}
	}
	if got := fingerprint(t, point{}); !regexp.MustCompile(`^[0-9a-f]{16}$`).MatchString(got) {
		t.Errorf("%q is not 16 hexadecimal digits", got)
	}
	// Nodes of different builds compare it: it must not change.
	if got, want := fingerprint(t, node{}), "df6fdd7b2ad87c04"; got != want {
		t.Errorf("the fingerprint of node is %s and was %s: nodes of the last release fall back to JSON", got, want)
	}
}

func TestFingerprintsDifferForDifferentLayouts(t *testing.T) {
	seen := make(map[string]any)
	for _, v := range []any{
		struct{}{},
		struct{ A int }{}, struct{ B int }{}, struct{ A int32 }{}, struct{ A uint }{}, struct{ A uint32 }{}, struct{ A bool }{}, struct{ A float32 }{},
		struct{ A float64 }{}, struct{ A string }{}, struct{ A []byte }{}, struct{ A *int }{}, struct{ A []int }{}, struct{ A []string }{},
		struct {
			A int `json:"a"`
		}{},
		struct {
			A int `protobuf:"2"`
		}{},
		struct{ A, B int }{}, struct{ B, A int }{},
		struct{ A map[string]int }{}, struct{ A map[int]string }{},
		struct {
			A []struct {
				Key   string `json:"key"`
				Value int    `json:"value"`
			}
		}{},
		struct{ A time.Time }{}, struct{ A time.Duration }{}, struct{ A point }{}, struct{ A []point }{}, struct{ A node }{}, struct{ A struct{} }{},
		treeA{}, node{}, ping{}, ping2{}, pong{}, pong2{},
		struct {
			A struct{ A struct{ A int } }
		}{},
		struct {
			A struct{ A struct{ A int32 } }
		}{},
	} {
		f := fingerprint(t, v)
		if other, ok := seen[f]; ok {
			t.Errorf("%T and %T have the same", other, v)
		}
		seen[f] = v
	}
}

func TestSchemasSayWhetherAllNumbersAreFromTags(t *testing.T) {
	type inside struct {
		A int `protobuf:"1"`
	}
	type half struct {
		A inside `protobuf:"1"`
		B point  `protobuf:"2"`
	}
	type loop struct {
		A *loop           `protobuf:"1"`
		B map[int]*inside `protobuf:"2"`
		C time.Time       `protobuf:"3"`
	}
	for _, tt := range []struct {
		v    any
		want bool
	}{
		{inside{}, true}, {point{}, false}, {half{}, false}, {loop{}, true}, {node{}, true}, {treeA{}, false}, {struct{}{}, true},
		{struct{ A inside }{}, false},
		{struct {
			A []*half `protobuf:"1"`
		}{}, false},
	} {
		s, err := plain.Of(reflect.TypeOf(tt.v))
		if err != nil {
			t.Fatal(err)
		}
		if s.Tagged() != tt.want {
			t.Errorf("%T: Tagged() is %t", tt.v, !tt.want)
		}
	}
}
