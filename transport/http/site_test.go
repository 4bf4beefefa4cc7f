package http_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"log"
	"math/big"
	"net"
	nethttp "net/http"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/seed-9a4e2794/micro/codec/proto"
	"github.com/seed-9a4e2794/micro/errors"
	"github.com/seed-9a4e2794/micro/internal/leaktest"
	"github.com/seed-9a4e2794/micro/transport"
	"github.com/seed-9a4e2794/micro/transport/http"
)

type str = wrapperspb.StringValue

// patience bounds everything that should happen at once.
const patience = 10 * time.Second

// site is a server made of connect's own handlers, and how to call it.
type site struct {
	t      *testing.T
	proto  http.Protocol
	secure bool
	mux    *nethttp.ServeMux
	server *nethttp.Server
	addr   string
	roots  *x509.CertPool
	done   chan struct{}
}

// each runs a test for each protocol, in plain text and over TLS.
func each(t *testing.T, f func(t *testing.T, s *site)) {
	for _, p := range []http.Protocol{http.GRPC, http.GRPCWeb, http.Connect} {
		for _, secure := range []bool{false, true} {
			name := string(p) + "/plain"
			if secure {
				name = string(p) + "/tls"
			}
			t.Run(name, func(t *testing.T) {
				leaktest.Check(t)
				f(t, newSite(t, p, secure, nil))
			})
		}
	}
}

// newSite starts a server with HTTP/1.1 and HTTP/2, unless it is changed.
func newSite(t *testing.T, p http.Protocol, secure bool, change func(*nethttp.Server)) *site {
	t.Helper()
	s := &site{t: t, proto: p, secure: secure, mux: nethttp.NewServeMux(), done: make(chan struct{})}
	s.server = &nethttp.Server{Handler: s.mux, Protocols: new(nethttp.Protocols), ErrorLog: log.New(io.Discard, "", 0)}
	s.server.Protocols.SetHTTP1(true)
	s.server.Protocols.SetHTTP2(true)
	s.server.Protocols.SetUnencryptedHTTP2(true)
	// By net/http's defaults one stream can fill the connection's window.
	s.server.HTTP2 = &nethttp.HTTP2Config{MaxReceiveBufferPerStream: 64 << 10, MaxReceiveBufferPerConnection: 2 << 20}
	if change != nil {
		change(s.server)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.addr = ln.Addr().String()
	if secure {
		var cert tls.Certificate
		cert, s.roots = certificate(t)
		s.server.TLSConfig = &tls.Config{Certificates: []tls.Certificate{cert}}
	}
	go func() {
		defer close(s.done)
		if secure {
			_ = s.server.ServeTLS(ln, "", "") // it ends with Close
		} else {
			_ = s.server.Serve(ln) // likewise
		}
	}()
	t.Cleanup(func() { s.server.Close(); <-s.done })
	return s
}

func certificate(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"greeter.test"}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

func (s *site) config() http.Config {
	cfg := http.Config{Protocol: s.proto, MaxMessage: 1 << 20}
	if s.secure {
		cfg.TLS = func() *tls.Config { return &tls.Config{RootCAs: s.roots} }
	}
	return cfg
}

// dial returns a connection, which ends with the test.
func (s *site) dial() transport.Conn {
	s.t.Helper()
	c, err := http.New(s.config()).Dial(context.Background(), s.addr)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { c.Close() })
	return c
}

// unary serves a method Test.<name> with connect's handler.
func (s *site) unary(name string, f func(context.Context, *connect.Request[str]) (*connect.Response[str], error)) {
	s.mux.Handle("/Test/"+name, connect.NewUnaryHandler("/Test/"+name, f))
}

func (s *site) echo() {
	s.unary("Echo", func(_ context.Context, r *connect.Request[str]) (*connect.Response[str], error) {
		return connect.NewResponse(r.Msg), nil
	})
}

func ask(name, text string) transport.Request {
	return transport.Request{Method: transport.Method{Endpoint: "Test." + name}, Message: send(text)}
}

func send(text string) transport.Message {
	return transport.Message{Value: wrapperspb.String(text), Codec: proto.Codec{}}
}

// text takes the text out of a body and releases that.
func text(t *testing.T, b transport.Body) string {
	t.Helper()
	defer b.Release()
	var m str
	if err := (proto.Codec{}).Unmarshal(b.Data, &m); err != nil {
		t.Fatal(err)
	}
	return m.Value
}

func call(t *testing.T, c transport.Conn, r transport.Request) (string, error) {
	t.Helper()
	rsp, err := c.Call(context.Background(), r)
	if err != nil {
		return "", err
	}
	return text(t, rsp.Body), nil
}

func within[T any](t *testing.T, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatal("it did not happen in time")
		panic("unreachable")
	}
}

func code(err error) errors.Code { return errors.From("", err).GRPCCode() }
