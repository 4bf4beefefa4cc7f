package static

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/seed-9a4e2794/micro/registry"
)

// The bounds of Parse.
const (
	maxText  = 1 << 20
	maxNodes = 10000
)

// Parse reads services from a text that fits in a flag:
//
//	greeter=127.0.0.1:9000,127.0.0.1:9001;orders@v2=orders.local:9000
//	greeter=127.0.0.1:50051?protocol=grpc&zone=eu
//
// The grammar is
//
//	text     = service *( ";" service )
//	service  = name [ "@" version ] "=" node *( "," node )
//	node     = address [ "?" key "=" value *( "&" key "=" value ) ]
//	address  = host ":" port | "[" IPv6 "]" ":" port
//
// Keys and values become the node's metadata, but for the key "id", which
// becomes its id; without it the id is the address. Characters of name,
// version, key and value that mean something here (; = @ , ? & % + and spaces)
// are written as %XX; in keys and values "+" is a space, as in URLs. White
// space around services and nodes is dropped, a line break may stand for ";",
// and empty services are skipped. A service may be named more than once. A
// text is at most 1 MiB with 10000 nodes. The result is for [Config] and
// belongs to the caller.
func Parse(text string) ([]*registry.Service, error) {
	if len(text) > maxText {
		return nil, fmt.Errorf("static: the text has %d bytes, at most %d are read", len(text), maxText)
	}
	var services []*registry.Service
	nodes := 0
	for part := range strings.FieldsFuncSeq(text, func(r rune) bool { return r == ';' || r == '\n' || r == '\r' }) {
		part = strings.TrimSpace(part)
		if part == "" {
			continue
		}
		s, err := parseService(part)
		if err != nil {
			return nil, fmt.Errorf("static: %q: %w", clip(part), err)
		}
		if nodes += len(s.Nodes); nodes > maxNodes {
			return nil, fmt.Errorf("static: the text has more than %d nodes", maxNodes)
		}
		services = append(services, s)
	}
	return services, nil
}

func parseService(part string) (*registry.Service, error) {
	head, list, ok := strings.Cut(part, "=")
	if !ok {
		return nil, errors.New("want name=host:port")
	}
	name, version, _ := strings.Cut(strings.TrimSpace(head), "@")
	s := new(registry.Service)
	var err error
	if s.Name, err = unescape(name); err != nil {
		return nil, fmt.Errorf("service name: %w", err)
	}
	if s.Name == "" {
		return nil, errors.New("the service has no name before \"=\"")
	}
	if s.Version, err = unescape(version); err != nil {
		return nil, fmt.Errorf("version: %w", err)
	}
	for text := range strings.SplitSeq(list, ",") {
		if len(s.Nodes) == maxNodes {
			return nil, fmt.Errorf("more than %d nodes", maxNodes)
		}
		n, err := parseNode(strings.TrimSpace(text))
		if err != nil {
			return nil, err
		}
		s.Nodes = append(s.Nodes, n)
	}
	return s, nil
}

func parseNode(text string) (*registry.Node, error) {
	address, query, _ := strings.Cut(text, "?")
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("node %q: want host:port: %w", clip(text), err)
	}
	if host == "" || strings.ContainsAny(host, " \t=@/%") || !utf8.ValidString(host) {
		return nil, fmt.Errorf("node %q: %q is no host", clip(text), clip(host))
	}
	if p, err := strconv.ParseUint(port, 10, 16); err != nil || p == 0 {
		return nil, fmt.Errorf("node %q: the port is %q, want a number from 1 to 65535", clip(text), clip(port))
	}
	n := &registry.Node{Id: address, Address: address}
	if query == "" {
		return n, nil
	}
	n.Metadata = make(map[string]string)
	idGiven := false
	for pair := range strings.SplitSeq(query, "&") {
		k, v, ok := strings.Cut(pair, "=")
		if !ok {
			return nil, fmt.Errorf("node %q: %q is no key=value", clip(text), clip(pair))
		}
		if k, err = unescapeQuery(k); err != nil {
			return nil, fmt.Errorf("node %q: %w", clip(text), err)
		}
		if v, err = unescapeQuery(v); err != nil {
			return nil, fmt.Errorf("node %q: %w", clip(text), err)
		}
		_, twice := n.Metadata[k]
		switch {
		case k == "":
			return nil, fmt.Errorf("node %q: %q has no key", clip(text), clip(pair))
		case twice, k == "id" && idGiven:
			return nil, fmt.Errorf("node %q: the key %q comes twice", clip(text), clip(k))
		case k == "id" && v == "":
			return nil, fmt.Errorf("node %q: the id is empty", clip(text))
		case k == "id":
			n.Id, idGiven = v, true
		default:
			n.Metadata[k] = v
		}
	}
	return n, nil
}

func unescape(s string) (string, error)      { return valid(url.PathUnescape(s)) }
func unescapeQuery(s string) (string, error) { return valid(url.QueryUnescape(s)) }

func valid(s string, err error) (string, error) {
	if err == nil && !utf8.ValidString(s) {
		err = fmt.Errorf("%q is not UTF-8", clip(s))
	}
	return s, err
}

// clip keeps what an error quotes short.
func clip(s string) string {
	if len(s) > 80 {
		return s[:80] + "..."
	}
	return s
}
