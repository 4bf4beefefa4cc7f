package server_test

import (
	"log/slog"
	"net"
	"strings"
	"testing"

	"github.com/seed-9a4e2794/micro/internal/leaktest"
	"github.com/seed-9a4e2794/micro/server"
	"github.com/seed-9a4e2794/micro/transport/tcp"
)

// bound starts a server on sockets and returns its address and what it has
// registered. It listens on the loopback address unless remote is set.
func bound(t *testing.T, remote bool, opts ...server.Option) (address, advertised string, w *world) {
	t.Helper()
	w = newWorld()
	w.registry.remote = remote
	opts = append([]server.Option{server.Transport(tcp.New(tcp.Config{Logger: slog.New(slog.DiscardHandler)})), server.DrainDelay(0)}, opts...)
	s := w.serve(t, []server.Handler{hello()}, opts...)
	return s.Options().Address, w.registry.last.Nodes[0].Address, w
}

func TestAddressesFollowTheReachOfTheRegistry(t *testing.T) {
	leaktest.Check(t)
	address, advertised, w := bound(t, false)
	if host, port, _ := net.SplitHostPort(address); host != "127.0.0.1" || port == "0" || advertised != address {
		t.Errorf("with nodes of this machine only it listens on %s and advertises %s", address, advertised)
	}
	if w.log.count("other machines can reach") != 0 {
		t.Error("it warns although it is on the loopback address")
	}
}

func TestAdvertisedAddressIsTakenAndGetsThePort(t *testing.T) {
	leaktest.Check(t)
	for advertise, want := range map[string]string{
		"10.1.2.3": "10.1.2.3:PORT", "10.1.2.3:77": "10.1.2.3:77", "10.1.2.3:0": "10.1.2.3:PORT", "node-1": "node-1:PORT", "node-1:": "node-1:PORT",
		"::1": "[::1]:PORT", "[::1]": "[::1]:PORT", "[::1]:77": "[::1]:77",
	} {
		// The registry may be far away: an address that was asked for is kept.
		address, advertised, _ := bound(t, true, server.Address("127.0.0.1:0"), server.Advertise(advertise))
		_, port, _ := net.SplitHostPort(address)
		if want = strings.Replace(want, "PORT", port, 1); advertised != want {
			t.Errorf("Advertise(%q) registers %s, want %s", advertise, advertised, want)
		}
	}
}

func TestPortRangeTakesTheFirstFreePort(t *testing.T) {
	leaktest.Check(t)
	first, _, _ := bound(t, false)
	_, port, _ := net.SplitHostPort(first)
	second, _, _ := bound(t, false, server.Address("127.0.0.1:"+port+"-65535"))
	if second == first || !strings.HasPrefix(second, "127.0.0.1:") {
		t.Errorf("from port %s on it took %s", port, second)
	}
	w := newWorld()
	s := w.server(server.Transport(tcp.New(tcp.Config{})), server.Address("127.0.0.1:"+port+"-"+port))
	want(t, s.Start(), "server:", "no port of the range is free")
	want(t, w.server(server.Transport(tcp.New(tcp.Config{})), server.Address("127.0.0.1:9-8")).Start(), "lower first")
}
