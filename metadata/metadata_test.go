package metadata_test

import (
	"context"
	"slices"
	"testing"

	"github.com/seed-9a4e2794/micro/metadata"
)

func TestMapViewHasTitleCaseKeys(t *testing.T) {
	for _, tt := range []struct{ key, want string }{
		{"x-user-id", "X-User-Id"},
		{"X-USER-ID", "X-User-Id"},
		{"X-User-Id", "X-User-Id"},
		{"trace", "Trace"},
		{"x-1abc", "X-1abc"},
		{"a--b", "A--B"},
		{"Micro-Topic", "Micro-Topic"},
		{"key_with_underscore", "Key_with_underscore"},
		{"", ""},
	} {
		ctx := metadata.NewContext(context.Background(), metadata.Metadata{tt.key: "v"})
		md, ok := metadata.FromContext(ctx)
		if !ok || len(md) != 1 || md[tt.want] != "v" {
			t.Errorf("key %q came back as %v, want %q", tt.key, md, tt.want)
		}
	}
}

func TestWireFormHasLowerCaseKeys(t *testing.T) {
	ctx := metadata.NewContext(context.Background(), metadata.Metadata{"X-User-Id": "7"})
	h, ok := metadata.HeaderFromContext(ctx)
	if !ok || len(h) != 1 || h[0] != (metadata.Field{Key: "x-user-id", Value: "7"}) {
		t.Errorf("header %v, want one field x-user-id: 7", h)
	}
}

func TestMapViewTakesTheFirstValueAndValuesGivesAll(t *testing.T) {
	var h metadata.Header
	h.Add("X-Tag", "one")
	h.Add("other", "o")
	h.Add("x-tag", "two")
	h.Add("X-TAG", "three")
	ctx := metadata.NewHeaderContext(context.Background(), h)

	md, _ := metadata.FromContext(ctx)
	if md["X-Tag"] != "one" || len(md) != 2 {
		t.Errorf("map view %v, want the first value of X-Tag and of Other", md)
	}
	if v, ok := metadata.Get(ctx, "X-tAG"); !ok || v != "one" {
		t.Errorf("Get gave %q, %t, want the first value", v, ok)
	}
	if vs := metadata.Values(ctx, "X-tAG"); !slices.Equal(vs, []string{"one", "two", "three"}) {
		t.Errorf("Values gave %q, want all in the order sent", vs)
	}
	if vs := metadata.Values(ctx, "absent"); vs != nil {
		t.Errorf("Values of an absent key gave %q, want nil", vs)
	}
}

func TestGetIgnoresTheCaseOfKeys(t *testing.T) {
	md := metadata.Metadata{"X-User-Id": "title", "x-raw": "lower", "X-SHOUT": "upper"}
	for _, tt := range []struct{ key, want string }{
		{"X-User-Id", "title"}, {"x-user-id", "title"}, {"X-USER-ID", "title"},
		{"X-Raw", "lower"}, {"x-raw", "lower"}, {"X-RAW", "lower"},
		{"x-shout", "upper"}, {"X-Shout", "upper"},
	} {
		if v, ok := md.Get(tt.key); !ok || v != tt.want {
			t.Errorf("Get(%q) = %q, %t, want %q", tt.key, v, ok, tt.want)
		}
	}
	if v, ok := md.Get("X-Use"); ok {
		t.Errorf("Get of an absent key gave %q", v)
	}
	if v, ok := metadata.Metadata(nil).Get("x"); ok {
		t.Errorf("Get of a nil map gave %q", v)
	}
}

func TestSetAndDeleteOfAMapRemoveOtherSpellings(t *testing.T) {
	md := metadata.Metadata{"x-user": "1", "X-USER": "2", "Keep": "k"}
	md.Set("x-User", "3")
	if len(md) != 2 || md["X-User"] != "3" || md["Keep"] != "k" {
		t.Errorf("after Set: %v, want X-User 3 and Keep k", md)
	}
	md["x-user"] = "4"
	md.Delete("X-USER")
	if len(md) != 1 || md["Keep"] != "k" {
		t.Errorf("after Delete: %v, want Keep only", md)
	}
}

func TestNewContextCopiesAndReplaces(t *testing.T) {
	md := metadata.Metadata{"A": "1"}
	ctx := metadata.NewContext(context.Background(), metadata.Metadata{"Old": "gone"})
	ctx = metadata.NewContext(ctx, md)
	md["A"], md["B"] = "changed", "added"

	got, _ := metadata.FromContext(ctx)
	if len(got) != 1 || got["A"] != "1" {
		t.Errorf("context carries %v, want A 1 as it was when NewContext was called", got)
	}
	got["A"] = "changed"
	if again, _ := metadata.FromContext(ctx); again["A"] != "1" {
		t.Errorf("a change to the map handed out is seen in the context: %v", again)
	}
}

func TestCopySharesNothing(t *testing.T) {
	md := metadata.Metadata{"A": "1"}
	c := metadata.Copy(md)
	c["A"] = "2"
	if md["A"] != "1" {
		t.Error("a change to the copy is seen in the original")
	}
	if c := metadata.Copy(nil); c == nil || len(c) != 0 {
		t.Errorf("Copy(nil) = %v, want an empty map that can be written to", c)
	}
}

