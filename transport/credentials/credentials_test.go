package credentials_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io/fs"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/seed-9a4e2794/micro/transport"
	"github.com/seed-9a4e2794/micro/transport/credentials"
)

func TestBothSidesProveWhoTheyAre(t *testing.T) {
	bubble(t, func(t *testing.T) {
		ca := authority(t, "ca")
		server, err := ca.Credentials(credentials.Node{Name: "greeter"}, credentials.ClientsRequired)
		must(t, err)
		client, err := ca.Credentials(credentials.Node{Name: "orders", Hosts: []string{"orders.example"}}, credentials.ClientsAny)
		must(t, err)
		in, out := server.Server(), client.Client()
		in.NextProtos, out.NextProtos = []string{"micro/1", "h2"}, []string{"h2"}
		o := shake(in, out)
		must(t, o.err())
		if id := transport.NewIdentity(&o.server); id == nil || id.Name != "orders" || len(id.Chain) != 2 {
			t.Errorf("the server sees %+v, not orders with a chain of two", id)
		}
		if id := transport.NewIdentity(&o.client); id == nil || id.Name != "greeter" {
			t.Errorf("the client sees %+v, not greeter", id)
		}
		if o.server.Version != tls.VersionTLS13 || o.server.NegotiatedProtocol != "h2" || o.client.NegotiatedProtocol != "h2" {
			t.Errorf("version %x, protocols %q and %q", o.server.Version, o.server.NegotiatedProtocol, o.client.NegotiatedProtocol)
		}
	})
}

func TestAURIIsTheIdentityBeforeTheName(t *testing.T) {
	bubble(t, func(t *testing.T) {
		ca := authority(t, "ca")
		server, err := ca.Credentials(credentials.Node{Name: "greeter"}, credentials.ClientsOptional)
		must(t, err)
		client, err := ca.Credentials(credentials.Node{Name: "orders", Hosts: []string{"spiffe://prod/orders"}}, credentials.ClientsAny)
		must(t, err)
		o := shake(server.Server(), client.Client())
		must(t, o.err())
		if id := transport.NewIdentity(&o.server); id == nil || id.Name != "spiffe://prod/orders" {
			t.Errorf("the server sees %+v", id)
		}
	})
}

func TestHandshakesThatMustFailDoAndSayWhy(t *testing.T) {
	bubble(t, func(t *testing.T) {
		ca, other := authority(t, "ca"), authority(t, "other")
		node := func(a *credentials.Authority, clients credentials.Clients) *credentials.Credentials {
			c, err := a.Credentials(credentials.Node{Name: "greeter", Validity: 24 * time.Hour}, clients)
			must(t, err)
			return c
		}
		plain := func(change func(*tls.Config)) *tls.Config {
			cfg := node(ca, credentials.ClientsAny).Client()
			cfg.Certificates = nil
			change(cfg)
			return cfg
		}
		mine, theirs := node(ca, credentials.ClientsAny), node(other, credentials.ClientsAny)
		pass(12 * time.Hour)
		young := node(ca, credentials.ClientsRequired)
		for _, tt := range []struct {
			name           string
			server, client *tls.Config
			after          time.Duration
			want           string // "" is success
		}{
			{"no certificate, none asked for", mine.Server(), plain(func(*tls.Config) {}), 0, ""},
			{"no certificate, optional", node(ca, credentials.ClientsOptional).Server(), plain(func(*tls.Config) {}), 0, ""},
			{"no certificate, required", young.Server(), plain(func(*tls.Config) {}), 0, "client didn't provide a certificate"},
			{"certificate, required", young.Server(), mine.Client(), 0, ""},
			{"certificate of another authority, required", young.Server(), plain(func(c *tls.Config) { c.Certificates = theirs.Client().Certificates }), 0, "client didn't provide a certificate"},
			{"certificate of another authority, shown all the same", node(ca, credentials.ClientsOptional).Server(),
				plain(func(c *tls.Config) { c.GetClientCertificate = insist(theirs) }), 0, "unknown authority"},
			{"server of another authority", theirs.Server(), mine.Client(), 0, "unknown authority"},
			{"wrong name", mine.Server(), plain(func(c *tls.Config) { c.ServerName = "elsewhere" }), 0, "not elsewhere"},
			{"service name", mine.Server(), plain(func(c *tls.Config) { c.ServerName = "greeter" }), 0, ""},
			{"address", mine.Server(), plain(func(c *tls.Config) { c.ServerName = "127.0.0.1" }), 0, ""},
			{"wrong address", mine.Server(), plain(func(c *tls.Config) { c.ServerName = "10.0.0.1" }), 0, "10.0.0.1"},
			{"TLS 1.1", mine.Server(), plain(func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 }), 0, "unsupported versions"},
			{"TLS 1.2", mine.Server(), plain(func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }), 0, ""},
			{"client takes no TLS 1.1", &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11,
				Certificates: mine.Client().Certificates}, mine.Client(), 0, "unsupported versions"},
			{"expired server", mine.Server(), plain(func(*tls.Config) {}), 13 * time.Hour, "expired"},
			{"expired client", young.Server(), plain(func(c *tls.Config) { c.GetClientCertificate = insist(mine) }), 0, "expired"},
		} {
			pass(tt.after)
			err := shake(tt.server, tt.client).err()
			switch {
			case tt.want == "" && err != nil:
				t.Errorf("%s: %v", tt.name, err)
			case tt.want != "":
				t.Log(tt.name+":", err)
				want(t, err, tt.want)
			}
		}
	})
}

