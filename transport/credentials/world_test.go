package credentials_test

import (
	"bytes"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-9a4e2794/micro/internal/leaktest"
	"github.com/seed-9a4e2794/micro/transport/credentials"
)

// bubble runs a test on a clock of its own, which begins in the year 2000.
func bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	leaktest.Check(t)
	synctest.Test(t, f)
}

// pass lets time go by.
func pass(d time.Duration) { <-time.After(d) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// want fails the test unless err says all of these texts.
func want(t testing.TB, err error, texts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error; want one that says %q", texts)
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("the error %q does not say %q", err, text)
		}
	}
}

func authority(t testing.TB, name string) *credentials.Authority {
	t.Helper()
	a, err := credentials.NewAuthority(name, 0)
	must(t, err)
	return a
}

// folder holds the files of one process.
type folder struct {
	credentials.Config
	log *logBuffer
}

func newFolder(t testing.TB) *folder {
	dir := t.TempDir()
	log := new(logBuffer)
	return &folder{credentials.Config{Cert: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem"),
		CA: filepath.Join(dir, "ca.pem"), Logger: slog.New(slog.NewTextHandler(log, nil))}, log}
}

// put writes a file.
func put(t testing.TB, path string, content []byte) {
	t.Helper()
	must(t, os.WriteFile(path, content, 0o600))
}

// issue writes a certificate and a key.
func (f *folder) issue(t testing.TB, a *credentials.Authority, n credentials.Node) {
	t.Helper()
	cert, key, err := a.Issue(n)
	must(t, err)
	put(t, f.Cert, cert)
	put(t, f.Key, key)
}

// trust writes the CA file.
func (f *folder) trust(t testing.TB, authorities ...*credentials.Authority) {
	t.Helper()
	var all []byte
	for _, a := range authorities {
		cert, _, err := a.PEM()
		must(t, err)
		all = append(all, cert...)
	}
	put(t, f.CA, all)
}

func (f *folder) load(t testing.TB) *credentials.Credentials {
	t.Helper()
	c, err := credentials.Load(f.Config)
	must(t, err)
	return c
}

// outcome is what came of a handshake, at both ends.
type outcome struct {
	server, client       tls.ConnectionState
	serverErr, clientErr error
}

// err is what the end that refused says, else nil.
func (o outcome) err() error {
	for _, err := range []error{o.serverErr, o.clientErr} {
		if err != nil && !strings.Contains(err.Error(), "remote error") && err != io.EOF && err != io.ErrClosedPipe {
			return err
		}
	}
	if o.serverErr != nil {
		return o.serverErr
	}
	return o.clientErr
}

// shake makes a connection, has a byte sent over it each way, and closes it. A
// server name that is not set is localhost.
func shake(server, client *tls.Config) outcome {
	s, c := dial(server, client)
	var o outcome
	var group sync.WaitGroup
	group.Go(func() {
		defer s.Close()
		b := make([]byte, 1)
		if _, o.serverErr = io.ReadFull(s, b); o.serverErr == nil {
			o.server = s.ConnectionState()
			_, o.serverErr = s.Write(b)
		}
	})
	if o.clientErr = echo(c); o.clientErr == nil {
		o.client = c.ConnectionState()
	}
	c.Close()
	group.Wait()
	return o
}

// echo sends a byte and waits for it.
func echo(c *tls.Conn) error {
	if _, err := c.Write([]byte{1}); err != nil {
		return err
	}
	_, err := io.ReadFull(c, make([]byte, 1))
	return err
}

// dial returns both ends of a connection without a handshake.
func dial(server, client *tls.Config) (s, c *tls.Conn) {
	if client.ServerName == "" {
		client.ServerName = "localhost"
	}
	up, down := make(chan []byte, 1000), make(chan []byte, 1000)
	return tls.Server(&pipe{Reader: &chunks{in: up}, out: down}, server), tls.Client(&pipe{Reader: &chunks{in: down}, out: up}, client)
}

// pipe is one end of a connection whose writes do not wait for reads: with
// those of net.Pipe two ends that refuse each other wait for ever.
type pipe struct {
	net.Conn // nil: the rest is not called
	io.Reader
	out  chan []byte
	once sync.Once
}

func (p *pipe) Read(b []byte) (int, error) { return p.Reader.Read(b) }

func (p *pipe) Write(b []byte) (int, error) {
	p.out <- bytes.Clone(b)
	return len(b), nil
}

func (p *pipe) Close() error {
	p.once.Do(func() { close(p.out) })
	return nil
}

func (p *pipe) SetDeadline(time.Time) error      { return nil }
func (p *pipe) SetWriteDeadline(time.Time) error { return nil }

// chunks reads what comes over a channel.
type chunks struct {
	in   chan []byte
	rest []byte
}

func (c *chunks) Read(b []byte) (int, error) {
	for len(c.rest) == 0 {
		var ok bool
		if c.rest, ok = <-c.in; !ok {
			return 0, io.EOF
		}
	}
	n := copy(b, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

// logBuffer gathers a log.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// count returns how many times the log has the text.
func (l *logBuffer) count(text string) int { return strings.Count(l.String(), text) }
