package http

import (
	"fmt"
	nethttp "net/http"
	"strings"
)

// probe answers the paths that watchdogs ask, unless the service has an
// endpoint of that name: /livez says that the process answers, /readyz and
// /healthz whether it wants calls. With ?verbose they say what they looked at.
func (h *Handler) probe(w nethttp.ResponseWriter, r *nethttp.Request) bool {
	path := r.URL.Path
	if path != "/livez" && path != "/readyz" && path != "/healthz" || r.Method != nethttp.MethodGet && r.Method != nethttp.MethodHead {
		return false
	}
	if s := h.opts.Service; s != nil {
		if _, own := s.Endpoint(path[1:]); own {
			return false
		}
	}
	status, text := nethttp.StatusOK, "ok\n"
	if path == "/livez" {
		if r.URL.Query().Has("verbose") {
			text = "[+] process answers\nlivez check passed\n"
		}
	} else {
		status, text = h.ready(path[1:], r.URL.Query().Has("verbose"))
	}
	head := w.Header()
	head.Set("Content-Type", "text/plain; charset=utf-8")
	head.Set("Cache-Control", "no-store")
	head.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	if r.Method == nethttp.MethodGet {
		fmt.Fprint(w, text) // it fails when the caller has gone
	}
	return true
}

// ready returns the answer to a question for readiness, in the form that
// Kubernetes' own probes have.
func (h *Handler) ready(name string, verbose bool) (int, string) {
	if h.opts.Service == nil {
		return nethttp.StatusOK, "ok\n"
	}
	health, _ := h.opts.Service.Health()
	ready := health.Ready() && !h.going.Load()
	if ready && !verbose {
		return nethttp.StatusOK, "ok\n"
	}
	var b strings.Builder
	if health.Serving && !h.going.Load() {
		b.WriteString("[+] serving\n")
	} else {
		b.WriteString("[-] serving: the service is stopping, or has not started\n")
	}
	for _, c := range health.Checks {
		switch {
		case c.Err == nil:
			fmt.Fprintf(&b, "[+] %s\n", c.Name)
		case c.Vital:
			fmt.Fprintf(&b, "[-] %s: failed\n", c.Name)
		default: // the service answers all the same
			fmt.Fprintf(&b, "[!] %s: failed, not needed to answer calls\n", c.Name)
		}
	}
	if ready {
		fmt.Fprintf(&b, "%s check passed\n", name)
		return nethttp.StatusOK, b.String()
	}
	fmt.Fprintf(&b, "%s check failed\n", name)
	return nethttp.StatusServiceUnavailable, b.String()
}
