package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/seed-9a4e2794/micro/client"
	"github.com/seed-9a4e2794/micro/registry"
	registrymemory "github.com/seed-9a4e2794/micro/registry/memory"
	"github.com/seed-9a4e2794/micro/transport"
)

// chooser is a transport that notes in which protocol it is to dial, and
// reaches nobody.
type chooser struct {
	mu     sync.Mutex
	dialed []string
}

// dialer is one of its protocols.
type dialer struct {
	*chooser
	name string
}

func (c *chooser) Protocol(name string, secure bool) (transport.Transport, error) {
	if name == "smoke" {
		return nil, errors.New("no protocol is called smoke")
	}
	if secure {
		name += " by TLS"
	}
	return dialer{c, name}, nil
}

func (c *chooser) Dial(ctx context.Context, addr string) (transport.Conn, error) {
	return dialer{c, "own"}.Dial(ctx, addr)
}

func (c *chooser) Listen(context.Context, string) (transport.Listener, error) {
	return nil, errors.New("not here")
}

func (d dialer) Dial(context.Context, string) (transport.Conn, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.dialed = append(d.dialed, d.name)
	return nil, fmt.Errorf("%w: by %s", transport.ErrUnreachable, d.name)
}

func TestTheProtocolOfACallFollowsTheNodeOrTheCaller(t *testing.T) {
	type md = map[string]string
	for _, tt := range []struct {
		name   string
		md     md
		chosen string
		want   string
	}{
		{"a node that was configured by hand", nil, "", "own"},
		{"a node of ours", md{"wire": "micro/1", "protocol": "mucp", "transport": "http", "server": "mucp"}, "", "own"},
		{"a node of ours with TLS", md{"wire": "micro/1", "protocol": "micro", "secure": "true"}, "", "micro by TLS"},
		{"a node of another wire of ours", md{"wire": "micro/9", "protocol": "mucp"}, "", "mucp"},
		{"go-micro", md{"protocol": "mucp", "transport": "http", "server": "mucp"}, "", "mucp"},
		{"go-micro before it named its protocol", md{"transport": "http", "server": "rpc", "broker": "http"}, "", "mucp-legacy"},
		{"go-micro's gRPC server", md{"protocol": "grpc", "transport": "grpc"}, "", "grpc"},
		{"go-micro's gRPC server before it named its protocol", md{"transport": "grpc", "server": "grpc"}, "", "grpc"},
		{"any gRPC server", md{"protocol": "grpc"}, "", "grpc"},
		{"any gRPC server with TLS", md{"protocol": "grpc", "secure": "true"}, "", "grpc by TLS"},
		{"a label alone", md{"zone": "a"}, "", "own"},
		{"the caller's choice", md{"wire": "micro/1"}, "connect", "connect"},
		{"the caller's choice of what is there", md{"protocol": "grpc"}, "micro", "own"},
		{"go-micro's name of connect", md{"wire": "micro/1"}, "http", "connect"},
		{"a web service", md{"protocol": "http"}, "", "connect"},
		{"go-micro's name of what the node says", md{"protocol": "grpc"}, "rpc", "grpc"},
		{"the same at a node of ours", md{"wire": "micro/1"}, "rpc", "own"},
		{"the native wire within TLS", md{"protocol": "grpc", "secure": "true"}, "micro", "micro by TLS"},
		{"a protocol that there is not", md{"protocol": "smoke"}, "", ""},
	} {
		reg := registrymemory.New()
		must(t, reg.Register(t.Context(), &registry.Service{Name: "greeter", Nodes: []*registry.Node{{Id: "n", Address: "127.0.0.1:1", Metadata: tt.md}}}))
		var tr chooser
		c := client.NewClient(client.Registry(reg), client.Transport(&tr), client.Retries(0))
		_, err := ask(t.Context(), c, "Greeter.Hello", "Ada", client.WithProtocol(tt.chosen))
		if !errors.Is(err, transport.ErrUnreachable) {
			t.Errorf("%s: got %v", tt.name, err)
		}
		got := ""
		if len(tr.dialed) > 0 {
			got = tr.dialed[0]
		}
		if got != tt.want {
			t.Errorf("%s is called by %q, want %q", tt.name, got, tt.want)
		}
		must(t, c.(io.Closer).Close())
	}
}

func TestATransportOfOneProtocolSaysThatItDoesNotSpeakTheNodes(t *testing.T) {
	w := newWorld()
	_, err := ask(t.Context(), w.client(t), "Greeter.Hello", "Ada", client.WithAddress("here:1"), client.WithProtocol("grpc"))
	if !errors.Is(err, transport.ErrUnreachable) || !strings.Contains(err.Error(), `speaks \"grpc\"`) || !strings.Contains(err.Error(), "only its own protocol") {
		t.Errorf("got %v", err)
	}
}
