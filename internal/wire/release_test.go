package wire

import (
	"bytes"
	"context"
	"testing"

	"github.com/seed-9a4e2794/micro/internal/leaktest"
	"github.com/seed-9a4e2794/micro/transport"
)

// TestReleasedBodiesAreOverwritten shows that with the tag wirepoison a body
// that is used after its release is found: a unary reply and a stream's
// message, small and large. Without the tag it checks
// that bodies are whole until their release.
func TestReleasedBodiesAreOverwritten(t *testing.T) {
	leaktest.Check(t)
	for _, size := range []int{100, 10_000, 40_000, 1 << 20} {
		want := bytes.Repeat([]byte("abcdefg"), size/7)
		whole := false
		l := listenTCP(t, Config{}, unaries{"Keep": func(_ context.Context, body transport.Body) (transport.Message, error) {
			whole = bytes.Equal(body.Data, want)
			return raw(body.Data), nil
		}}, func(s transport.Socket) {
			body, err := s.Recv()
			if err != nil {
				_ = s.Finish(nil, err)
				return
			}
			whole = bytes.Equal(body.Data, want)
			m := raw(body.Data)
			_ = s.Finish(&m, nil)
			body.Release()
		})
		c := callerOf(t, l, Config{})
		rsp, err := c.Call(context.Background(), ask("Keep", want))
		if err != nil || !whole || !bytes.Equal(rsp.Body.Data, want) {
			t.Fatalf("%d bytes: the request was whole: %v, the reply has %d bytes, %v", size, whole, len(rsp.Body.Data), err)
		}
		overwritten(t, "unary reply", size, rsp.Body)
		s := open(t, c)
		if err := s.Send(raw(want)); err != nil {
			t.Fatal(err)
		}
		body, err := s.Recv()
		if err != nil || !whole || !bytes.Equal(body.Data, want) {
			t.Fatalf("%d bytes: the stream's message was whole: %v, the reply has %d bytes, %v", size, whole, len(body.Data), err)
		}
		overwritten(t, "stream message", size, body)
		c.Close()
		l.Close()
	}
}

// overwritten releases a body and looks at it all the same.
func overwritten(t *testing.T, what string, size int, body transport.Body) {
	t.Helper()
	data := body.Data
	body.Release()
	if !poison || size > 1<<maxClass { // buffers beyond the pools are not used again
		return
	}
	if bytes.Count(data, []byte{0xDB}) != len(data) {
		t.Errorf("%s of %d bytes: after its release it is not overwritten", what, size)
	}
}
