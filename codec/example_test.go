package codec_test

import (
	"fmt"
	"slices"
	"strings"

	"github.com/seed-9a4e2794/micro/codec"
)

// lines is a codec of a program's own: a []string as lines of text.
type lines struct{}

var _ codec.Codec = lines{}

func (lines) Name() string { return "text/plain" }

func (lines) Append(dst []byte, v any) ([]byte, error) {
	s, ok := v.([]string)
	if !ok {
		return dst, fmt.Errorf("lines: encode %T: %w", v, codec.ErrType)
	}
	return append(dst, strings.Join(s, "\n")...), nil
}

func (lines) Unmarshal(data []byte, v any) error {
	s, ok := v.(*[]string)
	if !ok {
		return fmt.Errorf("lines: decode into %T: %w", v, codec.ErrType)
	}
	*s = slices.Collect(strings.SplitSeq(string(data), "\n"))
	return nil
}

// A program adds an encoding by writing its Codec and putting it into the
// tables of client and server under its content type.
func Example() {
	codecs := map[string]codec.NewCodec{"text/plain": func() codec.Codec { return lines{} }}

	c := codecs["text/plain"]()
	body, err := c.Append(nil, []string{"one", "two"})
	fmt.Printf("%q %v\n", body, err)

	_, err = c.Append(nil, 42)
	fmt.Println(err)
	// Output:
	// "one\ntwo" <nil>
	// lines: encode int: codec: the value has no form in this encoding
}
