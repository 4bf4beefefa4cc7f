package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/seed-9a4e2794/micro/cmd/micro/internal/lookup"
	"github.com/seed-9a4e2794/micro/registry"
)

// body makes a message of the words after a command: nothing is {}, one word
// may be JSON, @file or -, and key=value words are the fields of v, which may
// be nil when they are not known.
func (t *tool) body(words []string, v *registry.Value) (json.RawMessage, error) {
	if len(words) == 0 {
		return json.RawMessage("{}"), nil
	}
	if len(words) == 1 && !isField(words[0]) {
		b, err := t.readArgument(words[0])
		if err != nil {
			return nil, err
		}
		return checkJSON(words[0], b, `JSON such as '{"name":"Ada"}', or key=value words`)
	}
	fields := make(map[string]any)
	for _, w := range words {
		if !isField(w) {
			return nil, usage("words are key=value, or one word is JSON, @file or - for stdin", "%q is no field", w)
		}
		path, value, _ := strings.Cut(w, "=")
		if err := set(fields, v, path, value); err != nil {
			return nil, err
		}
	}
	return json.Marshal(fields)
}

// isField reports whether a word is key=value and not JSON, a file or stdin.
func isField(w string) bool {
	return strings.Contains(w, "=") && !strings.ContainsAny(w[:1], `{["@=`)
}

// checkJSON returns JSON in its short form, or says where it is none, with a
// hint at what is wanted.
func checkJSON(what string, b []byte, hint string) (json.RawMessage, error) {
	var out bytes.Buffer
	if err := json.Compact(&out, b); err != nil {
		if len(what) > 40 {
			what = what[:40] + "..."
		}
		return nil, usage(hint, "%s is not JSON: %v", what, err)
	}
	return out.Bytes(), nil
}

// set puts the value of a field, a.b.c, where it belongs.
func set(into map[string]any, v *registry.Value, path, value string) error {
	name, rest, deeper := strings.Cut(path, ".")
	field, err := fieldOf(v, name)
	if err != nil {
		return err
	}
	if field != nil {
		name = field.Name // as it is registered
	}
	if !deeper {
		return put(into, field, name, value)
	}
	if field != nil && !holdsFields(field) {
		return usage("", "%s is a %s and has no fields", name, field.Type)
	}
	inner, ok := into[name].(map[string]any)
	if !ok {
		if into[name] != nil {
			return usage("", "%s has been given a value already", name)
		}
		inner = make(map[string]any)
		into[name] = inner
	}
	return set(inner, field, rest, value)
}

// put converts a value to its field's type. A list may be given in several
// words.
func put(into map[string]any, field *registry.Value, name, value string) error {
	typ := ""
	if field != nil {
		typ = field.Type
	}
	x, err := convert(name, value, typ, field)
	if err != nil {
		return err
	}
	old, given := into[name]
	list, isList := old.([]any)
	more, moreList := x.([]any)
	switch {
	case !given:
		into[name] = x
	case isList && moreList:
		into[name] = append(list, more...)
	default:
		return usage("", "%s has been given twice", name)
	}
	return nil
}

// fieldOf returns the field of that name, else the only one that differs in
// case alone. It is nil when v does not know its fields.
func fieldOf(v *registry.Value, name string) (*registry.Value, error) {
	if v == nil {
		return nil, nil
	}
	if elem, ok := mapElement(v.Type); ok {
		return &registry.Value{Name: name, Type: elem}, nil
	}
	if len(v.Values) == 0 {
		return nil, nil
	}
	var names []string
	var folded []*registry.Value
	for _, f := range v.Values {
		if f.Name == name {
			return f, nil
		}
		if strings.EqualFold(f.Name, name) {
			folded = append(folded, f)
		}
		names = append(names, f.Name)
	}
	if len(folded) == 1 {
		return folded[0], nil
	}
	what := v.Type
	if what == "" {
		what = v.Name
	}
	hint := "available: " + fieldList(v)
	if near := lookup.Nearest(name, names); near != "" {
		hint = fmt.Sprintf("did you mean %s (%s)?   %s", near, typeOf(v, near), hint)
	}
	return nil, usage(hint, "%s has no field %q", what, name)
}

