package server_test

import (
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/seed-9a4e2794/micro/client"
	"github.com/seed-9a4e2794/micro/codec/proto"
	microerrors "github.com/seed-9a4e2794/micro/errors"
	"github.com/seed-9a4e2794/micro/internal/leaktest"
	"github.com/seed-9a4e2794/micro/server"
	"github.com/seed-9a4e2794/micro/transport"
	"github.com/seed-9a4e2794/micro/transport/credentials"
	"github.com/seed-9a4e2794/micro/transport/port"
)

func TestRulesHoldForTheIdentitiesThatTLSHasVerified(t *testing.T) {
	leaktest.Check(t)
	ca, err := credentials.NewAuthority("test", 0)
	must(t, err)
	quiet := slog.New(slog.DiscardHandler)
	over := func(name string, clients credentials.Clients) transport.Transport {
		c, err := ca.Credentials(credentials.Node{Name: name}, clients)
		must(t, err)
		return port.New(port.Config{ServerTLS: c.Server, ClientTLS: c.Client, Logger: quiet})
	}
	cert, _, err := ca.PEM()
	must(t, err)
	path := filepath.Join(t.TempDir(), "ca.pem")
	must(t, os.WriteFile(path, cert, 0o600))
	nobody, err := credentials.Load(credentials.Config{CA: path})
	must(t, err)

	w := newWorld()
	w.serve(t, []server.Handler{hello()}, server.Transport(over("greeter", credentials.ClientsOptional)),
		server.Authorize(server.Allow(server.Rule{Identity: "orders", Endpoint: "Greeter.*"})))
	for _, tt := range []struct {
		name      string
		transport transport.Transport
		want      microerrors.Code
	}{
		{"orders", over("orders", credentials.ClientsAny), microerrors.CodeOK},
		{"billing", over("billing", credentials.ClientsAny), microerrors.CodePermissionDenied},
		{"no certificate", port.New(port.Config{ClientTLS: nobody.Client, Logger: quiet}), microerrors.CodeUnauthenticated},
	} {
		c := client.NewClient(client.Registry(w.registry), client.Transport(tt.transport), client.Logger(quiet))
		if got, err := ask(c, "Greeter.Hello", "Ada"); code(err) != tt.want || (got != "") != (tt.want == microerrors.CodeOK) {
			t.Errorf("%s: %q, %v; want %s", tt.name, got, err, tt.want)
		}
		must(t, c.(io.Closer).Close())
		if got := reflects(t, w, tt.transport); got != tt.want && tt.name != "orders" || tt.name == "orders" && got != microerrors.CodePermissionDenied {
			t.Errorf("%s asked what there is and got %s", tt.name, got)
		}
	}
}

// reflects asks a node what it is made of and returns how that ends.
func reflects(t *testing.T, w *world, tr transport.Transport) microerrors.Code {
	t.Helper()
	services, err := w.registry.GetService(t.Context(), "greeter")
	must(t, err)
	grpc, err := tr.(transport.Protocols).Protocol("grpc", true)
	must(t, err)
	conn, err := grpc.Dial(t.Context(), services[0].Nodes[0].Address)
	must(t, err)
	defer conn.Close()
	sock, err := conn.Open(t.Context(), transport.Request{Method: transport.Method{Endpoint: "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"},
		Message: transport.Message{Codec: proto.Codec{}}})
	must(t, err)
	must(t, sock.CloseSend())
	if _, err = sock.Recv(); err == io.EOF {
		return microerrors.CodeOK
	}
	return code(err)
}
