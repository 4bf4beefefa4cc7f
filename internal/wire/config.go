package wire

import (
	"log/slog"
	"time"
)

// Config holds the limits of a connection. The zero Config is usable: each
// zero field stands for its default.
type Config struct {
	// MaxMessage is the largest encoded message taken or sent, in bytes.
	// Default 4 MiB.
	MaxMessage int
	// MaxMeta is the largest metadata section taken, in bytes. Default 64 KiB.
	MaxMeta int
	// MaxCalls is the largest number of calls at once on a connection.
	// Default 16,384, at most 65,536.
	MaxCalls int
	// MaxStreams is how many of them may be streams. Default 1,024.
	MaxStreams int
	// MaxHeld is the largest sum of the request bytes of unary calls that a
	// listener holds for one connection; calls beyond it are refused. It is
	// also the largest sum of what its streams have received and their handlers
	// have not taken; the stream that goes beyond it is ended.
	// Default 64 MiB, and at least MaxMessage.
	MaxHeld int
	// Window is the credit that a stream begins with, in bytes. Default 64 KiB.
	Window int
	// HelloTimeout is how long the peer may take to begin. Default 5 s.
	HelloTimeout time.Duration
	// StallTimeout is how long the peer may stop in the middle of a frame, or
	// take nothing of what is sent to it. Default 20 s.
	StallTimeout time.Duration
	// KeepAlive is how long a caller with calls under way waits in silence
	// before it asks whether the peer is there, and as long again for the
	// answer. Default 10 s.
	KeepAlive time.Duration
	// Logger gets what no caller can be told. Default slog.Default.
	Logger *slog.Logger
}

func (c Config) withDefaults() Config {
	def := func(v *int, d int) {
		if *v <= 0 {
			*v = d
		}
	}
	def(&c.MaxMessage, 4<<20)
	def(&c.MaxMeta, 64<<10)
	def(&c.MaxCalls, 16<<10)
	def(&c.MaxStreams, 1024)
	def(&c.MaxHeld, 64<<20)
	def(&c.Window, 64<<10)
	for _, d := range [...]struct {
		v *time.Duration
		d time.Duration
	}{{&c.HelloTimeout, 5 * time.Second}, {&c.StallTimeout, 20 * time.Second}, {&c.KeepAlive, 10 * time.Second}} {
		if *d.v <= 0 {
			*d.v = d.d
		}
	}
	c.MaxCalls = min(c.MaxCalls, maxSlots)
	c.MaxHeld = max(c.MaxHeld, c.MaxMessage)
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

func (c *Config) settings() settings {
	return settings{
		maxMessage: uint32(c.MaxMessage),
		maxCalls:   uint32(c.MaxCalls),
		window:     uint32(c.Window),
		maxMeta:    uint32(c.MaxMeta),
	}
}
