package bytes_test

import (
	"errors"
	"testing"

	"github.com/seed-9a4e2794/micro/codec"
	"github.com/seed-9a4e2794/micro/codec/bytes"
)

func TestNameIsTheContentType(t *testing.T) {
	if got := bytes.NewCodec().Name(); got != codec.Bytes {
		t.Errorf("Name() = %q, want %q", got, codec.Bytes)
	}
}

func TestBytesPassAsTheyAre(t *testing.T) {
	c := bytes.NewCodec()
	raw, text := []byte("a\x00\xff{"), "a\x00\xff{"
	for _, v := range []any{raw, &raw, text, &text, bytes.Frame{Data: raw}, &bytes.Frame{Data: raw}} {
		b, err := c.Append([]byte("prefix"), v)
		if err != nil || string(b) != "prefix"+text {
			t.Errorf("Append(%T) = %q, %v, want the prefix and the bytes", v, b, err)
		}
	}
	for _, v := range []any{nil, []byte(nil), (*[]byte)(nil), (*string)(nil), (*bytes.Frame)(nil), bytes.Frame{}} {
		b, err := c.Append([]byte("prefix"), v)
		if err != nil || string(b) != "prefix" {
			t.Errorf("Append(%T) = %q, %v, want nothing added", v, b, err)
		}
	}

	var s []byte
	var str string
	var f bytes.Frame
	for _, v := range []any{&s, &str, &f} {
		if err := c.Unmarshal(raw, v); err != nil {
			t.Errorf("Unmarshal into %T: %v", v, err)
		}
	}
	if string(s) != text || str != text || string(f.Data) != text {
		t.Errorf("came back as %q, %q, %q", s, str, f.Data)
	}
}

func TestDecodedBytesAreACopy(t *testing.T) {
	c := bytes.NewCodec()
	data := []byte("payload")
	var s []byte
	var f bytes.Frame
	for _, v := range []any{&s, &f} {
		if err := c.Unmarshal(data, v); err != nil {
			t.Fatal(err)
		}
	}
	clear(data)
	if string(s) != "payload" || string(f.Data) != "payload" {
		t.Errorf("changed with the buffer: %q, %q", s, f.Data)
	}
}

func TestEncodedBytesAreACopy(t *testing.T) {
	raw := []byte("payload")
	b, err := bytes.NewCodec().Append(nil, raw)
	if err != nil {
		t.Fatal(err)
	}
	clear(raw)
	if string(b) != "payload" {
		t.Errorf("changed with the value: %q", b)
	}
}

func TestDecodingUsesTheArrayAgain(t *testing.T) {
	c := bytes.NewCodec()
	f := bytes.Frame{Data: make([]byte, 3, 64)}
	first := &f.Data[0]
	if err := c.Unmarshal([]byte("payload"), &f); err != nil || string(f.Data) != "payload" {
		t.Fatalf("got %q, %v", f.Data, err)
	}
	if &f.Data[0] != first {
		t.Error("a new array was made though the old one had room")
	}
	if err := c.Unmarshal(nil, &f); err != nil || len(f.Data) != 0 {
		t.Errorf("empty data left %q, %v", f.Data, err)
	}
}

func TestOtherValuesAreErrType(t *testing.T) {
	c := bytes.NewCodec()
	for _, v := range []any{1, struct{}{}, []string{"a"}, map[string]string{}} {
		if b, err := c.Append([]byte("prefix"), v); !errors.Is(err, codec.ErrType) || string(b) != "prefix" {
			t.Errorf("Append(%T) = %q, %v, want codec.ErrType and the prefix", v, b, err)
		}
	}
	for _, v := range []any{nil, []byte{}, "", bytes.Frame{}, new(int), (*[]byte)(nil), (*string)(nil), (*bytes.Frame)(nil)} {
		if err := c.Unmarshal([]byte("x"), v); !errors.Is(err, codec.ErrType) {
			t.Errorf("Unmarshal into %T returned %v, want codec.ErrType", v, err)
		}
	}
}
