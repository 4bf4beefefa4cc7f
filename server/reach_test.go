package server

import (
	"net"
	"testing"
)

// What a service does with a registry on other machines is tested without
// listening there.
func TestRegistryOnOtherMachinesMeansAllInterfacesAndARoutableAddress(t *testing.T) {
	for _, c := range []struct {
		addr   string
		remote bool
		want   string
	}{{"", false, "127.0.0.1:0"}, {"", true, ":0"}, {"127.0.0.1:80", true, "127.0.0.1:80"}, {":8080", false, ":8080"}} {
		if got := listenAddress(c.addr, c.remote); got != c.want {
			t.Errorf("listenAddress(%q, %v) = %s", c.addr, c.remote, got)
		}
	}
	addr, why := advertise("[::]:4711")
	host, port, err := net.SplitHostPort(addr)
	if err != nil || port != "4711" || why == "" {
		t.Fatalf("advertise gave %s because %q", addr, why)
	}
	ip := net.ParseIP(host)
	if ip == nil || ip.IsUnspecified() || ip.IsLinkLocalUnicast() {
		t.Errorf("%s is not routable", addr)
	}
	if got, _ := advertise("192.0.2.1:80"); got != "192.0.2.1:80" {
		t.Errorf("a bound address is advertised as %s", got)
	}
	for bound, want := range map[string]bool{"127.0.0.1:1": false, "[::1]:1": false, "[::]:1": true, "0.0.0.0:1": true, "192.0.2.1:1": true, "memory:1": false} {
		if exposed(bound) != want {
			t.Errorf("exposed(%s) = %v", bound, !want)
		}
	}
}
