package main

import (
	"crypto/tls"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/seed-9a4e2794/micro/internal/leaktest"
	"github.com/seed-9a4e2794/micro/transport"
	"github.com/seed-9a4e2794/micro/transport/credentials"
)

// cert runs micro cert and fails the test unless it goes well.
func cert(t *testing.T, args ...string) (stdout, stderr string) {
	t.Helper()
	code, out, errs := tryTool(t, "", append([]string{"cert"}, args...)...)
	if code != exitOK {
		t.Fatalf("micro cert %s: exit %d, %s", strings.Join(args, " "), code, errs)
	}
	return out, errs
}

// changing is what is not the same in two certificates.
var changing = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ|[0-9a-f]{30,}`)

func TestCertificatesThatTheToolMakesSecureAConnection(t *testing.T) {
	leaktest.Check(t)
	dir := filepath.Join(t.TempDir(), "certs")
	cert(t, "ca", "--dir", dir)
	cert(t, "node", "greeter", "--dir", dir)
	cert(t, "node", "orders", "--dir", dir, "--host", "orders.example, 10.0.0.7,spiffe://prod/orders")
	load := func(name string, clients credentials.Clients) *credentials.Credentials {
		c, err := credentials.Load(credentials.Config{Cert: filepath.Join(dir, name+".pem"), Key: filepath.Join(dir, name+"-key.pem"),
			CA: filepath.Join(dir, "ca.pem"), Clients: clients})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	ln, err := tls.Listen("tcp", "127.0.0.1:0", load("greeter", credentials.ClientsRequired).Server())
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	seen := make(chan *transport.Identity, 1)
	go func() {
		defer close(seen)
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		if err := conn.(*tls.Conn).HandshakeContext(t.Context()); err == nil {
			state := conn.(*tls.Conn).ConnectionState()
			seen <- transport.NewIdentity(&state)
		}
	}()
	d := tls.Dialer{NetDialer: &net.Dialer{Timeout: 10 * time.Second}, Config: load("orders", credentials.ClientsAny).Client()}
	conn, err := d.DialContext(t.Context(), "tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	state := conn.(*tls.Conn).ConnectionState()
	if id := transport.NewIdentity(&state); id == nil || id.Name != "greeter" {
		t.Errorf("the client sees %+v, not greeter", id)
	}
	if id := <-seen; id == nil || id.Name != "spiffe://prod/orders" {
		t.Errorf("the server sees %+v, not spiffe://prod/orders", id)
	}
}

func TestCertPrintsWhatItMadeAndHowToUseIt(t *testing.T) {
	home, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	var all strings.Builder
	for _, args := range [][]string{
		{"ca", "--name", "our services", "--days", "30"},
		{"node", "greeter", "--days", "7"},
		{"node", "orders", "--host", "orders.example,10.0.0.7,spiffe://prod/orders"},
		{"show", "ca.pem"},
		{"show", "greeter.pem"},
	} {
		out, errs := cert(t, args...)
		all.WriteString("$ micro cert " + strings.Join(args, " ") + "\n" + errs + changing.ReplaceAllString(out, "*") + "\n")
	}
	var shown []shownCert
	out, _ := cert(t, "show", "greeter.pem", "-o", "json")
	if err := json.Unmarshal([]byte(out), &shown); err != nil || len(shown) != 1 {
		t.Fatalf("%v\n%s", err, out)
	}
	s := shown[0]
	if days := time.Until(s.Until).Hours() / 24; s.Identity != "greeter" || s.CA || s.Expired || s.Issuer != "CN=our services" || days < 6.9 || days > 7 {
		t.Errorf("shown is %+v", s)
	}
	t.Chdir(home)
	golden(t, "cert", all.String())
}

func TestKeysAreForTheirOwnerAndNothingIsReplacedUnasked(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "certs")
	cert(t, "ca", "--dir", dir)
	cert(t, "node", "greeter", "--dir", dir)
	mode := func(name string) os.FileMode {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return info.Mode().Perm()
	}
	if runtime.GOOS != "windows" {
		for name, want := range map[string]os.FileMode{"ca.pem": 0o644, "ca-key.pem": 0o600, "greeter.pem": 0o644, "greeter-key.pem": 0o600, ".": 0o700} {
			if got := mode(name); got != want {
				t.Errorf("%s has mode %o, not %o", name, got, want)
			}
		}
	}
	read := func(name string) string {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	names := []string{"ca.pem", "ca-key.pem", "greeter.pem", "greeter-key.pem"}
	before := make(map[string]string)
	for _, n := range names {
		before[n] = read(n)
	}
	for _, args := range [][]string{{"ca"}, {"node", "greeter"}} {
		code, _, errs := tryTool(t, "", append([]string{"cert", "--dir", dir}, args...)...)
		if code != exitFailure || !strings.Contains(errs, "is there already\n  replace it: --force") {
			t.Errorf("%v: exit %d, %s", args, code, errs)
		}
	}
	// A key alone is not replaced either.
	if err := os.Remove(filepath.Join(dir, "greeter.pem")); err != nil {
		t.Fatal(err)
	}
	if code, _, errs := tryTool(t, "", "cert", "node", "greeter", "--dir", dir); code != exitFailure || !strings.Contains(errs, "greeter-key.pem is there already") {
		t.Errorf("exit %d, %s", code, errs)
	}
	for _, n := range []string{"ca.pem", "ca-key.pem", "greeter-key.pem"} {
		if read(n) != before[n] {
			t.Errorf("%s was changed", n)
		}
	}
	cert(t, "node", "greeter", "--dir", dir, "--force")
	cert(t, "ca", "--dir", dir, "--force")
	for _, n := range names {
		if read(n) == before[n] {
			t.Errorf("%s was not replaced", n)
		}
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != len(names) {
		t.Errorf("the folder has %v, %v", left, err)
	}
}

func TestCertSaysWhatIsWrong(t *testing.T) {
	dir := t.TempDir()
	cert(t, "ca", "--dir", dir)
	key := filepath.Join(dir, "ca-key.pem")
	for _, tt := range []struct {
		args string
		code int
		want string
	}{
		{"", exitUsage, "micro cert takes ca | node NAME | show FILE"},
		{"make", exitUsage, `not "make"`},
		{"ca greeter", exitUsage, "micro cert node greeter"},
		{"node", exitUsage, "micro cert node takes one argument"},
		{"show", exitUsage, "micro cert show takes one argument"},
		{"node a b", exitUsage, "was given"},
		{"node ca --dir " + dir, exitUsage, `"ca" is taken`},
		{"node ca-key --force --dir " + dir, exitUsage, `"ca-key" is taken`},
		{"node ../x --dir " + dir, exitUsage, "the name"},
		{"node x --host a/b --dir " + dir, exitUsage, `the host "a/b"`},
		{"node x --days 0 --dir " + dir, exitUsage, `--days is "0"`},
		{"node x --days 1h --dir " + dir, exitUsage, `--days is "1h"`},
		{"node x --name y --dir " + dir, exitUsage, "micro cert node does not take --name"},
		{"ca --host y --dir " + dir, exitUsage, "micro cert ca does not take --host"},
		{"show x --force", exitUsage, "micro cert show does not take --force"},
		{"node x --dir " + dir + "/none", exitFailure, "make one: micro cert ca --dir " + dir + "/none"},
		{"show " + dir + "/none.pem", exitFailure, "no such file"},
		{"show " + key, exitUsage, "there is no PEM certificate in it"},
		{"show " + key + " -o yaml", exitUsage, "yaml"},
	} {
		code, out, errs := tryTool(t, "", append([]string{"cert"}, strings.Fields(tt.args)...)...)
		if code != tt.code || !strings.Contains(errs, tt.want) || out != "" {
			t.Errorf("micro cert %s: exit %d, not %d; stdout %q, stderr %q, not %q", tt.args, code, tt.code, out, errs, tt.want)
		}
	}
	if b, err := os.ReadFile(key); err != nil || !strings.Contains(string(b), "PRIVATE KEY") {
		t.Errorf("the key of the authority was changed: %v", err)
	}
	if got := printable("a\x1b[31m\u202eb\n"); got != "a?[31m?b?" {
		t.Errorf("printable text is %q", got)
	}
}
