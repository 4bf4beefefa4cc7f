package server_test

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/seed-9a4e2794/micro/server"
)

type (
	tree    map[string]tree
	list    []list
	pointed *pointed
	words   []string
)

type nested struct {
	Tree  tree
	List  list
	Self  pointed
	Words words
	Raw   json.RawMessage
	Plain map[string][]*int
}

func TestTypesThatContainThemselvesAreDescribed(t *testing.T) {
	h := server.Typed("Greeter.Nested", func(context.Context, *nested) (*nested, error) { return nil, nil })
	got := make(map[string]string)
	for _, v := range h.Endpoints()[0].Request.Values {
		got[v.Name] = v.Type
	}
	for name, typ := range map[string]string{"Tree": "tree", "List": "list", "Self": "pointed", "Words": "words", "Raw": "RawMessage", "Plain": "map[string][]int"} {
		if got[name] != typ {
			t.Errorf("%s is described as %q, want %q", name, got[name], typ)
		}
	}
}
