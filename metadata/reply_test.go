package metadata_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/seed-9a4e2794/micro/internal/ctxkey"
	"github.com/seed-9a4e2794/micro/internal/leaktest"
	"github.com/seed-9a4e2794/micro/metadata"
)

// handler returns a context as a transport gives it to a handler.
func handler() (context.Context, *metadata.Reply) {
	r := new(metadata.Reply)
	return context.WithValue(context.Background(), ctxkey.Reply{}, r), r
}

func TestReplyMetadataOutsideAHandlerIsErrNoReply(t *testing.T) {
	nilReply := context.WithValue(context.Background(), ctxkey.Reply{}, (*metadata.Reply)(nil))
	for name, ctx := range map[string]context.Context{"bare": context.Background(), "nil reply": nilReply} {
		if err := metadata.SetHeader(ctx, "a", "1"); !errors.Is(err, metadata.ErrNoReply) {
			t.Errorf("%s: SetHeader returned %v, want ErrNoReply", name, err)
		}
		if err := metadata.SetTrailer(ctx, "a", "1"); !errors.Is(err, metadata.ErrNoReply) {
			t.Errorf("%s: SetTrailer returned %v, want ErrNoReply", name, err)
		}
	}
}

func TestReplyGathersHeaderAndTrailer(t *testing.T) {
	ctx, r := handler()
	child, cancel := context.WithCancel(ctx)
	defer cancel()
	for _, err := range []error{
		metadata.SetHeader(ctx, "X-One", "1", "2"),
		metadata.SetHeader(child, "x-one", "3"),
		metadata.SetTrailer(child, "X-End", "t"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if vs := r.Header().Values("x-one"); !slices.Equal(vs, []string{"1", "2", "3"}) {
		t.Errorf("header x-one is %q, want all three values in order", vs)
	}
	if _, ok := r.Header().Get("x-end"); ok {
		t.Error("the trailer's key stands in the header")
	}
	if vs := r.Trailer().Values("x-end"); !slices.Equal(vs, []string{"t"}) {
		t.Errorf("trailer x-end is %q, want t", vs)
	}
}

func TestHeaderAfterItHasLeftIsErrHeaderSent(t *testing.T) {
	ctx, r := handler()
	if err := metadata.SetHeader(ctx, "a", "1"); err != nil {
		t.Fatal(err)
	}
	sent := r.Header()
	if err := metadata.SetHeader(ctx, "a", "2"); !errors.Is(err, metadata.ErrHeaderSent) {
		t.Errorf("SetHeader returned %v, want ErrHeaderSent", err)
	}
	if vs := sent.Values("a"); !slices.Equal(vs, []string{"1"}) {
		t.Errorf("what was sent is now %q", vs)
	}
	if err := metadata.SetTrailer(ctx, "b", "2"); err != nil {
		t.Errorf("SetTrailer after the header has left: %v", err)
	}
	r.Trailer()
	if err := metadata.SetTrailer(ctx, "b", "3"); err != nil {
		t.Errorf("SetTrailer after the trailer was read: %v", err)
	}
	if vs := r.Trailer().Values("b"); !slices.Equal(vs, []string{"2", "3"}) {
		t.Errorf("trailer b is %q, want both values", vs)
	}
}

func TestReplyAndContextMayBeUsedConcurrently(t *testing.T) {
	leaktest.Check(t)
	ctx, r := handler()
	ctx = metadata.NewContext(ctx, metadata.Metadata{"Shared": "s"})

	const goroutines, rounds = 8, 100
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() {
			for i := range rounds {
				v := fmt.Sprintf("%d-%d", g, i)
				if err := metadata.SetHeader(ctx, "h", v); err != nil && !errors.Is(err, metadata.ErrHeaderSent) {
					t.Errorf("SetHeader: %v", err)
				}
				if err := metadata.SetTrailer(ctx, "t", v); err != nil {
					t.Errorf("SetTrailer: %v", err)
				}
				own := metadata.Set(ctx, "Own", v)
				if got, _ := metadata.Get(own, "own"); got != v {
					t.Errorf("own is %q, want %q", got, v)
				}
				if got, _ := metadata.Get(own, "shared"); got != "s" {
					t.Errorf("shared is %q", got)
				}
				for _, f := range r.Trailer() {
					if f.Key != "t" {
						t.Errorf("trailer holds %v", f)
					}
				}
				if g == 0 && i == rounds/2 {
					r.Header()
				}
			}
		})
	}
	wg.Wait()
	if n := len(r.Trailer()); n != goroutines*rounds {
		t.Errorf("trailer holds %d fields, want %d", n, goroutines*rounds)
	}
	if n := len(r.Header()); n < rounds/2 {
		t.Errorf("header holds %d fields, want at least the %d that goroutine 0 set before it left", n, rounds/2)
	}
}
