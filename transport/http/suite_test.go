package http_test

import (
	"context"
	"crypto/tls"
	"net"
	"testing"

	"github.com/seed-9a4e2794/micro/codec"
	"github.com/seed-9a4e2794/micro/transport"
	"github.com/seed-9a4e2794/micro/transport/http"
	"github.com/seed-9a4e2794/micro/transport/transporttest"
)

// suite is the transport as the suite needs it. The suite's endpoints have
// names without a handler, and a listener of HTTP has to know which of them are
// streams: in gRPC a request does not say.
type suite struct {
	cfg  http.Config
	cert *tls.Config
}

func (s *suite) Listen(ctx context.Context, addr string) (transport.Listener, error) {
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	if s.cert != nil {
		ln = tls.NewListener(ln, s.cert)
	}
	return suiteListener{http.NewListener(s.cfg, ln)}, nil
}

func (s *suite) Dial(ctx context.Context, addr string) (transport.Conn, error) {
	c, err := http.New(s.cfg).Dial(ctx, addr)
	return suiteConn{c}, err
}

type suiteConn struct{ transport.Conn }

func (c suiteConn) Call(ctx context.Context, r transport.Request) (transport.Reply, error) {
	r.Method.Service = ""
	return c.Conn.Call(ctx, r)
}

func (c suiteConn) Open(ctx context.Context, r transport.Request) (transport.Socket, error) {
	r.Method.Service = ""
	return c.Conn.Open(ctx, r)
}

type suiteListener struct{ transport.Listener }

func (l suiteListener) Accept(serve func(transport.Socket), opts ...transport.AcceptOption) error {
	return l.Listener.Accept(serve, append(opts, transport.WithService(suiteService{}))...)
}

type suiteService struct{}

func (suiteService) Name() string                    { return "test" }
func (suiteService) Endpoints() []transport.Endpoint { return nil }
func (suiteService) ContentTypes() []string {
	return []string{codec.Bytes, codec.JSON, "application/x-test"}
}
func (suiteService) Health() (transport.Health, <-chan struct{}) { return transport.Health{}, nil }

func (suiteService) Endpoint(name string) (transport.Endpoint, bool) {
	switch name {
	case "Any":
		return transport.Endpoint{Name: name}, true
	case "Stream", "ByCaller", "ByHandler":
		return transport.Endpoint{Name: name, Kind: transport.KindBidi}, true
	}
	return transport.Endpoint{}, false
}

func TestTheContractOfTransportsIsKept(t *testing.T) {
	for _, p := range []http.Protocol{http.GRPC, http.GRPCWeb, http.Connect} {
		for _, secure := range []bool{false, true} {
			name := string(p) + "/plain"
			if secure {
				name = string(p) + "/tls"
			}
			if secure && p == http.GRPCWeb {
				continue // TLS is the same for all, and the suite takes its time
			}
			t.Run(name, func(t *testing.T) {
				transporttest.Run(t, transporttest.Config{Addr: "127.0.0.1:0", New: func(t *testing.T) transport.Transport {
					s := &suite{cfg: http.Config{Protocol: p, MaxMessage: 1 << 20}}
					if secure {
						cert, roots := certificate(t)
						s.cert = &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"h2", "http/1.1"}}
						s.cfg.TLS = func() *tls.Config { return &tls.Config{RootCAs: roots} }
					}
					return s
				}})
			})
		}
	}
}
