package wire

import (
	"context"
	"strings"

	"github.com/seed-9a4e2794/micro/metadata"
)

// setReply sets a reply header of n bytes.
func setReply(ctx context.Context, n int) {
	_ = metadata.SetHeader(ctx, "x-large", strings.Repeat("x", n)) // inside a call it cannot fail
}