func TestAContextWithoutMetadataSaysSo(t *testing.T) {
	ctx := context.Background()
	if md, ok := metadata.FromContext(ctx); ok || md != nil {
		t.Errorf("FromContext = %v, %t", md, ok)
	}
	if h, ok := metadata.HeaderFromContext(ctx); ok || h != nil {
		t.Errorf("HeaderFromContext = %v, %t", h, ok)
	}
	if v, ok := metadata.Get(ctx, "a"); ok {
		t.Errorf("Get = %q", v)
	}
	if md, ok := metadata.FromContext(metadata.NewContext(ctx, nil)); !ok || len(md) != 0 {
		t.Errorf("empty metadata came back as %v, %t, want empty and present", md, ok)
	}
}

func TestMergeContextOverwritesOnlyWhenAsked(t *testing.T) {
	var h metadata.Header
	h.Add("a", "1")
	h.Add("a", "2")
	h.Add("b", "b")
	base := metadata.NewHeaderContext(context.Background(), h)
	patch := metadata.Metadata{"A": "new", "C": "c"}

	kept := metadata.MergeContext(base, patch, false)
	if vs := metadata.Values(kept, "a"); !slices.Equal(vs, []string{"1", "2"}) {
		t.Errorf("without overwrite a is %q, want what it was", vs)
	}
	over := metadata.MergeContext(base, patch, true)
	if vs := metadata.Values(over, "a"); !slices.Equal(vs, []string{"new"}) {
		t.Errorf("with overwrite a is %q, want the new value only", vs)
	}
	for _, ctx := range []context.Context{kept, over} {
		if v, _ := metadata.Get(ctx, "b"); v != "b" {
			t.Errorf("b is %q, want it untouched", v)
		}
		if v, _ := metadata.Get(ctx, "c"); v != "c" {
			t.Errorf("c is %q, want it added", v)
		}
	}
	if vs := metadata.Values(base, "a"); !slices.Equal(vs, []string{"1", "2"}) {
		t.Errorf("the context merged from now has a %q", vs)
	}
	if v, ok := metadata.Get(metadata.MergeContext(context.Background(), patch, false), "c"); !ok || v != "c" {
		t.Errorf("merged into a bare context c is %q, %t", v, ok)
	}
}

func TestSetLeavesTheParentContextAlone(t *testing.T) {
	parent := metadata.NewContext(context.Background(), metadata.Metadata{"A": "1"})
	one := metadata.Set(parent, "B", "one")
	two := metadata.Set(parent, "B", "two")
	replaced := metadata.Set(parent, "a", "2")

	if _, ok := metadata.Get(parent, "b"); ok {
		t.Error("the parent has got the child's key")
	}
	for _, tt := range []struct {
		ctx       context.Context
		key, want string
	}{{one, "b", "one"}, {two, "b", "two"}, {one, "a", "1"}, {replaced, "a", "2"}, {parent, "a", "1"}} {
		if vs := metadata.Values(tt.ctx, tt.key); !slices.Equal(vs, []string{tt.want}) {
			t.Errorf("%s is %q, want %q alone", tt.key, vs, tt.want)
		}
	}
}

func TestBinaryValuesAreUntouched(t *testing.T) {
	raw := string([]byte{0, 1, 0xff, 0xfe, '\r', '\n', ',', ' ', 0x80})
	ctx := metadata.NewContext(context.Background(), metadata.Metadata{"Trace-Bin": raw})
	ctx = metadata.MergeContext(ctx, metadata.Metadata{"Other": "x"}, true)
	if v, ok := metadata.Get(ctx, "trace-bin"); !ok || v != raw {
		t.Errorf("Get gave %q, want %q", v, raw)
	}
	md, _ := metadata.FromContext(ctx)
	if md["Trace-Bin"] != raw {
		t.Errorf("map view gave %q, want %q", md["Trace-Bin"], raw)
	}
}

func TestHeaderKeepsOrderAndRepeats(t *testing.T) {
	var h metadata.Header
	if _, ok := h.Get("a"); ok {
		t.Error("the zero Header has a value")
	}
	h.Add("A", "1")
	h.Add("b", "2")
	h.Add("a", "3")
	want := metadata.Header{{Key: "a", Value: "1"}, {Key: "b", Value: "2"}, {Key: "a", Value: "3"}}
	if !slices.Equal(h, want) {
		t.Fatalf("header %v, want %v", h, want)
	}
	c := h.Clone()
	c.Set("A", "4")
	if want := (metadata.Header{{Key: "b", Value: "2"}, {Key: "a", Value: "4"}}); !slices.Equal(c, want) {
		t.Errorf("after Set: %v, want %v", c, want)
	}
	c.Del("B")
	if want := (metadata.Header{{Key: "a", Value: "4"}}); !slices.Equal(c, want) {
		t.Errorf("after Del: %v, want %v", c, want)
	}
	if !slices.Equal(h, want) {
		t.Errorf("changes to the clone are seen in the original: %v", h)
	}
}

// A program that reads many headers a call must not pay for those it does not
// change.
func TestReadingAKeyAllocatesNothing(t *testing.T) {
	var h metadata.Header
	h.Add("micro-topic", "t")
	h.Add("x-user-id", "7")
	ctx := metadata.NewHeaderContext(context.Background(), h)
	if n := testing.AllocsPerRun(100, func() { metadata.Get(ctx, "X-User-Id") }); n != 0 {
		t.Errorf("Get allocates %v times", n)
	}
}
