// Package port carries every protocol on one address: a connection is handed
// on by its first bytes, to the native wire, to HTTP, or to TLS and then by
// what TLS has agreed on. It is the transport of a service unless another is
// chosen.
//
// A connection of the native wire is the native wire's own after its first
// read: calls on it cost what they cost on a port of their own.
package port

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/seed-9a4e2794/micro/transport"
	"github.com/seed-9a4e2794/micro/transport/http"
	"github.com/seed-9a4e2794/micro/transport/tcp"
)

// Config holds the settings of the transport. The zero Config is usable.
type Config struct {
	// Native and HTTP are the limits of the protocols. Their TLS, Protocol and
	// Logger are set from here.
	Native tcp.Config
	HTTP   http.Config
	// ServerTLS makes the port take TLS and nothing else. New calls it once, for
	// all listeners; certificates change through GetConfigForClient or
	// GetCertificate of what it returns. Protocols of its NextProtos that are
	// not the port's, such as "acme-tls/1", come after the port's. Nil is plain
	// text.
	ServerTLS func() *tls.Config
	// ClientTLS makes Dial encrypt, whatever the node says of itself. It is
	// called for each connection. Nil is plain text.
	ClientTLS func() *tls.Config
	// AllowPlain lets a port with TLS take plain text too, for the time of a
	// change from one to the other. Listen refuses it together with a ServerTLS
	// whose ClientAuth demands certificates of callers: who has none would
	// come in by plain text.
	AllowPlain bool
	// HelloTimeout is how long a peer may take to begin, and for TLS to agree.
	// Default 5 s.
	HelloTimeout time.Duration
	// Logger gets what no caller can be told. Default slog.Default.
	Logger *slog.Logger
}

// Transport is all protocols on one port.
type Transport struct {
	cfg    Config
	tls    *tls.Config // what listeners take; nil is plain text
	native *tcp.Transport
	others map[protocol]transport.Transport
}

// protocol is one of those that Dial speaks.
type protocol struct {
	name   string
	secure bool
}

var (
	_ transport.Protocols = (*Transport)(nil)
	_ transport.Secured   = (*Transport)(nil)
)

// Native is the name of the native wire among the protocols.
const Native = "micro"

// New returns a transport.
func New(cfg Config) *Transport {
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.HelloTimeout <= 0 {
		cfg.HelloTimeout = 5 * time.Second
	}
	cfg.Native.TLS, cfg.Native.Logger, cfg.Native.HelloTimeout = cfg.ClientTLS, cfg.Logger, cfg.HelloTimeout
	cfg.HTTP.TLS, cfg.HTTP.Logger, cfg.HTTP.HelloTimeout = cfg.ClientTLS, cfg.Logger, cfg.HelloTimeout
	t := &Transport{cfg: cfg, native: tcp.New(cfg.Native), others: make(map[protocol]transport.Transport)}
	if cfg.ServerTLS != nil {
		own := cfg.ServerTLS()
		if own == nil {
			own = new(tls.Config) // without a certificate: no handshake succeeds, and nothing is taken in plain text
		}
		t.tls = withProtocols(own)
	}
	for _, secure := range [...]bool{false, true} {
		native, web := cfg.Native, cfg.HTTP
		if secure && cfg.ClientTLS == nil {
			native.TLS, web.TLS = systemTLS, systemTLS
		}
		t.others[protocol{Native, secure}] = tcp.New(native)
		for _, p := range [...]http.Protocol{http.GRPC, http.GRPCWeb, http.Connect, http.MUCP, http.MUCPLegacy} {
			web.Protocol = p
			t.others[protocol{string(p), secure}] = http.New(web)
		}
	}
	return t
}

// Dial connects to addr in the native wire; see transport.Transport.
func (t *Transport) Dial(ctx context.Context, addr string) (transport.Conn, error) {
	return t.native.Dial(ctx, addr)
}

// Protocol returns the transport that dials in a protocol: "micro", "grpc",
// "grpc-web", "connect", "mucp" or "mucp-legacy".
func (t *Transport) Protocol(name string, secure bool) (transport.Transport, error) {
	if p := t.others[protocol{name, secure}]; p != nil {
		return p, nil
	}
	var names []string
	for p := range t.others {
		if p.secure == secure {
			names = append(names, p.name)
		}
	}
	slices.Sort(names)
	return nil, fmt.Errorf("protocol %q is not known, these are: %s", name, strings.Join(names, ", "))
}

// systemTLS verifies by the system's certificates.
func systemTLS() *tls.Config { return &tls.Config{MinVersion: tls.VersionTLS12} }

// Listen binds addr; see transport.Transport.
func (t *Transport) Listen(ctx context.Context, addr string) (transport.Listener, error) {
	if t.cfg.AllowPlain && t.tls != nil && demandsCertificate(t.tls) {
		return nil, errors.New("port: AllowPlain is set, and ServerTLS demands a certificate of callers: who has none would come in by plain text; leave AllowPlain out, or demand no certificates until all callers use TLS")
	}
	ln, err := tcp.Bind(ctx, addr)
	if err != nil {
		return nil, err
	}
	return newListener(t, ln), nil
}

// Secure reports whether the port takes TLS and nothing else; see
// transport.Secured.
func (t *Transport) Secure() bool { return t.tls != nil && !t.cfg.AllowPlain }

func demandsCertificate(cfg *tls.Config) bool {
	return cfg.ClientAuth == tls.RequireAnyClientCert || cfg.ClientAuth == tls.RequireAndVerifyClientCert
}
