package transport

import (
	"context"
	"crypto/tls"
	"crypto/x509"

	"github.com/seed-9a4e2794/micro/internal/ctxkey"
)

// Peer says who is at the other end of a call.
type Peer struct {
	// Local and Remote are the addresses of the connection.
	Local  string
	Remote string
	// Protocol names the protocol of the connection, such as "micro" or
	// "grpc".
	Protocol string
	// Secure is set when the connection is encrypted.
	Secure bool
	// Identity is who the peer has proven to be; nil when it has proven
	// nothing.
	Identity *Identity
}

// Identity is who a peer has proven to be. It is shared and must not be
// changed.
type Identity struct {
	// Name is the first of these that the certificate has: a URI (a SPIFFE id,
	// say), a DNS name, the common name of its subject.
	Name string
	// Chain is the verified chain of certificates, the peer's own first.
	Chain []*x509.Certificate
}

// PeerFromContext returns the peer of the call that ctx belongs to.
func PeerFromContext(ctx context.Context) (*Peer, bool) {
	p, ok := ctx.Value(ctxkey.Peer{}).(*Peer)
	return p, ok && p != nil
}

// NewIdentity returns the identity that a TLS connection proves, nil when the
// peer has shown no certificate or it was not verified.
func NewIdentity(state *tls.ConnectionState) *Identity {
	if state == nil || len(state.VerifiedChains) == 0 || len(state.VerifiedChains[0]) == 0 {
		return nil
	}
	chain := state.VerifiedChains[0]
	id := &Identity{Chain: chain, Name: chain[0].Subject.CommonName}
	switch leaf := chain[0]; {
	case len(leaf.URIs) > 0:
		id.Name = leaf.URIs[0].String()
	case len(leaf.DNSNames) > 0:
		id.Name = leaf.DNSNames[0]
	}
	return id
}
