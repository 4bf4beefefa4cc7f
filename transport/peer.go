package transport

import (
	"context"

	"github.com/seed-9a4e2794/micro/internal/ctxkey"
)

// Peer says who is at the other end of a call.
type Peer struct {
	// Local and Remote are the addresses of the connection.
	Local  string
	Remote string
	// Protocol names the protocol of the connection, such as "micro".
	Protocol string
}

// PeerFromContext returns the peer of the call that ctx belongs to.
func PeerFromContext(ctx context.Context) (*Peer, bool) {
	p, ok := ctx.Value(ctxkey.Peer{}).(*Peer)
	return p, ok && p != nil
}
