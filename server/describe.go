package server

import (
	"reflect"
	"strings"

	"github.com/seed-9a4e2794/micro/registry"
)

const (
	// maxDepth is how deep the fields of a message are described.
	maxDepth = 3
	// maxNesting is how many pointers, slices and maps within one another the
	// name of a type tells.
	maxNesting = 16
)

// describe returns the description of a type for the registry: its fields with
// the names that JSON gives them.
func describe(t reflect.Type) *registry.Value { return describeAt(t, 0) }

func describeAt(t reflect.Type, depth int) *registry.Value {
	for n := 0; t.Kind() == reflect.Pointer && n < maxNesting; n++ {
		t = t.Elem()
	}
	v := &registry.Value{Name: t.Name(), Type: typeName(t, 0)}
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

// typeName returns the name of a type; one without a name is told by its parts.
// A type that contains itself has a name, so the telling ends there.
func typeName(t reflect.Type, depth int) string {
	if t.Name() != "" || depth >= maxNesting {
		return t.Name()
	}
	switch t.Kind() {
	case reflect.Pointer:
		return typeName(t.Elem(), depth+1)
	case reflect.Slice, reflect.Array:
		return "[]" + typeName(t.Elem(), depth+1)
	case reflect.Map:
		return "map[" + typeName(t.Key(), depth+1) + "]" + typeName(t.Elem(), depth+1)
	}
	return t.Kind().String()
}