// insist shows a certificate whatever the server asked for.
func insist(c *credentials.Credentials) func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	return func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		return &c.Client().Certificates[0], nil
	}
}

func TestAListenerWithoutACertificateFailsItsHandshakes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c, err := credentials.Load(credentials.Config{})
		must(t, err)
		want(t, shake(c.Server(), c.Client()).err(), "no certificate to serve with", "set Cert and Key")
		with, err := authority(t, "ca").Credentials(credentials.Node{Name: "x"}, credentials.ClientsAny)
		must(t, err)
		if c.Serves() || !with.Serves() {
			t.Errorf("it serves without a certificate: %t, with one: %t", c.Serves(), with.Serves())
		}
	})
}

func TestTheZeroConfigTrustsTheSystem(t *testing.T) {
	c, err := credentials.Load(credentials.Config{})
	must(t, err)
	cfg := c.Client()
	if cfg.RootCAs != nil || cfg.InsecureSkipVerify || len(cfg.Certificates) != 0 || cfg.MinVersion != tls.VersionTLS12 {
		t.Errorf("the settings of a client are %+v", cfg)
	}
}

func TestLoadSaysWhatIsWrong(t *testing.T) {
	a := authority(t, "ca")
	good := newFolder(t)
	good.issue(t, a, credentials.Node{Name: "x"})
	good.trust(t, a)
	other := newFolder(t)
	other.issue(t, a, credentials.Node{Name: "x"})
	cut := good.Cert + ".cut"
	whole, err := os.ReadFile(good.Cert)
	must(t, err)
	put(t, cut, whole[:len(whole)-30])
	twice := good.Cert + ".twice"
	put(t, twice, append(slices.Clone(whole), whole[:len(whole)/2]...))
	for _, tt := range []struct {
		cfg   credentials.Config
		texts []string
	}{
		{credentials.Config{Cert: good.Cert}, []string{"set both or neither", good.Cert}},
		{credentials.Config{Key: good.Key}, []string{"set both or neither", good.Key}},
		{credentials.Config{Cert: good.Cert, Key: other.Key}, []string{good.Cert, other.Key, "does not match"}},
		{credentials.Config{Cert: good.Key, Key: good.Key}, []string{"the certificate " + good.Key, "no PEM certificate"}},
		{credentials.Config{Cert: good.Cert, Key: good.Cert}, []string{"the key " + good.Cert}},
		{credentials.Config{Cert: cut, Key: good.Key}, []string{cut, "1 of its 1 PEM blocks are damaged or cut off"}},
		{credentials.Config{CA: twice}, []string{twice, "1 of its 2 PEM blocks are damaged or cut off"}},
		{credentials.Config{CA: good.Key}, []string{"the CA " + good.Key, "no PEM certificate"}},
		{credentials.Config{CA: t.TempDir()}, []string{"the CA", "not a regular file"}},
		{credentials.Config{CA: "none.pem"}, []string{"the CA", "none.pem"}},
		{credentials.Config{Clients: credentials.ClientsRequired, Cert: good.Cert, Key: good.Key}, []string{"required", "no CA"}},
		{credentials.Config{Clients: credentials.ClientsOptional, CA: good.CA}, []string{"optional", "set Cert and Key"}},
		{credentials.Config{Clients: 7}, []string{"Clients(7)"}},
	} {
		_, err := credentials.Load(tt.cfg)
		want(t, err, tt.texts...)
	}
	if _, err := credentials.Load(credentials.Config{CA: "none.pem"}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v does not wrap fs.ErrNotExist", err)
	}
	big := good.CA + ".big"
	put(t, big, nil)
	must(t, os.Truncate(big, 5<<20))
	_, err = credentials.Load(credentials.Config{CA: big})
	want(t, err, big, "more than 4 MiB")
}

func TestClientsAreParsedAsTheyAreWritten(t *testing.T) {
	for _, c := range []credentials.Clients{credentials.ClientsAny, credentials.ClientsOptional, credentials.ClientsRequired} {
		if got, err := credentials.ParseClients(c.String()); err != nil || got != c {
			t.Errorf("%s is parsed as %s, %v", c, got, err)
		}
	}
	for _, text := range []string{"", "Any", "none", "3"} {
		_, err := credentials.ParseClients(text)
		want(t, err, "not any, optional or required")
	}
}

func FuzzParseCertificates(f *testing.F) {
	cert, key, err := authority(f, "ca").PEM()
	must(f, err)
	f.Add([]byte(nil))
	f.Add(cert)
	f.Add(append(slices.Clone(key), cert...))
	f.Add(cert[:len(cert)/2])
	f.Add([]byte("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		certs, err := credentials.ParseCertificates(text)
		if err == nil == (len(certs) == 0) || slices.Contains(certs, (*x509.Certificate)(nil)) {
			t.Errorf("%d certificates and the error %v", len(certs), err)
		}
		if err != nil {
			return
		}
		// What follows a whole text does not take away from it.
		again, err := credentials.ParseCertificates(append(append(slices.Clone(text), '\n'), cert...))
		if err != nil || len(again) != len(certs)+1 {
			t.Errorf("%d certificates, and with one more %d, %v", len(certs), len(again), err)
		}
	})
}
