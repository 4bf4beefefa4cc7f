package credentials_test

import (
	"crypto/tls"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-9a4e2794/micro/internal/leaktest"
	"github.com/seed-9a4e2794/micro/transport/credentials"
)

// serial returns the serial number of the certificate that a server shows.
func serial(t testing.TB, server, client *tls.Config) string {
	t.Helper()
	o := shake(server, client)
	must(t, o.err())
	return o.client.PeerCertificates[0].SerialNumber.String()
}

func TestANewCertificateIsSeenByNewHandshakesAndOldConnectionsStay(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a := authority(t, "ca")
		f := newFolder(t)
		f.issue(t, a, credentials.Node{Name: "greeter"})
		f.trust(t, a)
		c := f.load(t)
		settings := c.Server() // once, as a listener has it
		before := serial(t, settings, c.Client())

		s, conn := dial(settings, c.Client())
		var group sync.WaitGroup
		group.Go(func() { _, _ = io.Copy(s, s) }) // ends when the client closes
		must(t, echo(conn))

		f.issue(t, a, credentials.Node{Name: "greeter"})
		if got := serial(t, settings, c.Client()); got != before {
			t.Error("the files are looked at again within a second")
		}
		pass(time.Second)
		after := serial(t, settings, c.Client())
		if after == before {
			t.Error("a new handshake sees the old certificate")
		}
		must(t, echo(conn))
		if n := f.log.count("read anew"); n != 1 {
			t.Errorf("%d reloads are logged, not 1:\n%s", n, f.log)
		}
		must(t, conn.Close())
		group.Wait()
	})
}

func TestANewAuthorityIsTakenAndTheOldOneRefusedOnBothSides(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a, b := authority(t, "a"), authority(t, "b")
		node := func(by *credentials.Authority) *folder {
			f := newFolder(t)
			f.issue(t, by, credentials.Node{Name: "greeter"})
			f.trust(t, by)
			return f
		}
		f, ofA, ofB := node(a), node(a), node(b)
		f.Clients = credentials.ClientsRequired
		ofA.Clients = credentials.ClientsRequired
		ofB.Clients = credentials.ClientsRequired
		c, peerA, peerB := f.load(t), ofA.load(t), ofB.load(t)
		settings := c.Server()
		both := func(peer *credentials.Credentials) (in, out error) {
			return shake(settings, peer.Client()).err(), shake(peer.Server(), c.Client()).err()
		}
		in, out := both(peerA)
		must(t, in)
		must(t, out)
		in, out = both(peerB)
		want(t, in, "")
		want(t, out, "")

		f.issue(t, b, credentials.Node{Name: "greeter"})
		f.trust(t, b)
		pass(time.Second)
		in, out = both(peerB)
		must(t, in)
		must(t, out)
		in, out = both(peerA)
		want(t, in, "")
		want(t, out, "")

		// During a change both are trusted.
		f.trust(t, a, b)
		ofA.trust(t, a, b)
		pass(time.Second)
		in, out = both(peerA)
		must(t, in)
		must(t, out)
	})
}

// A client that was taken once and remembers the session must not get in after
// its authority has gone.
func TestASessionDoesNotOutliveItsAuthority(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		bubble(t, func(t *testing.T) {
			a, b := authority(t, "a"), authority(t, "b")
			f := newFolder(t)
			f.Clients = credentials.ClientsRequired
			f.issue(t, a, credentials.Node{Name: "greeter"})
			f.trust(t, a)
			c := f.load(t)
			settings := c.Server()
			own := f.load(t)
			client := own.Client()
			client.GetClientCertificate = insist(own)
			client.ClientSessionCache, client.MaxVersion = tls.NewLRUClientSessionCache(1), version
			for range 2 {
				o := shake(settings, client)
				must(t, o.err())
				if o.server.DidResume {
					t.Error("a session was resumed that had proven an identity")
				}
			}
			f.trust(t, b)
			pass(time.Second)
			want(t, shake(settings, client).err(), "unknown authority")
		})
	}
}

func TestSessionsOfAnonymousClientsAreResumed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a := authority(t, "a")
		c, err := a.Credentials(credentials.Node{Name: "greeter"}, credentials.ClientsAny)
		must(t, err)
		settings, client := c.Server(), c.Client()
		client.ClientSessionCache = tls.NewLRUClientSessionCache(1)
		must(t, shake(settings, client).err())
		if o := shake(settings, client); o.err() != nil || !o.server.DidResume {
			t.Errorf("resumed: %t, %v", o.server.DidResume, o.err())
		}
	})
}

