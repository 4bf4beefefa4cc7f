package credentials

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"
)

const (
	// DefaultAuthorityValidity and DefaultNodeValidity are how long
	// certificates are valid unless somebody says otherwise.
	DefaultAuthorityValidity = 10 * 365 * 24 * time.Hour
	DefaultNodeValidity      = 365 * 24 * time.Hour
	// backdate makes a certificate valid for machines whose clock is behind.
	backdate = 5 * time.Minute
)

// Authority issues certificates that whoever trusts it accepts. Its methods may
// run concurrently.
type Authority struct {
	cert *x509.Certificate
	key  crypto.Signer
}

// NewAuthority returns a new authority with a key on the curve P-256. It may
// issue certificates of nodes, not those of other authorities. The name tells
// it apart for people. A validity of 0 is DefaultAuthorityValidity.
func NewAuthority(name string, validity time.Duration) (*Authority, error) {
	if name == "" {
		return nil, errors.New("credentials: an authority needs a name")
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("credentials: %w", err)
	}
	if validity == 0 {
		validity = DefaultAuthorityValidity
	}
	now := time.Now()
	template := &x509.Certificate{ // the serial number is random when none is given
		Subject: pkix.Name{CommonName: name}, NotBefore: now.Add(-backdate), NotAfter: now.Add(validity),
		BasicConstraintsValid: true, IsCA: true, MaxPathLenZero: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	cert, err := sign(template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	return &Authority{cert, key}, nil
}

// ParseAuthority returns the authority with a certificate and a key in PEM.
func ParseAuthority(cert, key []byte) (*Authority, error) {
	certs, err := ParseCertificates(cert)
	if err != nil {
		return nil, fmt.Errorf("credentials: the authority: %w", err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("credentials: the authority: %w", err)
	}
	signer, ok := pair.PrivateKey.(crypto.Signer)
	switch {
	case !ok:
		return nil, errors.New("credentials: the authority's key cannot sign")
	case !certs[0].IsCA || certs[0].KeyUsage&x509.KeyUsageCertSign == 0:
		return nil, fmt.Errorf("credentials: the certificate of %q is not that of an authority", certs[0].Subject)
	}
	return &Authority{certs[0], signer}, nil
}

// PEM returns the certificate, which is for everyone, and the key, which is for
// nobody else.
func (a *Authority) PEM() (cert, key []byte, err error) { return encode(a.cert, a.key) }

// Node says whom to issue a certificate for.
type Node struct {
	// Name is the name of the service. It is the first DNS name of the
	// certificate, and so the identity of the node unless Hosts has a URI.
	Name string
	// Hosts are the names and addresses that others reach the node by: DNS
	// names, IP addresses, and URIs such as a SPIFFE id. Empty is localhost,
	// 127.0.0.1 and ::1.
	Hosts []string
	// Validity is how long the certificate is valid, 0 is DefaultNodeValidity.
	// It is not valid for longer than the authority's.
	Validity time.Duration
}

// Issue returns a new certificate and its key in PEM. The certificate serves
// both sides of a connection.
func (a *Authority) Issue(n Node) (cert, key []byte, err error) {
	now := time.Now()
	if now.After(a.cert.NotAfter) {
		return nil, nil, fmt.Errorf("credentials: the authority has expired on %s: make a new one", a.cert.NotAfter.Format(time.DateOnly))
	}
	if err := checkName(n.Name); err != nil {
		return nil, nil, fmt.Errorf("credentials: the name %.100q %w", n.Name, err)
	}
	if n.Validity == 0 {
		n.Validity = DefaultNodeValidity
	}
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: n.Name}, NotBefore: now.Add(-backdate), NotAfter: now.Add(n.Validity),
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		DNSNames:    []string{n.Name},
	}
	if len(n.Name) > maxCommonName {
		template.Subject = pkix.Name{} // the DNS name says it
	}
	if template.NotAfter.After(a.cert.NotAfter) {
		template.NotAfter = a.cert.NotAfter
	}
	hosts := n.Hosts
	if len(hosts) == 0 {
		hosts = []string{"localhost", "127.0.0.1", "::1"}
	}
	for _, h := range hosts {
		if err := addHost(template, h); err != nil {
			return nil, nil, fmt.Errorf("credentials: the host %.100q %w", h, err)
		}
	}
	own, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("credentials: %w", err)
	}
	signed, err := sign(template, a.cert, own.Public(), a.key)
	if err != nil {
		return nil, nil, err
	}
	return encode(signed, own)
}

// Credentials issues a certificate and returns credentials which are in memory
// only and trust this authority alone.
func (a *Authority) Credentials(n Node, clients Clients) (*Credentials, error) {
	m := material{files: Config{Cert: "of " + n.Name, Key: "in memory", CA: "in memory"}}
	var err error
	if m.cert, m.key, err = a.Issue(n); err != nil {
		return nil, err
	}
	m.ca = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
	c, err := load(func() (material, error) { return m, nil }, clients, slog.New(slog.DiscardHandler))
	if err == nil {
		c.read = nil
	}
	return c, err
}

// maxCommonName is the upper bound of RFC 5280, appendix A.1.
const maxCommonName = 64

// addHost adds a name or an address to a certificate.
func addHost(c *x509.Certificate, host string) error {
	if addr, err := netip.ParseAddr(host); err == nil {
		if addr.Zone() != "" {
			return errors.New("has a zone, which certificates cannot say")
		}
		c.IPAddresses = append(c.IPAddresses, addr.AsSlice())
		return nil
	}
	if strings.Contains(host, "://") {
		u, err := url.Parse(host)
		if err != nil || u.Scheme == "" || u.Host == "" {
			return errors.New("is no URI with a scheme and a host")
		}
		c.URIs = append(c.URIs, u)
		return nil
	}
	if err := checkName(strings.TrimPrefix(host, "*.")); err != nil {
		return err
	}
	if !slices.Contains(c.DNSNames, host) {
		c.DNSNames = append(c.DNSNames, host)
	}
	return nil
}

// maxName is the longest DNS name, RFC 1035 section 2.3.4.
const maxName = 253

// checkName checks a DNS name. Underscores are allowed, as in the names of
// services; what would lead out of a folder is not.
func checkName(name string) error {
	if name == "" || len(name) > maxName {
		return fmt.Errorf("has %d bytes, not 1 to %d", len(name), maxName)
	}
	if _, err := netip.ParseAddr(name); err == nil {
		return errors.New("is an address, not a name")
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return errors.New("has a part between dots that is empty, longer than 63 bytes, or begins or ends with a dash")
		}
	}
	for _, r := range name {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '_', r == '.':
		default:
			return fmt.Errorf("has the character %q; letters, digits, dashes, underscores and dots can be used", r)
		}
	}
	return nil
}

func sign(template, parent *x509.Certificate, public crypto.PublicKey, by crypto.Signer) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, by)
	if err != nil {
		return nil, fmt.Errorf("credentials: %w", err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("credentials: %w", err)
	}
	return c, nil
}

func encode(cert *x509.Certificate, key crypto.Signer) (certPEM, keyPEM []byte, err error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, fmt.Errorf("credentials: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}
