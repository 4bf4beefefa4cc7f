package http

import (
	nethttp "net/http"
	"slices"
	"strings"

	"connectrpc.com/connect"

	"github.com/seed-9a4e2794/micro/internal/mucp"
	"github.com/seed-9a4e2794/micro/metadata"
	"github.com/seed-9a4e2794/micro/transport"
)

// reserved reports whether a header field belongs to HTTP or to one of the
// protocols, go-micro's wire among them, and so is no metadata. key is in canonical form.
func reserved(key string) bool {
	switch key {
	case "Accept", "Accept-Encoding", "Accept-Post", "Allow", "Connection", "Content-Encoding", "Content-Length", "Content-Type",
		"Date", "Expect", "Host", "Keep-Alive", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade",
		errorKey, "X-Content-Type":
		return true
	}
	return mucp.Defines(key) || strings.HasPrefix(key, "Grpc-") || strings.HasPrefix(key, "Connect-") || strings.HasPrefix(key, ":")
}

// fromHTTP returns the metadata of an HTTP header, sorted by key. Values of
// keys that end in "-bin" are decoded; one that cannot be is left as it came.
func fromHTTP(h nethttp.Header) metadata.Header {
	keys := make([]string, 0, len(h))
	n := 0
	for k, vs := range h {
		if !reserved(k) {
			keys = append(keys, k)
			n += len(vs)
		}
	}
	if n == 0 {
		return nil
	}
	slices.Sort(keys)
	out := make(metadata.Header, 0, n)
	for _, k := range keys {
		key := strings.ToLower(k)
		for _, v := range h[k] {
			if !strings.HasSuffix(key, "-bin") {
				out = append(out, metadata.Field{Key: key, Value: v})
				continue
			}
			for part := range strings.SplitSeq(v, ",") { // several may be joined
				part = strings.TrimSpace(part)
				if b, err := connect.DecodeBinaryHeader(part); err == nil {
					part = string(b)
				}
				out = append(out, metadata.Field{Key: key, Value: part})
			}
		}
	}
	return out
}

// toHTTP adds metadata to an HTTP header. What belongs to the protocols is left
// out, and so is what HTTP cannot carry: see portable.
func toHTTP(to nethttp.Header, md metadata.Header) {
	for _, f := range md {
		key := nethttp.CanonicalHeaderKey(f.Key)
		if reserved(key) || !token(key) {
			continue
		}
		v := f.Value
		if strings.HasSuffix(key, "-Bin") {
			v = connect.EncodeBinaryHeader([]byte(v))
		} else if !printable(v) {
			continue
		}
		to[key] = append(to[key], v)
	}
}

// askHTTP adds what a request says in headers.
func askHTTP(to nethttp.Header, r transport.Request) {
	toHTTP(to, r.Header)
	if r.Method.Strict && r.Method.Service != "" {
		to.Set(mucp.StrictKey, r.Method.Service)
	}
}

// token reports whether s can be the name of a field: RFC 9110 §5.6.2.
func token(s string) bool {
	for i := range len(s) {
		c := s[i]
		if ('a' > c || c > 'z') && ('A' > c || c > 'Z') && ('0' > c || c > '9') && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return s != ""
}

// printable reports whether s can be the value of a field: RFC 9110 §5.5.
func printable(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}
