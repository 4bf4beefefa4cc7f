package metadata_test

import (
	"context"
	"fmt"

	"github.com/seed-9a4e2794/micro/metadata"
)

// A caller puts metadata into the context of its call; the handler reads it
// from its own.
func Example() {
	ctx := metadata.NewContext(context.Background(), metadata.Metadata{"X-User-Id": "42"})
	ctx = metadata.Set(ctx, "X-Trace", "abc")

	user, ok := metadata.Get(ctx, "x-user-id")
	fmt.Println(user, ok)

	md, _ := metadata.FromContext(ctx)
	fmt.Println(md["X-Trace"], len(md))
	// Output:
	// 42 true
	// abc 2
}

func ExampleMergeContext() {
	ctx := metadata.NewContext(context.Background(), metadata.Metadata{"Region": "eu"})
	defaults := metadata.Metadata{"Region": "us", "Tier": "free"}

	md, _ := metadata.FromContext(metadata.MergeContext(ctx, defaults, false))
	fmt.Println(md["Region"], md["Tier"])
	// Output: eu free
}

func ExampleHeader() {
	var h metadata.Header
	h.Add("X-Tag", "blue")
	h.Add("x-tag", "fast")
	fmt.Println(h.Values("X-TAG"))
	// Output: [blue fast]
}

// SetHeader works in a handler only: elsewhere there is no reply to add to.
func ExampleSetHeader() {
	err := metadata.SetHeader(context.Background(), "X-Served-By", "node-1")
	fmt.Println(err)
	// Output: metadata: the context is not that of a call being served
}
