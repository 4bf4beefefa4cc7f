// Package mucp is the wire of programs built with go-micro, v1 to v6: one
// message is one HTTP/1.1 message, and what it is for stands in Micro-*
// headers. [Server] answers such programs on connections taken over from
// net/http; [Dial] calls them.
//
// The protocol has no window, no half-close and no way to say that a side
// takes no more calls. What stands in for them is said at Server and Dial.
package mucp

import (
	"crypto/tls"
	"log/slog"
	"time"
)

// Protocol is the Protocol of a transport.Peer on this wire.
const Protocol = "mucp"

// Config holds the limits of either side. The zero Config is usable: each zero
// field stands for its default.
type Config struct {
	// MaxMessage is the largest message taken or sent, in bytes, as it stands
	// in the HTTP body. Default 4 MiB.
	MaxMessage int
	// MaxHeader is the largest HTTP header taken or sent, in bytes. Default
	// 64 KiB.
	MaxHeader int
	// MaxCalls is how many calls a server has under way at once on one
	// connection; further ones are refused. Default 256.
	MaxCalls int
	// MaxHeld is the largest sum of the request bytes of the unary calls under
	// way on one connection; calls that begin beyond it are refused. Default
	// 16 MiB, and at least MaxMessage.
	MaxHeld int
	// Window is how many bytes of a stream are kept unread, and at least one
	// message. Then its connection is not read until some are taken. Default
	// 64 KiB.
	Window int
	// IdleTimeout is how long a connection without calls is kept. Default
	// 2 minutes in a server and 1 minute in a client: the client, like those of
	// go-micro, is the one to close first.
	IdleTimeout time.Duration
	// ReadTimeout is how long a header, and every further 64 KiB of a body, may
	// take once begun. Default 20 s.
	ReadTimeout time.Duration
	// StallTimeout is how long a caller may take none of an answer. Messages of
	// a stream wait until its context ends. Default 20 s.
	StallTimeout time.Duration
	// DialTimeout bounds connecting, the TLS handshake included. Default 5 s.
	DialTimeout time.Duration
	// TLS is the client's, asked for each TCP connection; nil is plain text. One
	// that returns nil stands for the zero tls.Config. What it
	// returns is copied. A server does not ask.
	TLS func() *tls.Config
	// Legacy has the client wrap its messages as json-rpc and proto-rpc, as
	// go-micro does for nodes whose metadata names no protocol.
	Legacy bool
	// Logger gets what no caller can be told. Default slog.Default.
	Logger *slog.Logger
}

func (c Config) withDefaults(idle time.Duration) Config {
	for _, n := range [...]struct {
		v *int
		d int
	}{{&c.MaxMessage, 4 << 20}, {&c.MaxHeader, 64 << 10}, {&c.MaxCalls, 256}, {&c.MaxHeld, 16 << 20}, {&c.Window, 64 << 10}} {
		if *n.v <= 0 {
			*n.v = n.d
		}
	}
	for _, d := range [...]struct {
		v *time.Duration
		d time.Duration
	}{{&c.IdleTimeout, idle}, {&c.ReadTimeout, 20 * time.Second}, {&c.StallTimeout, 20 * time.Second}, {&c.DialTimeout, 5 * time.Second}} {
		if *d.v <= 0 {
			*d.v = d.d
		}
	}
	c.MaxHeld = max(c.MaxHeld, c.MaxMessage)
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

const (
	serverIdle = 2 * time.Minute
	clientIdle = time.Minute
)
