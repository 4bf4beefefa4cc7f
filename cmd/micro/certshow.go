package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode"

	"github.com/seed-9a4e2794/micro/transport"
	"github.com/seed-9a4e2794/micro/transport/credentials"
)

// shownCert is what is shown of a certificate.
type shownCert struct {
	Identity string    `json:"identity,omitempty"`
	Subject  string    `json:"subject"`
	Issuer   string    `json:"issuer"`
	CA       bool      `json:"ca"`
	DNS      []string  `json:"dns,omitempty"`
	IP       []string  `json:"ip,omitempty"`
	URI      []string  `json:"uri,omitempty"`
	From     time.Time `json:"from"`
	Until    time.Time `json:"until"`
	Expired  bool      `json:"expired"`
	Serial   string    `json:"serial"`
}

func newShownCert(c *x509.Certificate, now time.Time) shownCert {
	s := shownCert{Subject: c.Subject.String(), Issuer: c.Issuer.String(), CA: c.IsCA, DNS: c.DNSNames,
		From: c.NotBefore, Until: c.NotAfter, Expired: now.After(c.NotAfter), Serial: fmt.Sprintf("%x", c.SerialNumber)}
	for _, ip := range c.IPAddresses {
		s.IP = append(s.IP, ip.String())
	}
	for _, u := range c.URIs {
		s.URI = append(s.URI, u.String())
	}
	if !c.IsCA {
		// Who it is to a service that trusts its issuer.
		s.Identity = transport.NewIdentity(&tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{c}}}).Name
	}
	return s
}

// certShow shows the certificates of a file.
func (t *tool) certShow(path string, asJSON bool) error {
	text, err := readPEM(path)
	if err != nil {
		return err
	}
	if _, err := credentials.ParseCertificates(text); err != nil {
		return usage("it is the file with the certificate that is shown, such as greeter.pem", "%s: %v", path, err)
	}
	return t.certPrint(text, asJSON)
}

// certPrint prints certificates in PEM.
func (t *tool) certPrint(text []byte, asJSON bool) error {
	certs, err := credentials.ParseCertificates(text)
	if err != nil {
		return err
	}
	all := make([]shownCert, len(certs))
	for i, c := range certs {
		all[i] = newShownCert(c, time.Now())
	}
	if asJSON {
		return t.printJSON(all)
	}
	for i, s := range all {
		if i > 0 {
			fmt.Fprintln(t.stdout)
		}
		rows := [][]string{{"SUBJECT", s.Subject}}
		if s.Identity != "" {
			rows = append(rows, []string{"IDENTITY", s.Identity})
		}
		if s.CA {
			rows = append(rows, []string{"KIND", "authority"})
		}
		for _, r := range []struct {
			label  string
			values []string
		}{{"DNS", s.DNS}, {"IP", s.IP}, {"URI", s.URI}} {
			if len(r.values) > 0 {
				rows = append(rows, []string{r.label, strings.Join(r.values, ", ")})
			}
		}
		until := s.Until.UTC().Format(time.RFC3339)
		if s.Expired {
			until += " (expired)"
		}
		rows = append(rows, []string{"ISSUER", s.Issuer}, []string{"FROM", s.From.UTC().Format(time.RFC3339)}, []string{"UNTIL", until}, []string{"SERIAL", s.Serial})
		for _, row := range rows {
			row[1] = printable(row[1])
		}
		if err := table(t.stdout, rows); err != nil {
			return err
		}
	}
	return nil
}

// printable is text without what would do something to a terminal: anybody may
// have made the certificate.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, text)
}

// readPEM reads a file of certificates or of a key.
func readPEM(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	const most = 4 << 20
	b, err := io.ReadAll(io.LimitReader(f, most+1))
	if err != nil {
		return nil, err
	}
	if len(b) > most {
		return nil, fmt.Errorf("%s has more than %d MiB", path, most>>20)
	}
	return b, nil
}
