package plain

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"unicode"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
)

// Describe adds the messages of s to a file that is being made: its own and
// those of nested structs, each once, at the top of the file, with the imports
// that they need. It returns the full name of its own, such as
// ".greeter.HelloRequest". A message that is in the file already is used again
// when it has the type's name and the same fields, so one file may be given for
// many schemas; a name that something else has gets a number, as in Item_2.
// Structs without a name are called after the field they stand in.
//
// The file is proto3; an empty syntax is set to that, another is an error. Its
// package is the caller's to set, before the first call. Imports of generated
// messages go by the paths under which those are registered.
func (s *Schema) Describe(file *descriptorpb.FileDescriptorProto) (string, error) {
	if file == nil {
		return "", errors.New("plain: describe: the file is nil")
	}
	switch file.GetSyntax() {
	case "":
		file.Syntax = proto.String("proto3")
	case "proto3":
	default:
		return "", fmt.Errorf("plain: describe: the file's syntax is %q, plain structs are proto3", file.GetSyntax())
	}
	d := describer{file: file, names: make(map[reflect.Type]string)}
	return d.message(s, "Message"), nil
}

// describer adds the messages of one schema to a file.
type describer struct {
	file  *descriptorpb.FileDescriptorProto
	names map[reflect.Type]string // simple names of what is in the file by now
}

// message returns the full name of s, which it adds if it is not there. Without
// a name of its own it gets the one given.
func (d *describer) message(s *Schema, name string) string {
	if own, ok := d.names[s.typ]; ok {
		return d.full(own)
	}
	if own := typeName(s.typ.Name()); own != "" {
		name = own
	}
	name, isNew := d.claim(s, name)
	d.names[s.typ] = name
	if !isNew {
		return d.full(name)
	}
	m := &descriptorpb.DescriptorProto{Name: &name}
	d.file.MessageType = append(d.file.MessageType, m)
	names := fieldNames(s.fields)
	for i := range s.fields {
		d.field(m, &s.fields[i], names[i])
	}
	return d.full(name)
}

func (d *describer) full(name string) string {
	if pkg := d.file.GetPackage(); pkg != "" {
		name = pkg + "." + name
	}
	return "." + name
}

// claim returns a name for s, made from base, and whether the message has yet to
// be added.
func (d *describer) claim(s *Schema, base string) (string, bool) {
	name := base
	for n := 2; ; n++ {
		taken := d.taken(name)
		if !taken {
			return name, true
		}
		if !d.mine(name) && layout(d.file, d.full(name)) == s.Fingerprint() {
			return name, false
		}
		name = fmt.Sprintf("%s_%d", base, n)
	}
}

// mine reports whether the name is of a message that this call uses, and that
// may not have all its fields yet.
func (d *describer) mine(name string) bool {
	for _, n := range d.names {
		if n == name {
			return true
		}
	}
	return false
}

// taken reports whether anything at the top of the file has the name.
func (d *describer) taken(name string) bool {
	has := func(n interface{ GetName() string }) bool { return n.GetName() == name }
	return slices.ContainsFunc(d.file.MessageType, func(m *descriptorpb.DescriptorProto) bool { return has(m) }) ||
		slices.ContainsFunc(d.file.EnumType, func(e *descriptorpb.EnumDescriptorProto) bool { return has(e) }) ||
		slices.ContainsFunc(d.file.Service, func(s *descriptorpb.ServiceDescriptorProto) bool { return has(s) }) ||
		slices.ContainsFunc(d.file.Extension, func(x *descriptorpb.FieldDescriptorProto) bool { return has(x) })
}

