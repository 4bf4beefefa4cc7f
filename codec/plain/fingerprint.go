package plain

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"google.golang.org/protobuf/types/descriptorpb"
)

// Fingerprint returns 16 hexadecimal digits made from the names in JSON, the
// kinds and the numbers of all fields, those of nested structs included, however
// they reach one another. Equal layouts have equal fingerprints: the names of
// the types do not count, nor, where there are tags, the order of the fields.
// Two layouts that differ have different ones, but for a chance of one in 2^64.
//
// Which fields share a type does count, so that two spellings of one wire form
// may differ; that is the safe side.
func (s *Schema) Fingerprint() string { return s.fingerprint() }

func (s *Schema) hash() string {
	file := new(descriptorpb.FileDescriptorProto)
	d := describer{file: file, names: make(map[reflect.Type]string)}
	return layout(file, d.message(s, "Message"))
}

// layout is the fingerprint of a message of the file.
func layout(file *descriptorpb.FileDescriptorProto, name string) string {
	p := printer{messages: make(map[string]*descriptorpb.DescriptorProto), seen: make(map[string]int)}
	prefix := "."
	if file.GetPackage() != "" {
		prefix += file.GetPackage() + "."
	}
	p.collect(prefix, file.MessageType)
	p.print(name)
	sum := sha256.Sum256([]byte(p.text.String()))
	return fmt.Sprintf("%x", sum[:8])
}

// printer writes a message and what it reaches as text without the names of
// messages.
type printer struct {
	messages map[string]*descriptorpb.DescriptorProto // of the file, by full name
	seen     map[string]int
	text     strings.Builder
}

func (p *printer) collect(prefix string, ms []*descriptorpb.DescriptorProto) {
	for _, m := range ms {
		p.messages[prefix+m.GetName()] = m
		p.collect(prefix+m.GetName()+".", m.NestedType)
	}
}

func (p *printer) print(name string) {
	m := p.messages[name]
	if m == nil {
		p.text.WriteString(name) // it is of another file, where names are fixed
		return
	}
	if n, ok := p.seen[name]; ok {
		fmt.Fprintf(&p.text, "#%d", n)
		return
	}
	p.seen[name] = len(p.seen)
	fmt.Fprintf(&p.text, "{map %t ", m.GetOptions().GetMapEntry())
	fields := slices.SortedFunc(slices.Values(m.Field), func(a, b *descriptorpb.FieldDescriptorProto) int {
		return cmp.Compare(a.GetNumber(), b.GetNumber())
	})
	for _, f := range fields {
		fmt.Fprintf(&p.text, "%d %q %d %d %t ", f.GetNumber(), f.GetJsonName(), f.GetLabel(), f.GetType(), f.GetProto3Optional())
		if f.TypeName != nil {
			p.print(f.GetTypeName())
		}
		p.text.WriteByte(';')
	}
	p.text.WriteByte('}')
}
