// Package credentials holds the TLS certificates of a process, for the
// connections that it takes and for those that it makes. They are read from
// files and read again when the files change: connections that stand are left
// alone, new ones get what the files say now.
//
// An [Authority] issues certificates, for tests and for services that have no
// authority of their own yet.
package credentials

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Config says where the certificates are. The zero Config is that of a client
// which trusts the authorities of the system and has no certificate of its own.
type Config struct {
	// Cert is the path of the certificate in PEM, followed by those between it
	// and the authority if there are any; Key is that of its private key. Both
	// are set or neither. They serve both sides of connections.
	Cert, Key string
	// CA is the path of the certificates of the authorities that are trusted,
	// for servers and for clients. They are trusted instead of those of the
	// system, not besides. Empty are those of the system, for servers only.
	CA string
	// Clients is what a listener asks of its callers.
	Clients Clients
	// Logger gets what happens to the files while the process runs. Nil is
	// slog.Default.
	Logger *slog.Logger
}

// Clients is what a listener asks of its callers.
type Clients int

const (
	// ClientsAny asks for no certificate: callers prove nothing.
	ClientsAny Clients = iota
	// ClientsOptional asks for one, and takes callers without. One that does
	// not verify ends the connection.
	ClientsOptional
	// ClientsRequired takes nobody without a certificate that verifies.
	ClientsRequired
)

// String returns "any", "optional" or "required".
func (c Clients) String() string {
	switch c {
	case ClientsAny:
		return "any"
	case ClientsOptional:
		return "optional"
	case ClientsRequired:
		return "required"
	}
	return fmt.Sprintf("Clients(%d)", int(c))
}

func (c Clients) auth() tls.ClientAuthType {
	switch c {
	case ClientsOptional:
		return tls.VerifyClientCertIfGiven
	case ClientsRequired:
		return tls.RequireAndVerifyClientCert
	}
	return tls.NoClientCert
}

// ParseClients returns the value that String writes.
func ParseClients(text string) (Clients, error) {
	for _, c := range []Clients{ClientsAny, ClientsOptional, ClientsRequired} {
		if text == c.String() {
			return c, nil
		}
	}
	return 0, fmt.Errorf("credentials: clients are %q, not any, optional or required", text)
}

// Credentials are the certificates of a process. Their methods may run
// concurrently.
type Credentials struct {
	clients Clients
	log     *slog.Logger
	read    func() (material, error) // nil when they never change
	now     atomic.Pointer[snapshot]

	mu      sync.Mutex // held by whoever looks at the files
	checked time.Time
	failed  string // the failure that has been logged last, until there is none
}

// Load reads the files and returns their credentials. It fails when a file is
// missing (the error wraps fs.ErrNotExist), is not what it should be, or when
// the key is not the certificate's. A certificate that has expired is logged
// and taken: its successor may be on its way.
func Load(cfg Config) (*Credentials, error) {
	switch {
	case (cfg.Cert == "") != (cfg.Key == ""):
		return nil, fmt.Errorf("credentials: the certificate is %q and its key %q: set both or neither", cfg.Cert, cfg.Key)
	case cfg.Clients < ClientsAny || cfg.Clients > ClientsRequired:
		return nil, fmt.Errorf("credentials: %s is none of any, optional and required", cfg.Clients)
	case cfg.Clients != ClientsAny && cfg.CA == "":
		return nil, fmt.Errorf("credentials: clients are %s, and no CA says whose certificates to take: set it", cfg.Clients)
	case cfg.Clients != ClientsAny && cfg.Cert == "":
		return nil, fmt.Errorf("credentials: clients are %s, and a listener needs a certificate itself: set Cert and Key", cfg.Clients)
	}
	return load(func() (material, error) { return readFiles(cfg) }, cfg.Clients, cfg.Logger)
}

func load(read func() (material, error), clients Clients, log *slog.Logger) (*Credentials, error) {
	if log == nil {
		log = slog.Default()
	}
	c := &Credentials{clients: clients, log: log, read: read}
	m, err := read()
	if err != nil {
		return nil, err
	}
	s, err := newSnapshot(m)
	if err != nil {
		return nil, err
	}
	c.now.Store(s)
	c.checked = time.Now()
	c.warnOfExpiry(s)
	return c, nil
}

// errNoCertificate answers handshakes of a listener that has no certificate.
var errNoCertificate = errors.New("credentials: there is no certificate to serve with: set Cert and Key")

// Server returns settings for a listener, for as long as it lives: TLS 1.2 or
// later, with the certificate and the authorities that the files have at each
// handshake. Without a certificate all handshakes fail. Where clients are asked
// for a certificate, sessions are not resumed: each connection proves anew who
// it is, to the authorities of that moment.
//
// The settings are the caller's, who may set NextProtos before the first
// handshake. In a Clone it has no effect: GetConfigForClient has to be wrapped
// there.
func (c *Credentials) Server() *tls.Config {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, ClientAuth: c.clients.auth(), SessionTicketsDisabled: c.clients != ClientsAny}
	cfg.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		s := c.current()
		if s.cert == nil {
			return nil, errNoCertificate
		}
		return &tls.Config{MinVersion: cfg.MinVersion, NextProtos: cfg.NextProtos, Certificates: []tls.Certificate{*s.cert},
			ClientAuth: cfg.ClientAuth, ClientCAs: s.roots, SessionTicketsDisabled: cfg.SessionTicketsDisabled}, nil
	}
	return cfg
}

// Client returns settings for one connection, as the files are now: TLS 1.2 or
// later, the server verified. They are the caller's, who sets ServerName.
// Whoever keeps them for further connections does not see later changes.
func (c *Credentials) Client() *tls.Config {
	s := c.current()
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: s.roots}
	if s.cert != nil {
		cfg.Certificates = []tls.Certificate{*s.cert}
	}
	return cfg
}

// Serves reports whether there is a certificate to serve with.
func (c *Credentials) Serves() bool { return c.current().cert != nil }

// describe says of a certificate what a log may hold.
func (s *snapshot) describe() []any {
	if s.cert == nil {
		return nil
	}
	leaf := s.cert.Leaf
	return []any{"subject", leaf.Subject.String(), "names", strings.Join(leaf.DNSNames, " "), "until", leaf.NotAfter}
}
