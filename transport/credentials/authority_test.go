package credentials_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed-9a4e2794/micro/transport/credentials"
)

func parse(t testing.TB, text []byte) *x509.Certificate {
	t.Helper()
	certs, err := credentials.ParseCertificates(text)
	must(t, err)
	if len(certs) != 1 {
		t.Fatalf("%d certificates, not 1", len(certs))
	}
	return certs[0]
}

func TestAuthoritiesAndNodesGetWhatTheyNeedAndNoMore(t *testing.T) {
	a, err := credentials.NewAuthority("our services", 48*time.Hour)
	must(t, err)
	text, _, err := a.PEM()
	must(t, err)
	ca := parse(t, text)
	if !ca.IsCA || ca.MaxPathLen != 0 || !ca.MaxPathLenZero || ca.KeyUsage != x509.KeyUsageCertSign|x509.KeyUsageCRLSign || len(ca.ExtKeyUsage) != 0 || ca.Subject.CommonName != "our services" {
		t.Errorf("the authority is %s, CA %t, path length %d, usage %b", ca.Subject, ca.IsCA, ca.MaxPathLen, ca.KeyUsage)
	}
	cert, _, err := a.Issue(credentials.Node{Name: "greeter", Hosts: []string{"10.0.0.7", "fe80::1", "greeter.example", "*.greeter.example", "greeter", "spiffe://prod/greeter"}})
	must(t, err)
	leaf := parse(t, cert)
	if leaf.IsCA || leaf.KeyUsage != x509.KeyUsageDigitalSignature || !slices.Equal(leaf.ExtKeyUsage, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}) {
		t.Errorf("CA %t, usage %b, %v", leaf.IsCA, leaf.KeyUsage, leaf.ExtKeyUsage)
	}
	if got, want := fmt.Sprint(leaf.DNSNames, leaf.IPAddresses, leaf.URIs), "[greeter greeter.example *.greeter.example] [10.0.0.7 fe80::1] [spiffe://prod/greeter]"; got != want {
		t.Errorf("the names are %s, not %s", got, want)
	}
	for _, c := range []*x509.Certificate{ca, leaf} {
		if key, ok := c.PublicKey.(*ecdsa.PublicKey); !ok || key.Curve != elliptic.P256() {
			t.Errorf("%s has a key of type %T", c.Subject, c.PublicKey)
		}
		if c.SerialNumber.BitLen() < 64 || c.SerialNumber.Cmp(ca.SerialNumber) == 0 && c != ca {
			t.Errorf("%s has the serial number %x", c.Subject, c.SerialNumber)
		}
	}
	if !leaf.NotAfter.Equal(ca.NotAfter) {
		t.Errorf("the node is valid until %s, longer than the authority: %s", leaf.NotAfter, ca.NotAfter)
	}
}

func TestNoHostsAreThisMachine(t *testing.T) {
	cert, _, err := authority(t, "ca").Issue(credentials.Node{Name: "go.micro.srv_a"})
	must(t, err)
	leaf := parse(t, cert)
	if got, want := fmt.Sprint(leaf.DNSNames, leaf.IPAddresses), "[go.micro.srv_a localhost] [127.0.0.1 ::1]"; got != want {
		t.Errorf("the names are %s, not %s", got, want)
	}
	if days := leaf.NotAfter.Sub(leaf.NotBefore).Hours() / 24; days < 365 || days > 366 {
		t.Errorf("it is valid for %.1f days, not 365", days)
	}
}

func TestALongNameIsInTheDNSNameOnly(t *testing.T) {
	name := strings.Repeat("abcdefgh.", 10) + "x"
	cert, _, err := authority(t, "ca").Issue(credentials.Node{Name: name})
	must(t, err)
	if leaf := parse(t, cert); leaf.Subject.CommonName != "" || leaf.DNSNames[0] != name {
		t.Errorf("subject %q, names %q", leaf.Subject, leaf.DNSNames)
	}
}

func TestAnAuthorityThatWasWrittenDownIssuesOn(t *testing.T) {
	a := authority(t, "ca")
	cert, key, err := a.PEM()
	must(t, err)
	again, err := credentials.ParseAuthority(cert, key)
	must(t, err)
	issued, _, err := again.Issue(credentials.Node{Name: "greeter"})
	must(t, err)
	if err := parse(t, issued).CheckSignatureFrom(parse(t, cert)); err != nil {
		t.Error(err)
	}
	nodeCert, nodeKey, err := a.Issue(credentials.Node{Name: "greeter"})
	must(t, err)
	_, err = credentials.ParseAuthority(nodeCert, nodeKey)
	want(t, err, "greeter", "not that of an authority")
	_, err = credentials.ParseAuthority(cert, nodeKey)
	want(t, err, "does not match")
	_, err = credentials.ParseAuthority(nil, key)
	want(t, err, "no PEM certificate")
}

func TestAnAuthorityThatHasExpiredIssuesNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a, err := credentials.NewAuthority("ca", time.Hour)
		must(t, err)
		pass(2 * time.Hour)
		_, _, err = a.Issue(credentials.Node{Name: "greeter"})
		want(t, err, "expired on 2000-01-01", "make a new one")
	})
}

func TestNamesThatAreNoneAreRefused(t *testing.T) {
	a := authority(t, "ca")
	for _, name := range []string{"", ".", "a..b", "-a", "a-", "../a", "a/b", "a b", "*", "*.a", "10.0.0.1", "::1", "é", "a\x00b",
		strings.Repeat("a", 64), strings.Repeat("a.", 127) + "a"} {
		_, _, err := a.Issue(credentials.Node{Name: name})
		want(t, err, "credentials: the name")
	}
	for _, host := range []string{"", "a b", "*", "a.*.b", "fe80::1%eth0", "spiffe://", "://x", "http://a b"} {
		_, _, err := a.Issue(credentials.Node{Name: "x", Hosts: []string{host}})
		want(t, err, "credentials: the host")
	}
	_, err := credentials.NewAuthority("", 0)
	want(t, err, "needs a name")
}
