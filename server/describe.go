package server

import (
	"reflect"
	"strings"

	"github.com/seed-9a4e2794/micro/registry"
)

// maxDepth is how deep the fields of a message are described.
const maxDepth = 3

// describe returns the description of a type for the registry: its fields with
// the names that JSON gives them.
func describe(t reflect.Type) *registry.Value { return describeAt(t, 0) }

func describeAt(t reflect.Type, depth int) *registry.Value {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	v := &registry.Value{Name: t.Name(), Type: typeName(t)}
	if depth >= maxDepth || t.Kind() != reflect.Struct {
		return v
	}
	for i := range t.NumField() {
		f := t.Field(i)
		if !f.IsExported() {
			continue
		}
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "-" {
			continue
		}
		inner := describeAt(f.Type, depth+1)
		if name == "" {
			if f.Anonymous {
				v.Values = append(v.Values, inner.Values...)
				continue
			}
			name = f.Name
		}
		inner.Name = name
		v.Values = append(v.Values, inner)
	}
	return v
}

func typeName(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Pointer:
		return typeName(t.Elem())
	case reflect.Slice, reflect.Array:
		return "[]" + typeName(t.Elem())
	case reflect.Map:
		return "map[" + typeName(t.Key()) + "]" + typeName(t.Elem())
	}
	if t.Name() == "" {
		return t.Kind().String()
	}
	return t.Name()
}
