package interop

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/seed-9a4e2794/micro"
	"github.com/seed-9a4e2794/micro/microtest"
	microcredentials "github.com/seed-9a4e2794/micro/transport/credentials"
	"github.com/seed-9a4e2794/micro/transport/port"
)

// patience bounds what a test waits for that should come at once.
const patience = 20 * time.Second

// node is a service of ours on one port of the loopback address, and what its
// callers need to know of it.
type node struct {
	addr      string
	tls       func() *tls.Config // for a caller; nil when it is plain
	transport *port.Transport    // of a caller of ours
	net       *microtest.Net
}

// sides are the two ways in which a service listens.
func sides(t *testing.T, fn func(t *testing.T, secure bool)) {
	for _, side := range [...]struct {
		name   string
		secure bool
	}{{"plain", false}, {"tls", true}} {
		t.Run(side.name, func(t *testing.T) { fn(t, side.secure) })
	}
}

// serve runs a service until the test ends. register adds its endpoints.
func serve(t *testing.T, secure bool, cfg port.Config, register func(micro.Service) error, opts ...micro.Option) *node {
	t.Helper()
	n := &node{net: microtest.New(t)}
	if secure {
		creds := newCredentials(t)
		cfg.ServerTLS = func() *tls.Config { return creds.Server() }
		cfg.ClientTLS = func() *tls.Config { return creds.Client() }
		n.tls = func() *tls.Config {
			c := creds.Client()
			c.ServerName = "127.0.0.1"
			return c
		}
	}
	cfg.Logger = slog.New(slog.DiscardHandler)
	n.transport = port.New(cfg)
	s := n.net.NewService(append([]micro.Option{
		micro.Name("interop"), micro.Address("127.0.0.1:0"), micro.Transport(n.transport), micro.Logger(cfg.Logger)}, opts...)...)
	if err := register(s); err != nil {
		t.Fatal(err)
	}
	n.net.Start(t, s)
	n.addr = s.Server().Options().Address
	return n
}

func newCredentials(t *testing.T) *microcredentials.Credentials {
	t.Helper()
	ca, err := microcredentials.NewAuthority("interop", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	creds, err := ca.Credentials(microcredentials.Node{Name: "interop"}, microcredentials.ClientsAny)
	if err != nil {
		t.Fatal(err)
	}
	return creds
}

// grpc returns a connection of grpc-go's, closed when the test ends.
func (n *node) grpc(t *testing.T, opts ...grpc.DialOption) *grpc.ClientConn {
	t.Helper()
	creds := insecure.NewCredentials()
	if n.tls != nil {
		creds = credentials.NewTLS(n.tls())
	}
	cc, err := grpc.NewClient("passthrough:///"+n.addr, append([]grpc.DialOption{grpc.WithTransportCredentials(creds)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cc.Close() })
	return cc
}

// http returns a client of net/http's that speaks one version of HTTP, closed
// when the test ends.
func (n *node) http(t *testing.T, version int) *http.Client {
	t.Helper()
	tr := &http.Transport{Protocols: new(http.Protocols), DisableCompression: true}
	switch {
	case version == 1:
		tr.Protocols.SetHTTP1(true)
	case n.tls == nil:
		tr.Protocols.SetUnencryptedHTTP2(true)
	default:
		tr.Protocols.SetHTTP2(true)
	}
	if n.tls != nil {
		tr.TLSClientConfig = n.tls()
	}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

// url returns the address of a path.
func (n *node) url(path string) string {
	if n.tls != nil {
		return "https://" + n.addr + path
	}
	return "http://" + n.addr + path
}

// dial returns a bare connection, closed when the test ends.
func (n *node) dial(t *testing.T) net.Conn {
	t.Helper()
	var d interface {
		DialContext(context.Context, string, string) (net.Conn, error)
	} = new(net.Dialer)
	if n.tls != nil {
		conf := n.tls()
		conf.NextProtos = []string{"http/1.1"}
		d = &tls.Dialer{Config: conf}
	}
	ctx, cancel := within(t)
	defer cancel()
	conn, err := d.DialContext(ctx, "tcp", n.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// within returns a context that bounds a call which should end by itself.
func within(t *testing.T) (context.Context, context.CancelFunc) {
	return context.WithTimeout(t.Context(), patience)
}
