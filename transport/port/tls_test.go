package port_test

import (
	"crypto/tls"
	"strings"
	"testing"

	"github.com/seed-9a4e2794/micro/transport"
	"github.com/seed-9a4e2794/micro/transport/credentials"
	"github.com/seed-9a4e2794/micro/transport/port"
	"github.com/seed-9a4e2794/micro/transport/tcp"
)

func TestPlainTextIsNotAllowedWhereCertificatesAreDemanded(t *testing.T) {
	for clients, refused := range map[credentials.Clients]bool{
		credentials.ClientsAny: false, credentials.ClientsOptional: false, credentials.ClientsRequired: true,
	} {
		cfg := secured(t, clients)
		cfg.AllowPlain = true
		ln, err := port.New(cfg).Listen(t.Context(), "127.0.0.1:0")
		if err == nil {
			ln.Close()
		}
		if (err != nil) != refused || refused && !strings.Contains(err.Error(), "AllowPlain") {
			t.Errorf("%v: got %v", clients, err)
		}
	}
}

func TestServerTLSIsAskedForOnceForAllListeners(t *testing.T) {
	cfg := secured(t, credentials.ClientsAny)
	n, make := 0, cfg.ServerTLS
	cfg.ServerTLS = func() *tls.Config { n++; return make() }
	var tr transport.Secured = port.New(cfg)
	for range 2 {
		ln, err := tr.(transport.Transport).Listen(t.Context(), "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		ln.Close()
	}
	if !tr.Secure() || n != 1 {
		t.Errorf("Secure() = %t, ServerTLS was called %d times", tr.Secure(), n)
	}
	cfg.AllowPlain = true
	if port.New(cfg).Secure() || port.New(port.Config{}).Secure() {
		t.Error("a port that takes plain text says that it takes TLS only")
	}
}

func TestConfigurationsForOneClientKeepTheProtocolsAndTheLeastVersionOfThePort(t *testing.T) {
	cfg := secured(t, credentials.ClientsAny)
	given := cfg.ServerTLS()
	inner := given.GetConfigForClient
	given.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		own, err := inner(hello)
		own.MinVersion, own.NextProtos = tls.VersionTLS10, []string{"h2", "http/1.1", "acme-tls/1"}
		return own, err
	}
	cfg.ServerTLS = func() *tls.Config { return given }
	_, addr := serve(t, cfg)
	for _, tt := range []struct {
		offers []string
		max    uint16
		want   string // empty is a refusal
	}{
		{[]string{tcp.ALPN, "h2"}, 0, tcp.ALPN},
		{[]string{"h2", tcp.ALPN}, 0, tcp.ALPN},
		{[]string{"acme-tls/1"}, 0, "acme-tls/1"},
		{[]string{"h2"}, tls.VersionTLS12, "h2"},
		{[]string{"h2"}, tls.VersionTLS11, ""},
	} {
		own := cfg.ClientTLS()
		own.ServerName, own.NextProtos, own.MinVersion, own.MaxVersion = "localhost", tt.offers, tls.VersionTLS10, tt.max
		conn, err := tls.Dial("tcp", addr, own)
		got := ""
		if err == nil {
			got = conn.ConnectionState().NegotiatedProtocol
			conn.Close()
		}
		if got != tt.want {
			t.Errorf("%v up to version %#x: agreed on %q, want %q: %v", tt.offers, tt.max, got, tt.want, err)
		}
	}
}
