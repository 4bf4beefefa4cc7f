package codecs

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/seed-9a4e2794/micro/codec"
	"github.com/seed-9a4e2794/micro/codec/bytes"
)

// shout is a codec that is not built in.
type shout struct{ bytes.Codec }

func (shout) Name() string { return "application/shout" }

func newShout() codec.Codec { return shout{} }

func TestContentTypeFollowsTheValueUnlessChosen(t *testing.T) {
	table := New(map[string]codec.NewCodec{"Application/Shout": newShout})
	for _, k := range []struct {
		ctype string
		value any
		want  string
	}{
		{"", wrapperspb.String(""), codec.Proto},
		{"", &struct{}{}, codec.JSON},
		{"", nil, codec.JSON},
		{"", []byte(nil), codec.Bytes},
		{"", &bytes.Frame{}, codec.Bytes},
		{codec.JSON, wrapperspb.String(""), codec.JSON},
		{"application/json; charset=utf-8", &struct{}{}, codec.JSON},
		{"Application/JSON", &struct{}{}, codec.JSON},
		{"application/shout", &struct{}{}, "application/shout"},
		{"APPLICATION/SHOUT;v=1", &struct{}{}, "application/shout"},
		{codec.Proto, &bytes.Frame{}, codec.Proto}, // raw, under that name
		{"application/shout", bytes.Frame{}, "application/shout"},
	} {
		c, err := table.Find(k.ctype, k.value)
		if err != nil || c.Name() != k.want {
			t.Errorf("%q for %T gave %v, %v", k.ctype, k.value, c, err)
		}
	}
	_, err := table.Find("text/odd", nil)
	if err == nil || !strings.Contains(err.Error(), `"text/odd"`) ||
		!strings.Contains(err.Error(), "application/json, application/octet-stream, application/protobuf, application/shout") {
		t.Errorf("got %v", err)
	}
}

func TestRawFramesGoThroughAnyEncodingUnchanged(t *testing.T) {
	for _, ctype := range []string{codec.JSON, codec.Proto, codec.Bytes} {
		c, err := Table{}.Find(ctype, &bytes.Frame{})
		if err != nil {
			t.Fatal(err)
		}
		b, err := c.Append(nil, &bytes.Frame{Data: []byte("{raw")})
		var back bytes.Frame
		if err != nil || c.Unmarshal(b, &back) != nil || string(back.Data) != "{raw" {
			t.Errorf("%s: %q, %v", ctype, b, err)
		}
	}
}

func TestTheTablesOwnCodecsComeFirst(t *testing.T) {
	c, err := New(map[string]codec.NewCodec{codec.JSON: newShout}).Find(codec.JSON, &struct{}{})
	if err != nil || c.Name() != "application/shout" {
		t.Errorf("got %v, %v", c, err)
	}
}
