package port_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	nethttp "net/http"
	"strings"
	"testing"
	"time"

	codecbytes "github.com/seed-9a4e2794/micro/codec/bytes"
	"github.com/seed-9a4e2794/micro/internal/leaktest"
	"github.com/seed-9a4e2794/micro/transport"
	"github.com/seed-9a4e2794/micro/transport/credentials"
	"github.com/seed-9a4e2794/micro/transport/http"
	"github.com/seed-9a4e2794/micro/transport/port"
	"github.com/seed-9a4e2794/micro/transport/tcp"
	"github.com/seed-9a4e2794/micro/transport/transporttest"
)

func TestTransport(t *testing.T) {
	transporttest.Run(t, transporttest.Config{
		New: func(*testing.T) transport.Transport {
			return port.New(port.Config{Native: tcp.Config{MaxMessage: 1 << 20}, HTTP: http.Config{MaxMessage: 1 << 20}})
		},
		Addr: "127.0.0.1:0",
	})
}

func TestTransportOverTLS(t *testing.T) {
	transporttest.Run(t, transporttest.Config{
		New: func(t *testing.T) transport.Transport {
			cfg := secured(t, credentials.ClientsRequired)
			cfg.Native.MaxMessage, cfg.HTTP.MaxMessage = 1<<20, 1<<20
			return port.New(cfg)
		},
		Addr: "127.0.0.1:0",
	})
}

// secured returns a Config of which both sides have a certificate for
// "greeter".
func secured(t *testing.T, clients credentials.Clients) port.Config {
	t.Helper()
	a, err := credentials.NewAuthority("test", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	c, err := a.Credentials(credentials.Node{Name: "greeter"}, clients)
	if err != nil {
		t.Fatal(err)
	}
	return port.Config{ServerTLS: c.Server, ClientTLS: c.Client, Logger: slog.New(slog.DiscardHandler)}
}

// serve listens with a port that answers every unary call with its peer:
// protocol, identity, and whether it is encrypted.
func serve(t *testing.T, cfg port.Config) (*port.Transport, string) {
	t.Helper()
	leaktest.Check(t)
	tr := port.New(cfg)
	ln, err := tr.Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		done <- ln.Accept(func(s transport.Socket) { s.Finish(nil, nil) }, transport.WithUnary(lookup))
	}()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := errors.Join(ln.Shutdown(ctx), <-done); err != nil {
			t.Error(err)
		}
	})
	return tr, ln.Addr()
}

func lookup(transport.Method) (transport.Unary, error) {
	return func(ctx context.Context, _ transport.Body) (transport.Message, error) {
		p, ok := transport.PeerFromContext(ctx)
		if !ok {
			return transport.Message{}, errors.New("no peer")
		}
		text := p.Protocol
		if p.Secure {
			text += " secure"
		}
		if p.Identity != nil {
			text += " " + p.Identity.Name
		}
		return transport.Message{Value: []byte(text), Codec: codecbytes.Codec{}}, nil
	}, nil
}

// protocols are those that the port's client speaks, with the names under which
// handlers see them.
var protocols = [...]string{"micro", "grpc", "grpc-web", "connect", "mucp", "mucp-legacy"}

func TestEveryProtocolIsAnsweredOnOnePortWithAndWithoutTLS(t *testing.T) {
	for _, tt := range []struct {
		name, after string
		cfg         func(t *testing.T) port.Config
	}{
		{"plain", "", func(*testing.T) port.Config { return port.Config{} }},
		{"TLS", " secure", func(t *testing.T) port.Config { return secured(t, credentials.ClientsAny) }},
		{"mutual TLS", " secure greeter", func(t *testing.T) port.Config { return secured(t, credentials.ClientsRequired) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tr, addr := serve(t, tt.cfg(t))
			for _, name := range protocols {
				want := strings.TrimSuffix(name, "-legacy") + tt.after
				if got, err := call(t, tr, name, addr); got != want || err != nil {
					t.Errorf("by %s the handler sees %q, want %q: %v", name, got, want, err)
				}
			}
		})
	}
}

// call makes a call in a protocol.
func call(t *testing.T, tr *port.Transport, protocol, addr string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	dialer, err := tr.Protocol(protocol, false)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := dialer.Dial(ctx, addr)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	reply, err := conn.Call(ctx, transport.Request{Method: transport.Method{Service: "greeter", Endpoint: "Greeter.Hello"},
		Message: transport.Message{Value: []byte("hi"), Codec: codecbytes.Codec{}}})
	if err != nil {
		return "", err
	}
	defer reply.Body.Release()
	return string(reply.Body.Data), nil
}

func TestAProtocolThatThereIsNotIsNamedWithThoseThatThereAre(t *testing.T) {
	_, err := port.New(port.Config{}).Protocol("smoke", false)
	if err == nil || !strings.Contains(err.Error(), `"smoke"`) || !strings.Contains(err.Error(), "connect, grpc, grpc-web, micro, mucp") {
		t.Errorf("got %v", err)
	}
}

