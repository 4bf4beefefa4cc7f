package client

import (
	"fmt"

	"github.com/seed-9a4e2794/micro/registry"
	"github.com/seed-9a4e2794/micro/transport"
)

// target is where a connection goes: an address, and how it is spoken to.
type target struct {
	addr     string
	protocol string // "" is what the transport speaks by itself, the native wire
	secure   bool   // the node takes TLS only
}

// target returns how to call a node: in the protocol that the caller chose, or
// else as the node's metadata says.
func (w *work) target(node *registry.Node) target {
	t := target{addr: node.Address, protocol: ProtocolOf(w.opts.Protocol), secure: node.Metadata[registry.SecureKey] == "true"}
	if t.protocol == "" {
		t.protocol = protocolOf(node.Metadata)
	}
	if t.protocol == native {
		t.protocol = ""
	}
	return t
}

// ProtocolOf returns the protocol that a name of WithProtocol stands for: go-micro
// says "http" for "connect", and "rpc" for what the node's metadata says, which is
// "". Every other name is its own.
func ProtocolOf(name string) string {
	switch name {
	case "rpc":
		return ""
	case "http":
		return connect
	}
	return name
}

// The names of protocols that metadata leads to.
const (
	connect    = "connect"
	native     = "micro"
	mucp       = "mucp"
	mucpLegacy = "mucp-legacy"
	grpc       = "grpc"
)

// protocolOf returns the protocol of a node by its metadata, "" for the native
// wire. A node without a word about it is one that was configured by hand. One
// that go-micro registered before it named its protocol is called in the form
// of that time.
func protocolOf(md map[string]string) string {
	if len(md) == 0 || md[registry.WireKey] == registry.Wire {
		return ""
	}
	if p := ProtocolOf(md[registry.ProtocolKey]); p != "" {
		return p
	}
	switch {
	case md["transport"] == "grpc" || md["server"] == "grpc":
		return grpc
	case md["transport"] == "http", md["server"] == mucp, md["server"] == "rpc":
		return mucpLegacy
	}
	return ""
}

// dialer returns what dials a target.
func (p *parts) dialer(t target) (transport.Transport, error) {
	if t.protocol == "" && !t.secure {
		return p.transport, nil
	}
	many, ok := p.transport.(transport.Protocols)
	if !ok {
		if t.protocol == "" { // its own TLS, if it has any, has to do
			return p.transport, nil
		}
		return nil, fmt.Errorf("%w: %s speaks %q, and the client's transport %T only its own protocol", transport.ErrUnreachable, t.addr, t.protocol, p.transport)
	}
	name := t.protocol
	if name == "" {
		name = native
	}
	d, err := many.Protocol(name, t.secure)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", transport.ErrUnreachable, t.addr, err)
	}
	return d, nil
}
