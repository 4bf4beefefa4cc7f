package server

import (
	"net"
	"strings"
)

// listenAddress returns where to listen.
func listenAddress(addr string, remote bool) string {
	switch {
	case addr != "":
		return addr
	case remote:
		return ":0"
	}
	return "127.0.0.1:0"
}

// exposed reports whether other machines can reach a bound address.
func exposed(bound string) bool {
	host, _, err := net.SplitHostPort(bound)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return ip != nil && !ip.IsLoopback()
}

// advertise returns the address at which others reach a bound address, and why
// it is that one.
func advertise(bound string) (addr, why string) {
	host, port, err := net.SplitHostPort(bound)
	if err != nil {
		return bound, "it is the bound address"
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsUnspecified() {
		return bound, "it is the bound address"
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return net.JoinHostPort("127.0.0.1", port), "the interfaces cannot be listed: " + err.Error()
	}
	var public string
	for _, a := range addrs {
		n, ok := a.(*net.IPNet)
		if !ok || n.IP.IsLoopback() || n.IP.IsLinkLocalUnicast() || n.IP.IsMulticast() {
			continue
		}
		if n.IP.IsPrivate() {
			return net.JoinHostPort(n.IP.String(), port), "it is the first private address of the interfaces"
		}
		if public == "" {
			public = n.IP.String()
		}
	}
	if public != "" {
		return net.JoinHostPort(public, port), "it is the first address of the interfaces"
	}
	return net.JoinHostPort("127.0.0.1", port), "no interface but the loopback has an address"
}

// withPort adds the bound port to an advertised address that has none.
func withPort(addr, bound string) string {
	if _, port, err := net.SplitHostPort(addr); err == nil && port != "" && port != "0" {
		return addr
	}
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		host = strings.Trim(addr, "[]")
	}
	_, port, err := net.SplitHostPort(bound)
	if err != nil {
		return addr
	}
	return net.JoinHostPort(host, port)
}