func typeOf(v *registry.Value, field string) string {
	for _, f := range v.Values {
		if f.Name == field {
			return f.Type
		}
	}
	return ""
}

// fieldList names the fields of a type with their types.
func fieldList(v *registry.Value) string {
	names := make([]string, len(v.Values))
	for i, f := range v.Values {
		names[i] = f.Name + " " + f.Type
	}
	return lookup.List(names)
}

// mapElement returns what a map type holds.
func mapElement(typ string) (string, bool) {
	rest, ok := strings.CutPrefix(typ, "map[")
	if !ok {
		return "", false
	}
	_, elem, ok := strings.Cut(rest, "]")
	return elem, ok
}

// plainTypes are the types that hold one value; the number is their size in
// bits.
func plainTypes(typ string) (kind string, bits int) {
	switch typ {
	case "string", "bool":
		return typ, 0
	}
	for _, kind := range []string{"int", "uint", "float"} {
		if size, ok := strings.CutPrefix(typ, kind); ok {
			if size == "" && kind != "float" {
				return kind, 64
			}
			if n, err := strconv.Atoi(size); err == nil {
				return kind, n
			}
		}
	}
	return "", 0
}

// holdsFields reports whether values of a field's type may have fields.
func holdsFields(f *registry.Value) bool {
	kind, _ := plainTypes(f.Type)
	return kind == "" && !strings.HasPrefix(f.Type, "[]")
}

// convert turns a word into a value of a type.
func convert(name, value, typ string, v *registry.Value) (any, error) {
	bad := func(want string) error {
		return usage("", "%s is %s, and %q is none", name, want, value)
	}
	kind, bits := plainTypes(typ)
	switch kind {
	case "string":
		return value, nil
	case "bool":
		b, err := strconv.ParseBool(value)
		if err != nil {
			return nil, bad("true or false")
		}
		return b, nil
	case "int":
		n, err := strconv.ParseInt(value, 10, bits)
		if err != nil {
			return nil, bad("a whole number (" + typ + ")")
		}
		return n, nil
	case "uint":
		n, err := strconv.ParseUint(value, 10, bits)
		if err != nil {
			return nil, bad("a whole number from 0 (" + typ + ")")
		}
		return n, nil
	case "float":
		n, err := strconv.ParseFloat(value, bits)
		if err != nil || n != n || n-n != 0 { // JSON has neither NaN nor infinity
			return nil, bad("a number (" + typ + ")")
		}
		return n, nil
	}
	if typ == "[]uint8" {
		if _, err := base64.StdEncoding.DecodeString(value); err != nil {
			return nil, bad("bytes in base64")
		}
		return value, nil
	}
	if elem, ok := strings.CutPrefix(typ, "[]"); ok {
		if strings.HasPrefix(value, "[") && json.Valid([]byte(value)) {
			var list []json.RawMessage
			if err := json.Unmarshal([]byte(value), &list); err != nil {
				return nil, bad("a list")
			}
			out := make([]any, len(list))
			for i, x := range list {
				out[i] = x
			}
			return out, nil
		}
		x, err := convert(name, value, elem, nil)
		return []any{x}, err
	}
	if typ == "Duration" {
		if d, err := time.ParseDuration(value); err == nil {
			return int64(d), nil
		}
	}
	if _, isMap := mapElement(typ); isMap || v != nil && len(v.Values) > 0 {
		if !strings.HasPrefix(value, "{") || !json.Valid([]byte(value)) {
			hint := "give its fields as " + name + ".field=value, or as JSON"
			if v != nil && len(v.Values) > 0 {
				hint += "   available: " + fieldList(v)
			}
			return nil, usage(hint, "%s is a %s, and %q is none", name, typ, value)
		}
		return json.RawMessage(value), nil
	}
	// A type of its own, whose kind the registry does not say: JSON if it is
	// JSON, else a string.
	if json.Valid([]byte(value)) {
		return json.RawMessage(value), nil
	}
	return value, nil
}
