package plain

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"google.golang.org/protobuf/encoding/protowire"
)

// member is a field of a struct or one promoted from an embedded struct.
type member struct {
	owner  reflect.Type // the struct that declares it
	field  reflect.StructField
	index  []int  // from the outermost struct
	json   string // its name in JSON
	named  bool   // the name is from a tag
	number protowire.Number
	wire   string // the wire type that a tag of generated code says, else empty
	proto  string // the name that it says
}

// fault says which field it is that err is about.
func (m *member) fault(err error) error {
	return fmt.Errorf("field %s of %s: %w", m.field.Name, m.owner, err)
}

// members returns the fields of t that encoding/json would write, with their
// numbers, and whether these are from tags.
func members(t reflect.Type) ([]member, bool, error) {
	all, err := gather(nil, t, nil, nil)
	if err != nil {
		return nil, false, err
	}
	ms := dominant(all)
	tagged := 0
	for i := range ms {
		has, err := ms[i].readTag()
		if err != nil {
			return nil, false, err
		}
		if has {
			tagged++
		}
	}
	if tagged == 0 {
		for i := range ms {
			ms[i].number = protowire.Number(i + 1)
		}
		return ms, len(ms) == 0, nil
	}
	numbers := make(map[protowire.Number]string, len(ms))
	for i := range ms {
		m := &ms[i]
		if m.number == 0 {
			return nil, false, m.fault(formless("it has no number and other fields have: tag all or none, as in protobuf:\"%d\"", i+1))
		}
		if other, ok := numbers[m.number]; ok {
			return nil, false, m.fault(formless("its number %d is that of %s", m.number, other))
		}
		numbers[m.number] = m.field.Name
	}
	return ms, true, nil
}

// gather appends the fields of t and of the structs embedded in it. outer are
// the structs that t is embedded in.
func gather(all []member, t reflect.Type, index []int, outer []reflect.Type) ([]member, error) {
	outer = append(slices.Clip(outer), t)
	for i := range t.NumField() {
		f := t.Field(i)
		tag := f.Tag.Get("json")
		if tag == "-" {
			continue
		}
		inner := f.Type
		if inner.Kind() == reflect.Pointer {
			inner = inner.Elem()
		}
		embedded := f.Anonymous && inner.Kind() == reflect.Struct
		if !f.IsExported() && !embedded {
			continue
		}
		name, _, _ := strings.Cut(tag, ",")
		if !validName(name) {
			name = ""
		}
		m := member{owner: t, field: f, index: append(slices.Clip(index), i), json: name, named: name != ""}
		if !embedded || m.named {
			if !f.IsExported() {
				continue
			}
			if name == "" {
				m.json = f.Name
			}
			all = append(all, m)
			continue
		}
		if slices.Contains(outer, inner) {
			continue // it embeds itself: what it has is known, and nearer
		}
		if !f.IsExported() && f.Type.Kind() == reflect.Pointer {
			return nil, m.fault(formless("an embedded pointer to an unexported struct cannot be set: embed the struct"))
		}
		if tag, ok := f.Tag.Lookup("protobuf"); ok {
			return nil, m.fault(formless("it is embedded, its fields have numbers and it has none: drop the tag protobuf:%q or give it a name by json:\"name\"", tag))
		}
		var err error
		if all, err = gather(all, inner, m.index, outer); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// dominant leaves, of fields of one name, the one that is embedded least, or of
// several the one that is named by a tag; if that is not one they all go. These
// are encoding/json's rules. The order stays.
func dominant(all []member) []member {
	best := make(map[string]*member, len(all))
	ties := make(map[string]bool)
	for i := range all {
		m := &all[i]
		b := best[m.json]
		switch {
		case b == nil || len(m.index) < len(b.index) || len(m.index) == len(b.index) && m.named && !b.named:
			best[m.json], ties[m.json] = m, false
		case len(m.index) == len(b.index) && m.named == b.named:
			ties[m.json] = true
		}
	}
	var out []member
	for i := range all {
		if m := &all[i]; best[m.json] == m && !ties[m.json] {
			out = append(out, *m)
		}
	}
	return out
}

// readTag reads the number from the tag, if there is one.
func (m *member) readTag() (bool, error) {
	tag, ok := m.field.Tag.Lookup("protobuf")
	if !ok {
		return false, nil
	}
	words := strings.Split(tag, ",")
	number := words[0]
	if len(words) > 1 && (number == "" || number[0] < '0' || number[0] > '9') {
		m.wire, number = words[0], words[1]
		for _, word := range words[2:] {
			if name, ok := strings.CutPrefix(word, "name="); ok {
				m.proto = name
			}
		}
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil {
		return false, m.fault(formless("the tag protobuf:%q has no number: write it as in protobuf:\"3\"", tag))
	}
	switch {
	case n < 1 || n > int64(protowire.MaxValidNumber):
		return false, m.fault(formless("its number %d is not in 1 to %d", n, protowire.MaxValidNumber))
	case n >= int64(protowire.FirstReservedNumber) && n <= int64(protowire.LastReservedNumber):
		return false, m.fault(formless("its number %d is one of those that protobuf keeps to itself, %d to %d", n, protowire.FirstReservedNumber, protowire.LastReservedNumber))
	}
	m.number = protowire.Number(n)
	return true, nil
}

// validName reports whether encoding/json takes a name from a tag.
func validName(name string) bool {
	for _, c := range name {
		if !strings.ContainsRune("!#$%&()*+-./:;<=>?@[]^_{|}~ ", c) && !unicode.IsLetter(c) && !unicode.IsDigit(c) {
			return false
		}
	}
	return name != ""
}