func TestSilentClientsAreClosed(t *testing.T) {
	for _, tt := range []struct {
		name   string
		cfg    port.Config
		begins string
	}{
		{"nothing", port.Config{}, ""},
		{"a part of the native greeting", port.Config{}, "\xa7mic"},
		{"a part of a request", port.Config{}, "GET / HT"},
		{"nothing within TLS", secured(t, credentials.ClientsAny), ""},
		{"a part of TLS", secured(t, credentials.ClientsAny), "\x16\x03\x01"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.cfg.HelloTimeout = 50 * time.Millisecond
			_, addr := serve(t, tt.cfg)
			conn, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, err := io.WriteString(conn, tt.begins); err != nil {
				t.Fatal(err)
			}
			if err := conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, conn); isTimeout(err) {
				t.Error("the connection is still open")
			}
		})
	}
}

func isTimeout(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout()
}

// exchange sends text and returns all that comes back until the connection
// ends.
func exchange(t *testing.T, addr, text string) string {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if _, err := io.Copy(&out, conn); isTimeout(err) {
		t.Errorf("the connection stays open after %q", out.String())
	}
	return out.String()
}

func TestPlainTextToAPortWithTLSIsToldInItsOwnProtocol(t *testing.T) {
	cfg := secured(t, credentials.ClientsAny)
	tr, addr := serve(t, cfg)
	if got := exchange(t, addr, "POST /Greeter/Hello HTTP/1.1\r\nHost: x\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 400 ") || !strings.Contains(got, "this port speaks TLS: use https") {
		t.Errorf("HTTP/1.1 got %q", got)
	}
	if got := exchange(t, addr, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"); !strings.Contains(got, "this port speaks TLS") || got[3] != 4 {
		t.Errorf("HTTP/2 got %q", got)
	}
	plain := port.New(port.Config{})
	for name, want := range map[string]string{"micro": "this port speaks TLS", "connect": "", "grpc": "", "mucp": "TLS"} {
		if _, err := call(t, plain, name, addr); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s got %v, which does not say %q", name, err, want)
		}
	}
	_ = tr
}

func TestTLSToAPlainPortFailsAtOnceAndSaysSo(t *testing.T) {
	_, addr := serve(t, port.Config{})
	client := port.New(secured(t, credentials.ClientsAny))
	for _, name := range protocols {
		if _, err := call(t, client, name, addr); err == nil || !strings.Contains(strings.ToLower(err.Error()), "tls") || !errors.Is(err, transport.ErrUnreachable) {
			t.Errorf("%s got %v", name, err)
		}
	}
}

func TestOtherFirstBytesAreTurnedAway(t *testing.T) {
	_, addr := serve(t, port.Config{})
	for _, text := range []string{"\x00\x00\x00\x00", "get / HTTP/1.1\r\n\r\n", "\xff\xff", "\n\n"} {
		if got := exchange(t, addr, text); got != "" {
			t.Errorf("%q was answered with %q", text, got)
		}
	}
	if got := exchange(t, addr, "HELO mail.example\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 400 ") {
		t.Errorf("what looks like a method was answered with %q", got)
	}
}

func TestAPortThatChangesToTLSCanTakeBothForAWhile(t *testing.T) {
	cfg := secured(t, credentials.ClientsAny)
	cfg.AllowPlain = true
	tr, addr := serve(t, cfg)
	plain := port.New(port.Config{})
	for _, name := range protocols {
		if got, err := call(t, plain, name, addr); err != nil || strings.Contains(got, "secure") {
			t.Errorf("%s in plain text got %q, %v", name, got, err)
		}
		if got, err := call(t, tr, name, addr); err != nil || !strings.Contains(got, "secure") {
			t.Errorf("%s by TLS got %q, %v", name, got, err)
		}
	}
}

func TestACallerWithoutTheCertificateThatIsDemandedIsRefused(t *testing.T) {
	cfg := secured(t, credentials.ClientsRequired)
	_, addr := serve(t, cfg)
	bare := cfg
	bare.ClientTLS = func() *tls.Config {
		c := cfg.ClientTLS()
		c.Certificates = nil
		return c
	}
	for _, name := range protocols {
		if got, err := call(t, port.New(bare), name, addr); err == nil {
			t.Errorf("%s was answered %q", name, got)
		}
	}
	stranger := port.New(secured(t, credentials.ClientsRequired)) // of another authority
	for _, name := range protocols {
		if got, err := call(t, stranger, name, addr); err == nil || !strings.Contains(err.Error(), "certificate") {
			t.Errorf("%s of a stranger was answered %q, %v", name, got, err)
		}
	}
}

func TestAProtocolWithinTLSNeedsNoALPN(t *testing.T) {
	cfg := secured(t, credentials.ClientsAny)
	_, addr := serve(t, cfg)
	own := cfg.ClientTLS()
	own.ServerName, own.NextProtos = "localhost", nil
	conn, err := tls.Dial("tcp", addr, own)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "POST /Greeter/Hello HTTP/1.1\r\nHost: x\r\nContent-Type: application/octet-stream\r\nContent-Length: 0\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	rsp, err := nethttp.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer rsp.Body.Close()
	if body, err := io.ReadAll(rsp.Body); string(body) != "connect secure" || err != nil {
		t.Errorf("got %q, %v", body, err)
	}
}

func TestTLSBelowVersion12IsRefused(t *testing.T) {
	cfg := secured(t, credentials.ClientsAny)
	_, addr := serve(t, cfg)
	own := cfg.ClientTLS()
	own.ServerName, own.MinVersion, own.MaxVersion = "localhost", tls.VersionTLS10, tls.VersionTLS11
	if conn, err := tls.Dial("tcp", addr, own); err == nil || !strings.Contains(err.Error(), "protocol version") {
		t.Errorf("got %v, %v", conn, err)
	}
}
