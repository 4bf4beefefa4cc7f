package micro_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/seed-9a4e2794/micro"
	"github.com/seed-9a4e2794/micro/client"
	microerrors "github.com/seed-9a4e2794/micro/errors"
	"github.com/seed-9a4e2794/micro/registry/memory"
	"github.com/seed-9a4e2794/micro/server"
	"github.com/seed-9a4e2794/micro/transport"
	"github.com/seed-9a4e2794/micro/transport/credentials"
)

// pki is a folder with an authority and what it has issued.
type pki struct {
	dir       string
	authority *credentials.Authority
}

func newPKI(t *testing.T) *pki {
	t.Helper()
	a, err := credentials.NewAuthority("test", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	p := &pki{t.TempDir(), a}
	ca, _, err := a.PEM()
	if err != nil {
		t.Fatal(err)
	}
	p.write(t, "ca.pem", ca)
	return p
}

func (p *pki) write(t *testing.T, name string, b []byte) {
	t.Helper()
	path := filepath.Join(p.dir, name)
	if err := errors.Join(os.WriteFile(path+".new", b, 0o600), os.Rename(path+".new", path)); err != nil {
		t.Fatal(err)
	}
}

// issue writes a certificate for a service, over the one that it may have.
func (p *pki) issue(t *testing.T, name string) {
	t.Helper()
	cert, key, err := p.authority.Issue(credentials.Node{Name: name})
	if err != nil {
		t.Fatal(err)
	}
	p.write(t, name+"-key.pem", key)
	p.write(t, name+".pem", cert)
}

// flags returns the command line of a service with TLS.
func (p *pki) flags(name, clients string) []string {
	in := func(file string) string { return filepath.Join(p.dir, file) }
	return []string{"--tls_cert", in(name + ".pem"), "--tls_key", in(name + "-key.pem"), "--tls_ca", in("ca.pem"), "--tls_clients", clients}
}

// serial returns the serial number of the certificate that new connections see.
func serial(t *testing.T, p *pki, addr string) string {
	t.Helper()
	c, err := credentials.Load(credentials.Config{Cert: filepath.Join(p.dir, "who.pem"), Key: filepath.Join(p.dir, "who-key.pem"), CA: filepath.Join(p.dir, "ca.pem")})
	if err != nil {
		t.Fatal(err)
	}
	cfg := c.Client()
	cfg.ServerName = "who"
	conn, err := tls.Dial("tcp", addr, cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0].SerialNumber.String()
}

type WhoRequest struct{ Name string }

// WhoResponse says who has called, as the handler sees it.
type WhoResponse struct{ Identity, Protocol string }

type Who struct{}

func (*Who) Am(ctx context.Context, _ *WhoRequest, rsp *WhoResponse) error {
	p, ok := transport.PeerFromContext(ctx)
	if !ok || p.Identity == nil {
		return microerrors.Unauthorized("who", "nobody knows you")
	}
	rsp.Identity, rsp.Protocol = p.Identity.Name, p.Protocol
	return nil
}

func TestServicesWithCertificatesKnowEachOtherInEveryProtocolAndRulesHold(t *testing.T) {
	p := newPKI(t)
	reg := memory.New()
	for _, name := range []string{"who", "friend", "stranger"} {
		p.issue(t, name)
	}
	srv := server.NewServer(server.Authorize(server.Allow(server.Rule{Identity: "friend", Endpoint: "Who.*"})))
	if err := micro.RegisterHandler(srv, new(Who)); err != nil {
		t.Fatal(err)
	}
	run(t, micro.Server(srv), micro.Name("who"), micro.Registry(reg), micro.Args(p.flags("who", "required")))

	services, err := reg.GetService(t.Context(), "who")
	if err != nil {
		t.Fatal(err)
	}
	if md := services[0].Nodes[0].Metadata; md["secure"] != "true" || md["protocol"] != "micro" || md["wire"] != "micro/1" {
		t.Errorf("the node is registered with %v", md)
	}

	callers := make(map[string]micro.Service)
	for _, name := range []string{"friend", "stranger"} {
		callers[name] = run(t, micro.Name(name), micro.Registry(reg), micro.Args(p.flags(name, "any")))
	}
	for _, protocol := range []string{"", "grpc", "grpc-web", "connect", "mucp"} {
		for name, want := range map[string]microerrors.Code{"friend": microerrors.CodeOK, "stranger": microerrors.CodePermissionDenied} {
			caller := callers[name]
			var rsp WhoResponse
			err := caller.Client().Call(t.Context(), caller.Client().NewRequest("who", "Who.Am", &WhoRequest{}), &rsp, client.WithProtocol(protocol))
			if got := microerrors.From("", err); err != nil && got.GRPCCode() != want || err == nil && (want != microerrors.CodeOK || rsp.Identity != name) {
				t.Errorf("%s by %q got %+v, %v", name, protocol, rsp, err)
			}
		}
	}

	plain := client.NewClient(client.Registry(reg), client.Retries(0))
	defer plain.(io.Closer).Close()
	err = plain.Call(t.Context(), plain.NewRequest("who", "Who.Am", &WhoRequest{}), new(WhoResponse))
	if !errors.Is(err, transport.ErrUnreachable) || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("a client that does not know the authority got %v", err)
	}
}

func TestCertificatesAreReplacedWithoutAFailedCallOrALostConnection(t *testing.T) {
	p := newPKI(t)
	p.issue(t, "who")
	reg := memory.New()
	s := run(t, micro.Name("who"), micro.Registry(reg), micro.Args(p.flags("who", "required")))
	if err := micro.RegisterHandler(s.Server(), new(Who)); err != nil {
		t.Fatal(err)
	}
	call := func() {
		t.Helper()
		var rsp WhoResponse
		if err := s.Client().Call(t.Context(), s.Client().NewRequest("who", "Who.Am", &WhoRequest{}), &rsp, client.WithRetries(0)); err != nil || rsp.Identity != "who" {
			t.Fatalf("got %+v, %v", rsp, err)
		}
	}
	call()
	services, err := reg.GetService(t.Context(), "who")
	if err != nil {
		t.Fatal(err)
	}
	addr := services[0].Nodes[0].Address
	before := serial(t, p, addr)
	p.issue(t, "who")
	deadline := time.Now().Add(20 * time.Second)
	for serial(t, p, addr) == before {
		call() // on the connection that there is
		if time.Now().After(deadline) {
			t.Fatal("new connections still see the old certificate")
		}
	}
	call()
}
