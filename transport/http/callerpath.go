package http

import (
	"net/url"
	"strings"

	"github.com/seed-9a4e2794/micro/transport"
)

// methodPath returns the path that a method is called at, escaped.
//
//	/any/path                   as it is
//	a.B.Method                  /a.B/Method
//	Greeter.Hello of greeter    /greeter.Greeter/Hello
//	Greeter.Hello of no service /Greeter/Hello
//	Hello of greeter            /greeter/Hello
//	Hello of no service         /Hello
func methodPath(m transport.Method) string {
	if strings.HasPrefix(m.Endpoint, "/") {
		return (&url.URL{Path: m.Endpoint}).EscapedPath()
	}
	handler, method := "", m.Endpoint
	if i := strings.LastIndexByte(m.Endpoint, '.'); i >= 0 {
		handler, method = m.Endpoint[:i], m.Endpoint[i+1:]
	}
	switch {
	case m.Service == "" || strings.Contains(handler, "."):
	case handler == "":
		handler = m.Service
	default:
		handler = m.Service + "." + handler
	}
	if handler == "" {
		return "/" + url.PathEscape(method)
	}
	return "/" + url.PathEscape(handler) + "/" + url.PathEscape(method)
}