// field adds a field to m.
func (d *describer) field(m *descriptorpb.DescriptorProto, f *field, name string) {
	p := d.value(&f.element, m.GetName()+"_"+f.name)
	p.Name, p.JsonName, p.Number = proto.String(name), proto.String(f.json), proto.Int32(int32(f.number))
	m.Field = append(m.Field, p)
	switch f.mode {
	case list, packed:
		p.Label = descriptorpb.FieldDescriptorProto_LABEL_REPEATED.Enum()
	case optional:
		if f.kind != kindMessage { // a message has presence anyway
			p.Proto3Optional = proto.Bool(true)
			p.OneofIndex = proto.Int32(int32(len(m.OneofDecl)))
			m.OneofDecl = append(m.OneofDecl, &descriptorpb.OneofDescriptorProto{Name: proto.String("_" + name)})
		}
	case mapping:
		key := d.value(f.key, "")
		key.Name, key.JsonName, key.Number = proto.String("key"), proto.String("key"), proto.Int32(1)
		p.Name, p.JsonName, p.Number = proto.String("value"), proto.String("value"), proto.Int32(2)
		entry := &descriptorpb.DescriptorProto{
			Name:    proto.String(entryName(name)),
			Field:   []*descriptorpb.FieldDescriptorProto{key, p},
			Options: &descriptorpb.MessageOptions{MapEntry: proto.Bool(true)},
		}
		m.NestedType = append(m.NestedType, entry)
		m.Field[len(m.Field)-1] = &descriptorpb.FieldDescriptorProto{
			Name: proto.String(name), JsonName: proto.String(f.json), Number: proto.Int32(int32(f.number)),
			Label: descriptorpb.FieldDescriptorProto_LABEL_REPEATED.Enum(), Type: kindMessage.Enum(),
			TypeName: proto.String(d.full(m.GetName()) + "." + entry.GetName()),
		}
	}
}

// value returns a singular field of the type of e, without name and number.
func (d *describer) value(e *element, name string) *descriptorpb.FieldDescriptorProto {
	p := &descriptorpb.FieldDescriptorProto{Type: e.kind.Enum(), Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum()}
	switch {
	case e.schema != nil:
		p.TypeName = proto.String(d.message(e.schema, name))
	case e.message != nil:
		p.TypeName = proto.String("." + string(e.message.FullName()))
		if path := e.message.ParentFile().Path(); !slices.Contains(d.file.Dependency, path) {
			d.file.Dependency = append(d.file.Dependency, path)
		}
	}
	return p
}

// fieldNames returns the names that fields have in protobuf: what a tag says,
// else the name in Go with underscores. Names that differ only in
// case and underscores are the same to proto3; the later gets a number.
func fieldNames(fields []field) []string {
	names := make([]string, len(fields))
	used := make(map[string]bool)
	fold := func(name string) string { return strings.ToLower(strings.ReplaceAll(name, "_", "")) }
	for i := range fields {
		f := &fields[i]
		base := f.proto
		if !isIdent(base) {
			base = snake(f.name)
		}
		if !isIdent(base) || fold(base) == "" {
			base = fmt.Sprintf("field_%d", f.number)
		}
		name := base
		// The entry of a map is a message beside the fields.
		for n := 2; used[fold(name)] || f.mode == mapping && used[fold(entryName(name))]; n++ {
			name = fmt.Sprintf("%s_%d", base, n)
		}
		used[fold(name)] = true
		if f.mode == mapping {
			used[fold(entryName(name))] = true
		}
		names[i] = name
	}
	return names
}

// entryName is the name that protobuf demands of the message of a map's entries.
func entryName(field string) string {
	var b strings.Builder
	for word := range strings.SplitSeq(field, "_") {
		if word != "" {
			b.WriteString(strings.ToUpper(word[:1]) + word[1:])
		}
	}
	return b.String() + "Entry"
}

// isIdent reports whether name is an identifier of protobuf.
func isIdent(name string) bool {
	for i, c := range name {
		if c != '_' && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return name != ""
}

// snake turns UserID into user_id. What an identifier cannot hold goes.
func snake(name string) string {
	var b strings.Builder
	runes := []rune(name)
	for i, c := range runes {
		upper := unicode.IsUpper(c)
		if upper && i > 0 && (!unicode.IsUpper(runes[i-1]) || i+1 < len(runes) && unicode.IsLower(runes[i+1])) {
			b.WriteByte('_')
		}
		if c = unicode.ToLower(c); isIdent("_" + string(c)) {
			b.WriteRune(c)
		}
	}
	return strings.Trim(b.String(), "_")
}

// typeName turns the name of a Go type into an identifier: the type
// Page[example.org/shop.Item] is Page_Item.
func typeName(name string) string {
	words := strings.FieldsFunc(name, func(c rune) bool { return strings.ContainsRune("[],{}*() ;\"", c) })
	for i, word := range words {
		word = word[strings.LastIndexAny(word, "./")+1:]
		words[i] = strings.Map(func(c rune) rune {
			if !isIdent("_" + string(c)) {
				return -1
			}
			return c
		}, word)
	}
	words = slices.DeleteFunc(words, func(w string) bool { return w == "" })
	if out := strings.Join(words, "_"); isIdent(out) {
		return out
	}
	return ""
}
