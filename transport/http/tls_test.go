package http_test

import (
	"crypto/tls"
	"testing"

	"github.com/seed-9a4e2794/micro/internal/leaktest"
	"github.com/seed-9a4e2794/micro/transport/http"
)

func TestServerDoesNotAskForTheTLSOfItsCalls(t *testing.T) {
	leaktest.Check(t)
	asked := 0
	h := newHouse(t, http.Config{TLS: func() *tls.Config { asked++; return nil }})
	h.answer("House.Echo", echo)
	handler := http.NewHandler(h.cfg, h.serve)
	defer handler.Close()
	if asked != 0 {
		t.Errorf("it was asked for %d times", asked)
	}
}
