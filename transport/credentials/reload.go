package credentials

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

const (
	// checkInterval is how often the files are looked at, at most.
	checkInterval = time.Second
	// maxFile is the largest file that is read, in bytes. The authorities of a
	// system take a quarter of a megabyte.
	maxFile = 4 << 20
)

// material is what the files hold.
type material struct {
	cert, key, ca []byte
	files         Config // for messages
}

// sum tells two materials apart. Contents are compared, not times and sizes of
// files: a file that is written twice within one tick of the file system's
// clock, or put back with its old times, is seen all the same, and links that
// are swapped need no care.
func (m *material) sum() [sha256.Size]byte {
	h := sha256.New()
	for _, part := range [][]byte{m.cert, m.key, m.ca} {
		var n [8]byte
		binary.LittleEndian.PutUint64(n[:], uint64(len(part)))
		h.Write(n[:])
		h.Write(part)
	}
	return [sha256.Size]byte(h.Sum(nil))
}

// snapshot is what the files held at one moment, ready for use. It does not
// change.
type snapshot struct {
	sum   [sha256.Size]byte
	cert  *tls.Certificate // nil when there is none
	roots *x509.CertPool   // nil is the system's
	// late is set once it has been logged that the certificate has expired.
	late bool // guarded by Credentials.mu
}

func readFiles(cfg Config) (material, error) {
	m := material{files: cfg}
	for _, f := range []struct {
		what, path string
		to         *[]byte
	}{{"certificate", cfg.Cert, &m.cert}, {"key", cfg.Key, &m.key}, {"CA", cfg.CA, &m.ca}} {
		if f.path == "" {
			continue
		}
		b, err := readFile(f.path)
		if err != nil {
			return m, fmt.Errorf("credentials: the %s: %w", f.what, err)
		}
		*f.to = b
	}
	return m, nil
}

// readFile reads a regular file that is not larger than maxFile. Others, such
// as a pipe, could hold up a handshake for ever.
func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(b) > maxFile {
		return nil, fmt.Errorf("%s has more than %d MiB", path, maxFile>>20)
	}
	return b, nil
}

// newSnapshot makes sense of a material.
func newSnapshot(m material) (*snapshot, error) {
	s := &snapshot{sum: m.sum()}
	if m.files.Cert != "" {
		// The strict parser finds a file that is cut off; the library would
		// take what is left of it.
		certs, err := ParseCertificates(m.cert)
		if err != nil {
			return nil, fmt.Errorf("credentials: the certificate %s: %w", m.files.Cert, err)
		}
		pair, err := tls.X509KeyPair(m.cert, m.key)
		if err != nil {
			return nil, fmt.Errorf("credentials: the certificate %s and the key %s: %w", m.files.Cert, m.files.Key, err)
		}
		pair.Leaf = certs[0] // the library leaves it out under an old GODEBUG
		s.cert = &pair
	}
	if m.files.CA != "" {
		certs, err := ParseCertificates(m.ca)
		if err != nil {
			return nil, fmt.Errorf("credentials: the CA %s: %w", m.files.CA, err)
		}
		s.roots = x509.NewCertPool()
		for _, c := range certs {
			s.roots.AddCert(c)
		}
	}
	return s, nil
}

// current returns what the files hold, as of a second ago at most unless
// somebody is looking at them right now: nobody waits for another's reading.
func (c *Credentials) current() *snapshot {
	if c.read != nil && c.mu.TryLock() {
		if time.Since(c.checked) >= checkInterval {
			c.check()
			c.checked = time.Now()
		}
		c.mu.Unlock()
	}
	return c.now.Load()
}

// errChanging says that the files are being written at this moment.
var errChanging = errors.New("the files are changing")

// check takes over what the files hold if they hold something new and whole.
// The lock is held.
func (c *Credentials) check() {
	old := c.now.Load()
	s, err := c.reread(old)
	switch {
	case err == errChanging: // the next check will tell
	case err != nil:
		if c.failed != err.Error() {
			c.failed = err.Error()
			c.log.Warn("the certificates cannot be read; those read before stay in use", "error", err)
		}
	case s != old:
		c.failed = ""
		c.now.Store(s)
		c.log.Info("the certificates have been read anew", s.describe()...)
	default:
		c.failed = ""
	}
	c.warnOfExpiry(c.now.Load())
}

// reread returns a new snapshot, or old when nothing has changed.
func (c *Credentials) reread(old *snapshot) (*snapshot, error) {
	first, err := c.read()
	if err != nil {
		return nil, err
	}
	sum := first.sum()
	if sum == old.sum {
		return old, nil
	}
	// Several files are not read in one moment. What is the same twice was not
	// being written.
	second, err := c.read()
	if err != nil {
		return nil, err
	}
	if second.sum() != sum {
		return nil, errChanging
	}
	return newSnapshot(second)
}

// warnOfExpiry logs once that the certificate has expired. The lock is held, or
// nobody else has the credentials yet.
func (c *Credentials) warnOfExpiry(s *snapshot) {
	if s.cert == nil || s.late || !time.Now().After(s.cert.Leaf.NotAfter) {
		return
	}
	s.late = true
	c.log.Warn("the certificate has expired; others refuse it until it is replaced", s.describe()...)
}
