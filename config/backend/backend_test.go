package backend

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/seed-9a4e2794/micro/broker"
	"github.com/seed-9a4e2794/micro/registry"
	"github.com/seed-9a4e2794/micro/transport"
)

var errMade = errors.New("this one was asked, with its config")

// asked returns a list whose functions say which of them was asked.
func asked(t *testing.T) (List, *[]string) {
	var who []string
	note := func(name string, c Config) error {
		if !slices.Equal(c.Addresses, []string{"x:1"}) {
			t.Errorf("%s was given %v", name, c.Addresses)
		}
		who = append(who, name)
		return errMade
	}
	reg := func(name string) func(Config) (registry.Registry, error) {
		return func(c Config) (registry.Registry, error) { return nil, note(name+" registry", c) }
	}
	brk := func(name string) func(Config) (broker.Broker, error) {
		return func(c Config) (broker.Broker, error) { return nil, note(name+" broker", c) }
	}
	trn := func(name string) func(Config) (transport.Transport, error) {
		return func(c Config) (transport.Transport, error) { return nil, note(name+" transport", c) }
	}
	return List{
		{Name: "b", Registry: reg("b")},
		{Name: "a", Registry: reg("a"), Broker: brk("a")},
		{Name: "a", Registry: reg("second a"), Transport: trn("second a")},
	}, &who
}

func TestTheFirstOfANameThatHasThePartMakesIt(t *testing.T) {
	l, who := asked(t)
	cfg := Config{Addresses: []string{"x:1"}}
	var errs []error
	_, err := l.Registry("a", cfg)
	errs = append(errs, err)
	_, err = l.Broker("a", cfg)
	errs = append(errs, err)
	_, err = l.Transport("a", cfg)
	errs = append(errs, err)
	for _, err := range errs {
		if !errors.Is(err, errMade) {
			t.Errorf("got %v", err)
		}
	}
	if want := []string{"a registry", "a broker", "second a transport"}; !slices.Equal(*who, want) {
		t.Errorf("asked %q, want %q", *who, want)
	}
}

func TestAnUnknownNameListsThoseThatHaveThePart(t *testing.T) {
	l, who := asked(t)
	_, reg := l.Registry("x", Config{})
	_, brk := l.Broker("b", Config{}) // b has no broker
	_, trn := l.Transport("x", Config{})
	for _, tt := range []struct {
		err  error
		want string
	}{
		{reg, `no registry is called "x" here (available: a, b); `},
		{brk, `no broker is called "b" here (available: a, direct); `},
		{trn, `no transport is called "x" here (available: a); `},
	} {
		if tt.err == nil || !strings.HasPrefix(tt.err.Error(), tt.want) || !strings.Contains(tt.err.Error(), "micro.Backends") {
			t.Errorf("got %v, want %q", tt.err, tt.want)
		}
	}
	if len(*who) != 0 {
		t.Errorf("asked %q", *who)
	}
}
