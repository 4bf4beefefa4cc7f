package credentials

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
)

// beginning is how a PEM block begins (RFC 7468).
const beginning = "-----BEGIN "

// ParseCertificates returns the certificates of a PEM text in their order, at
// least one. Blocks of other types are left out. A block that is damaged or cut
// off is an error: a text that is being written is not taken for a whole one.
func ParseCertificates(text []byte) ([]*x509.Certificate, error) {
	// Decode leaves out what it cannot read without a word, so the beginnings
	// are counted.
	begun := bytes.Count(text, []byte("\n"+beginning))
	if bytes.HasPrefix(text, []byte(beginning)) {
		begun++
	}
	var out []*x509.Certificate
	whole := 0
	for rest := text; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		whole++
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", len(out)+1, err)
		}
		out = append(out, c)
	}
	switch {
	case whole < begun:
		return nil, fmt.Errorf("%d of its %d PEM blocks are damaged or cut off", begun-whole, begun)
	case len(out) == 0:
		return nil, errors.New("there is no PEM certificate in it")
	}
	return out, nil
}