func TestFilesThatAreNotWholeLeaveTheOldOnesInUse(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a := authority(t, "ca")
		f := newFolder(t)
		f.issue(t, a, credentials.Node{Name: "greeter"})
		f.trust(t, a)
		c := f.load(t)
		settings := c.Server()
		before := serial(t, settings, c.Client())
		key, err := os.ReadFile(f.Key)
		must(t, err)
		nextCert, nextKey, err := a.Issue(credentials.Node{Name: "greeter"})
		must(t, err)
		ca, err := os.ReadFile(f.CA)
		must(t, err)

		steps := []struct {
			name string
			do   func()
			text string // in the log
		}{
			{"the certificate is new and its key is not", func() { put(t, f.Cert, nextCert) }, "does not match"},
			{"the certificate is cut off", func() { put(t, f.Cert, nextCert[:len(nextCert)/2]) }, "cut off"},
			{"the certificate is gone", func() { must(t, os.Remove(f.Cert)) }, "no such file"},
			{"the CA is empty", func() { put(t, f.Cert, nextCert); put(t, f.Key, nextKey); put(t, f.CA, nil) }, "no PEM certificate"},
		}
		for i, step := range steps {
			step.do()
			for range 3 {
				pass(time.Second)
				if got := serial(t, settings, c.Client()); got != before {
					t.Errorf("%s, and it is in use", step.name)
				}
			}
			if n := f.log.count("cannot be read"); n != i+1 || f.log.count(step.text) != 1 {
				t.Errorf("%s: %d warnings, not %d, or not one that says %q:\n%s", step.name, n, i+1, step.text, f.log)
			}
		}
		put(t, f.CA, ca)
		pass(time.Second)
		if got := serial(t, settings, c.Client()); got == before {
			t.Error("all is whole, and the old certificate is in use")
		}
		for _, secret := range [][]byte{key, nextKey} {
			for line := range strings.Lines(string(secret)) {
				if strings.Contains(f.log.String(), strings.TrimSpace(line)) {
					t.Errorf("the log has the line %q of a key", line)
				}
			}
		}
	})
}

func TestAFolderSwappedByALinkIsSeen(t *testing.T) {
	bubble(t, func(t *testing.T) {
		// As Kubernetes mounts secrets: cert.pem -> ..data/cert.pem, and
		// ..data -> ..1, which is replaced by rename.
		a := authority(t, "ca")
		f := newFolder(t)
		dir := filepath.Dir(f.Cert)
		version := func(name string) {
			must(t, os.Mkdir(filepath.Join(dir, name), 0o700))
			cert, key, err := a.Issue(credentials.Node{Name: "greeter"})
			must(t, err)
			put(t, filepath.Join(dir, name, "cert.pem"), cert)
			put(t, filepath.Join(dir, name, "key.pem"), key)
			must(t, os.Symlink(name, filepath.Join(dir, "..next")))
			must(t, os.Rename(filepath.Join(dir, "..next"), filepath.Join(dir, "..data")))
		}
		version("..1")
		for _, name := range []string{"cert.pem", "key.pem"} {
			must(t, os.Symlink(filepath.Join("..data", name), filepath.Join(dir, name)))
		}
		f.trust(t, a)
		c := f.load(t)
		settings := c.Server()
		before := serial(t, settings, c.Client())
		version("..2")
		must(t, os.RemoveAll(filepath.Join(dir, "..1")))
		pass(time.Second)
		if serial(t, settings, c.Client()) == before {
			t.Error("a new handshake sees the old certificate")
		}
		if f.log.count("WARN") != 0 {
			t.Errorf("the log has warnings:\n%s", f.log)
		}
	})
}

func TestACertificateThatHasExpiredIsTakenAndLoggedOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a := authority(t, "ca")
		f := newFolder(t)
		f.issue(t, a, credentials.Node{Name: "greeter", Validity: time.Hour})
		f.trust(t, a)
		c := f.load(t)
		settings := c.Server()
		must(t, shake(settings, c.Client()).err())
		pass(2 * time.Hour)
		for range 3 {
			want(t, shake(settings, c.Client()).err(), "expired")
			pass(time.Minute)
		}
		if n := f.log.count("has expired"); n != 1 {
			t.Errorf("%d warnings, not 1:\n%s", n, f.log)
		}
		again := newFolder(t)
		again.Cert, again.Key, again.CA = f.Cert, f.Key, f.CA
		again.load(t)
		if n := again.log.count("has expired"); n != 1 {
			t.Errorf("%d warnings at the start, not 1:\n%s", n, again.log)
		}
		f.issue(t, a, credentials.Node{Name: "greeter"})
		must(t, shake(settings, c.Client()).err())
	})
}

func TestHandshakesAndReloadsMayRunConcurrently(t *testing.T) {
	leaktest.Check(t)
	a := authority(t, "ca")
	f := newFolder(t)
	f.Clients = credentials.ClientsRequired
	f.issue(t, a, credentials.Node{Name: "greeter"})
	f.trust(t, a)
	c := f.load(t)
	settings := c.Server()
	stop := make(chan struct{})
	var writer, group sync.WaitGroup
	writer.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				f.issue(t, a, credentials.Node{Name: "greeter"})
			}
		}
	})
	deadline := time.Now().Add(2500 * time.Millisecond) // two looks at the files
	for range 4 {
		group.Go(func() {
			for time.Now().Before(deadline) {
				if err := shake(settings, c.Client()).err(); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
	close(stop)
	writer.Wait()
}
