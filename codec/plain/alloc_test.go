//go:build !purego && !race

// The race detector drops pooled objects now and then, and reflection allocates
// where addresses do not.

package plain_test

import (
	"reflect"
	"testing"
	"time"
)

func TestEncodingAllocatesNothingAndDecodingWhatTheValuesNeed(t *testing.T) {
	_, mirror, _ := newFile(t)
	maps := &struct {
		A map[string]point
		B map[int]*point
	}{map[string]point{"a": {1, 2}, "b": {}}, map[int]*point{1: {}}}
	for _, v := range []any{&hello{"Ada"}, newMixed(), *newMixed(), mirror, maps} {
		buf := make([]byte, 0, 1<<16)
		if n := testing.AllocsPerRun(100, func() { encode(t, buf, v) }); n != 0 {
			t.Errorf("encoding a %T allocates %v times, want 0", v, n)
		}
	}
	for _, tt := range []struct {
		v    any
		want float64
	}{
		{&hello{}, 0},
		{&hello{"Ada"}, 1},
		{&point{1, 2}, 0},
		{&struct{ P *point }{&point{1, 2}}, 1},
		{&struct{ L []int }{make([]int, 1000)}, 1},
		{&struct{ L []float64 }{make([]float64, 1000)}, 1},
		{&struct{ B []byte }{make([]byte, 1000)}, 1},
		{&struct {
			T time.Time
			D time.Duration
		}{time.Unix(1, 1), 1}, 0},
		{&struct{ P []point }{[]point{{1, 2}}}, 1},
	} {
		data := encode(t, nil, tt.v)
		out := reflect.New(reflect.TypeOf(tt.v).Elem()).Interface()
		if n := testing.AllocsPerRun(100, func() { decode(t, data, out) }); n != tt.want {
			t.Errorf("decoding a %T allocates %v times, want %v", tt.v, n, tt.want)
		}
	}
}
