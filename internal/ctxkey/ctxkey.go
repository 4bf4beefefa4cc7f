// Package ctxkey names the context keys that more than one floor of the house
// must know: the packages that own a value read and write it through these
// types, and a transport's own context answers them without a map.
package ctxkey

// Header is the key of the call's metadata, a *metadata.Header.
type Header struct{}

// Reply is the key of a *metadata.Reply, where a handler's reply header and
// trailer are gathered.
type Reply struct{}

// Peer is the key of a transport.Peer: who is at the other end.
type Peer struct{}
