// Package http carries calls over HTTP: gRPC, gRPC-Web, Connect and plain JSON
// for callers of a service, and gRPC, Connect and go-micro's wire towards
// nodes that do not speak the native wire.
//
// A [Handler] answers all these protocols on one address; what a request
// speaks is told by its headers. The protocols are those of
// https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md,
// https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-WEB.md and
// https://connectrpc.com/docs/protocol.
package http

import (
	"crypto/tls"
	"log/slog"
	"time"
)

// Config holds the limits of the transport. The zero Config is usable: each
// zero field stands for its default.
type Config struct {
	// Protocol is what Dial speaks. Default GRPC.
	Protocol Protocol
	// MaxMessage is the largest encoded message taken or sent, in bytes.
	// Default 4 MiB.
	MaxMessage int
	// MaxHeader is the largest header of a request, in bytes. Default 64 KiB.
	MaxHeader int
	// MaxCalls is the largest number of calls at once on one connection.
	// Default 1,024.
	MaxCalls int
	// CompressMin is the size in bytes from which on an answer is compressed
	// for a caller that takes gzip. Default 4 KiB; negative never.
	CompressMin int
	// HelloTimeout is how long a caller may take for the header of its first
	// request. Default 5 s.
	HelloTimeout time.Duration
	// StallTimeout is how long the body of a unary request may take over
	// HTTP/1.1, how long a connection may take none of what is sent to it, and
	// how long a caller over HTTP/2 may take none of a large unary answer.
	// Default 20 s.
	StallTimeout time.Duration
	// IdleTimeout is how long a connection without calls is kept. Default 3
	// minutes.
	IdleTimeout time.Duration
	// DialTimeout bounds connecting where the context does not. Default 5 s.
	DialTimeout time.Duration
	// TLS makes Dial encrypt. It is called for each connection, so that
	// certificates can change; nil is plain text.
	TLS func() *tls.Config
	// Logger gets what no caller can be told. Default slog.Default.
	Logger *slog.Logger
}

// Protocol is a protocol over HTTP.
type Protocol string

// The protocols that Dial speaks.
const (
	GRPC    Protocol = "grpc"
	GRPCWeb Protocol = "grpc-web"
	Connect Protocol = "connect"
	// MUCP is go-micro's wire, MUCPLegacy the same with the method named in
	// the body, for nodes registered without a protocol.
	MUCP       Protocol = "mucp"
	MUCPLegacy Protocol = "mucp-legacy"
)

func (c Config) withDefaults() Config {
	def := func(v *int, d int) {
		if *v <= 0 {
			*v = d
		}
	}
	def(&c.MaxMessage, 4<<20)
	def(&c.MaxHeader, 64<<10)
	def(&c.MaxCalls, 1024)
	if c.CompressMin == 0 {
		c.CompressMin = 4 << 10
	}
	for _, d := range [...]struct {
		v *time.Duration
		d time.Duration
	}{{&c.HelloTimeout, 5 * time.Second}, {&c.StallTimeout, 20 * time.Second}, {&c.IdleTimeout, 3 * time.Minute}, {&c.DialTimeout, 5 * time.Second}} {
		if *d.v <= 0 {
			*d.v = d.d
		}
	}
	if c.Protocol == "" {
		c.Protocol = GRPC
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}
