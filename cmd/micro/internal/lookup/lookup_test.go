package lookup_test

import (
	"slices"
	"testing"

	"github.com/seed-9a4e2794/micro/cmd/micro/internal/lookup"
)

func TestAnEndpointIsFoundByItsNameInAnyCaseOrItsMethodWhenThatIsUnique(t *testing.T) {
	have := []string{"Greeter.Hello", "Greeter.Bye", "Admin.Bye", "hello.HELLO", "Plain", "Twice.a", "twice.A"}
	for _, tt := range []struct {
		name, want string
		several    []string
	}{
		{name: "Greeter.Hello", want: "Greeter.Hello"},
		{name: "greeter.hello", want: "Greeter.Hello"},
		{name: "Admin.bye", want: "Admin.Bye"},
		{name: "plain", want: "Plain"},
		{name: "Bye", several: []string{"Greeter.Bye", "Admin.Bye"}},
		{name: "hello", several: []string{"Greeter.Hello", "hello.HELLO"}},
		{name: "Twice.a", want: "Twice.a"},
		{name: "TWICE.A", several: []string{"Twice.a", "twice.A"}},
		{name: "Greeter"},
		{name: ""},
	} {
		got, several := lookup.Endpoint(have, tt.name)
		if got != tt.want || !slices.Equal(several, tt.several) {
			t.Errorf("%q is %q %q, want %q %q", tt.name, got, several, tt.want, tt.several)
		}
	}
}

func TestTheNearestNameIsFound(t *testing.T) {
	for _, tt := range []struct {
		name  string
		names []string
		want  string
	}{
		{"greter", []string{"mailer", "greeter", "orders"}, "greeter"},
		{"Helo", []string{"Greeter.Bye", "Greeter.Hello"}, "Greeter.Hello"},
		{"nme", []string{"age", "name"}, "name"},
		{"naem", []string{"names", "name"}, "name"},
		{"lst", []string{"list", "get"}, "list"},
		{"zebra", []string{"greeter", "mailer"}, ""},
		{"x", []string{"y"}, ""},
		{"", []string{"a"}, ""},
		{"größe", []string{"grösse", "name"}, "grösse"},
	} {
		if got := lookup.Nearest(tt.name, tt.names); got != tt.want {
			t.Errorf("nearest to %q is %q, want %q", tt.name, got, tt.want)
		}
	}
}
