package http

import (
	"context"
	nethttp "net/http"
	"sync"

	"github.com/seed-9a4e2794/micro/internal/ctxkey"
	"github.com/seed-9a4e2794/micro/metadata"
	"github.com/seed-9a4e2794/micro/transport"
)

// callContext is the context of a handler. What the call carries is made when
// it is asked for.
type callContext struct {
	context.Context
	request  nethttp.Header
	protocol string
	reply    metadata.Reply

	once   sync.Once
	header metadata.Header
	peer   transport.Peer
}

// Value answers for what a call carries.
func (c *callContext) Value(key any) any {
	switch key.(type) {
	case ctxkey.Header:
		c.once.Do(c.make)
		return &c.header
	case ctxkey.Reply:
		return &c.reply
	case ctxkey.Peer:
		c.once.Do(c.make)
		return &c.peer
	}
	return c.Context.Value(key)
}

// make makes what is asked for seldom.
func (c *callContext) make() {
	c.header = fromHTTP(c.request)
	if p, ok := c.Context.Value(ctxkey.Peer{}).(*connPeer); ok {
		c.peer = p.get()
	}
	c.peer.Protocol = c.protocol
}

// protocolName returns the name that this project has for one of connect's.
func protocolName(connectName string) string {
	switch connectName {
	case "grpcweb":
		return string(GRPCWeb)
	case "grpc":
		return string(GRPC)
	}
	return string(Connect)
}
