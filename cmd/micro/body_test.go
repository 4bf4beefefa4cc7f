package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/seed-9a4e2794/micro/registry"
)

func TestFieldsAreSentAsTheyAreRegistered(t *testing.T) {
	typ := &registry.Value{Type: "T", Values: []*registry.Value{{Name: "Name", Type: "string"}, {Name: "id", Type: "int"}, {Name: "ID", Type: "int"},
		{Name: "Home", Type: "A", Values: []*registry.Value{{Name: "City", Type: "string"}}}, {Name: "labels", Type: "map[string]string"}}}
	for _, tt := range []struct {
		words, want string // want "" is an error of the command line
	}{
		{"name=Ada", `{"Name":"Ada"}`},
		{"home.city=Paris HOME.City=Rome", ""},
		{"home.city=Paris", `{"Home":{"City":"Paris"}}`},
		{"name=Ada Name=Bob", ""},
		{"id=1 ID=2", `{"ID":2,"id":1}`},
		{"Id=1", ""},
		{"labels.A=1 labels.a=2", `{"labels":{"A":"1","a":"2"}}`},
	} {
		b, err := new(tool).body(strings.Fields(tt.words), typ)
		if string(b) != tt.want || (err == nil) == (tt.want == "") {
			t.Errorf("%s became %s, %v; want %s", tt.words, b, err, tt.want)
		}
	}
}

// Whatever words are given, they become a JSON object or an error of the
// command line.
func FuzzBody(f *testing.F) {
	for _, s := range []string{"name=Ada", "a.b.c=1", "a=1\na.b=2", "n=1e9", "f=NaN", "b=x", "l=[1,2]\nl=3", "m.k.k=v", "s={}", "=", ".=.", "d=5s", "y=AA==", "n=1\nz=9999E9999999999999"} {
		f.Add(s)
	}
	typ := &registry.Value{Name: "T", Type: "T", Values: []*registry.Value{
		{Name: "name", Type: "string"}, {Name: "n", Type: "int8"}, {Name: "u", Type: "uint"}, {Name: "f", Type: "float64"}, {Name: "b", Type: "bool"},
		{Name: "l", Type: "[]int"}, {Name: "y", Type: "[]uint8"}, {Name: "m", Type: "map[string]map[string]int"}, {Name: "d", Type: "Duration"},
		{Name: "a", Type: "A", Values: []*registry.Value{{Name: "b", Type: "B", Values: []*registry.Value{{Name: "c", Type: "int"}}}}}, {Name: "s", Type: "Custom"},
	}}
	f.Fuzz(func(t *testing.T, text string) {
		var words []string
		for w := range strings.Lines(text) {
			if w = strings.TrimSuffix(w, "\n"); isField(w) {
				words = append(words, w)
			}
		}
		if len(words) == 0 {
			return
		}
		for _, v := range []*registry.Value{typ, nil} {
			b, err := new(tool).body(words, v)
			if err != nil {
				if asFailure(err).exit != exitUsage {
					t.Fatalf("%q: %v", words, err)
				}
				continue
			}
			var m map[string]any
			d := json.NewDecoder(bytes.NewReader(b))
			d.UseNumber() // a number may be too large for a float64: the service says so, if it minds
			if err := d.Decode(&m); err != nil || len(m) == 0 || !json.Valid(b) {
				t.Fatalf("%q became %s: %v", words, b, err)
			}
		}
	})
}
