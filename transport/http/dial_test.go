package http_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	stderrors "errors"
	"fmt"
	"net"
	nethttp "net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/seed-9a4e2794/micro/errors"
	"github.com/seed-9a4e2794/micro/internal/leaktest"
	"github.com/seed-9a4e2794/micro/metadata"
	"github.com/seed-9a4e2794/micro/transport"
	"github.com/seed-9a4e2794/micro/transport/http"
)

// wait serves a method that waits, and tells when it has begun and ended.
func (s *site) wait() (begun, ended chan struct{}) {
	begun, ended = make(chan struct{}, 10), make(chan struct{}, 10)
	s.unary("Wait", func(ctx context.Context, _ *connect.Request[str]) (*connect.Response[str], error) {
		begun <- struct{}{}
		<-ctx.Done()
		ended <- struct{}{}
		return nil, ctx.Err()
	})
	return begun, ended
}

func TestCallOfAServerThatGoesIsLost(t *testing.T) {
	each(t, func(t *testing.T, s *site) {
		begun, _ := s.wait()
		c := s.dial()
		result := make(chan error, 1)
		go func() { _, err := call(t, c, ask("Wait", "")); result <- err }()
		within(t, begun)
		s.server.Close()
		if err := within(t, result); !stderrors.Is(err, transport.ErrLost) || stderrors.Is(err, errors.ErrRefused) || code(err) != errors.CodeUnavailable {
			t.Errorf("the call under way: %v", err)
		}
		if c.Err() == nil {
			t.Error("Err is nil")
		}
		if _, err := call(t, c, ask("Wait", "")); !stderrors.Is(err, errors.ErrRefused) {
			t.Errorf("a call afterwards: %v", err)
		}
		<-s.done
		if _, err := http.New(s.config()).Dial(context.Background(), s.addr); !stderrors.Is(err, transport.ErrUnreachable) {
			t.Errorf("dialling afterwards: %v", err)
		}
	})
}

func TestServerThatStopsFinishesItsCallsAndGetsNoMore(t *testing.T) {
	each(t, func(t *testing.T, s *site) {
		begun, release := make(chan struct{}), make(chan struct{})
		s.unary("Slow", func(context.Context, *connect.Request[str]) (*connect.Response[str], error) {
			close(begun)
			<-release
			return connect.NewResponse(&str{Value: "done"}), nil
		})
		s.echo()
		c := s.dial()
		result := make(chan string, 1)
		go func() { got, err := call(t, c, ask("Slow", "")); result <- fmt.Sprint(got, err) }()
		within(t, begun)
		down := make(chan error, 1)
		go func() { down <- s.server.Shutdown(context.Background()) }()
		for until := time.Now().Add(patience); c.Err() == nil; {
			if time.Now().After(until) {
				t.Fatal("Err is nil after the server has begun to stop")
			}
			if _, err := call(t, c, ask("Echo", "x")); err != nil && !stderrors.Is(err, errors.ErrRefused) {
				t.Fatalf("a call meanwhile: %v", err)
			}
		}
		if _, err := call(t, c, ask("Echo", "x")); !stderrors.Is(err, errors.ErrRefused) || !strings.Contains(err.Error(), "going away") {
			t.Errorf("a call afterwards: %v", err)
		}
		close(release)
		if got := within(t, result); got != "done<nil>" {
			t.Errorf("the call under way: %s", got)
		}
		if err := within(t, down); err != nil {
			t.Error(err)
		}
	})
}

func TestCloseEndsCallsAndWaits(t *testing.T) {
	each(t, func(t *testing.T, s *site) {
		begun, ended := s.wait()
		s.chat()
		c := s.dial()
		result := make(chan error, 1)
		go func() { _, err := call(t, c, ask("Wait", "")); result <- err }()
		within(t, begun)
		st := open(t, c, ask("Chat", ""))
		if _, err := st.Header(); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		}
		if err := within(t, result); !stderrors.Is(err, transport.ErrLost) || !stderrors.Is(err, transport.ErrClosed) {
			t.Errorf("the call under way: %v", err)
		}
		within(t, ended)
		ends(t, st, is(transport.ErrLost))
		if !stderrors.Is(c.Err(), transport.ErrClosed) {
			t.Errorf("Err is %v", c.Err())
		}
		if _, err := call(t, c, ask("Wait", "")); !stderrors.Is(err, errors.ErrRefused) {
			t.Errorf("a call afterwards: %v", err)
		}
		if _, err := c.Open(context.Background(), ask("Chat", "")); !stderrors.Is(err, errors.ErrRefused) {
			t.Errorf("a stream afterwards: %v", err)
		}
	})
}

func TestServerWithoutHTTP2IsCalledByHTTP1WhereTheProtocolAllowsIt(t *testing.T) {
	for _, p := range []http.Protocol{http.GRPCWeb, http.Connect, http.GRPC} {
		for _, secure := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/%v", p, secure), func(t *testing.T) {
				leaktest.Check(t)
				s := newSite(t, p, secure, http1Only)
				s.echo()
				begun, ended := s.wait()
				if p == http.GRPC {
					_, err := http.New(s.config()).Dial(context.Background(), s.addr)
					if !stderrors.Is(err, transport.ErrUnreachable) || !strings.Contains(err.Error(), "gRPC needs HTTP/2") {
						t.Errorf("got %v", err)
					}
					return
				}
				c := s.dial()
				var group sync.WaitGroup
				for i := range 100 {
					group.Go(func() {
						if got, err := call(t, c, ask("Echo", fmt.Sprint(i))); err != nil || got != fmt.Sprint(i) {
							t.Errorf("call %d: %q, %v", i, got, err)
						}
					})
				}
				group.Wait()
				ctx, cancel := context.WithCancel(context.Background())
				go func() { <-begun; cancel() }()
				if _, err := c.Call(ctx, ask("Wait", "")); !stderrors.Is(err, context.Canceled) {
					t.Errorf("a call that is cancelled: %v", err)
				}
				within(t, ended)
				result := make(chan error, 1)
				go func() { _, err := call(t, c, ask("Wait", "")); result <- err }()
				within(t, begun)
				c.Close()
				if err := within(t, result); !stderrors.Is(err, transport.ErrLost) {
					t.Errorf("a call that is under way at Close: %v", err)
				}
				if _, err := call(t, c, ask("Echo", "")); !stderrors.Is(err, errors.ErrRefused) {
					t.Errorf("a call after Close: %v", err)
				}
			})
		}
	}
}

func TestServerOfHTTP1ThatGoesIsUnreachable(t *testing.T) {
	leaktest.Check(t)
	s := newSite(t, http.Connect, false, http1Only)
	s.echo()
	c := s.dial()
	if _, err := call(t, c, ask("Echo", "")); err != nil {
		t.Fatal(err)
	}
	s.server.Close()
	<-s.done
	for until := time.Now().Add(patience); c.Err() == nil && time.Now().Before(until); {
		if _, err := call(t, c, ask("Echo", "")); err == nil {
			t.Fatal("a call of a server that has gone ended well")
		}
	}
	if c.Err() == nil {
		t.Error("Err is nil")
	}
	if _, err := call(t, c, ask("Echo", "")); !stderrors.Is(err, errors.ErrRefused) {
		t.Errorf("got %v", err)
	}
}

func TestCertificatesAreVerified(t *testing.T) {
	for _, p := range []http.Protocol{http.GRPC, http.GRPCWeb, http.Connect} {
		t.Run(string(p), func(t *testing.T) {
			leaktest.Check(t)
			s := newSite(t, p, true, nil)
			s.echo()
			var name x509.HostnameError
			var authority x509.UnknownAuthorityError
			for _, tt := range []struct {
				what string
				cfg  *tls.Config
				err  any
			}{
				{"a wrong name", &tls.Config{RootCAs: s.roots, ServerName: "other.test"}, &name},
				{"an unknown authority", nil, &authority},
				{"the address", &tls.Config{RootCAs: s.roots}, nil},
				{"a given name", &tls.Config{RootCAs: s.roots, ServerName: "greeter.test"}, nil},
			} {
				cfg := s.config()
				cfg.TLS = func() *tls.Config { return tt.cfg }
				c, err := http.New(cfg).Dial(context.Background(), s.addr)
				switch {
				case tt.err != nil && (!stderrors.Is(err, transport.ErrUnreachable) || !stderrors.As(err, tt.err)):
					t.Errorf("%s: %v", tt.what, err)
				case tt.err == nil && err != nil:
					t.Errorf("%s: %v", tt.what, err)
				}
				if err != nil {
					continue
				}
				if _, err := call(t, c, ask("Echo", "")); err != nil {
					t.Errorf("%s: %v", tt.what, err)
				}
				c.Close()
			}
			cfg := s.config()
			cfg.TLS = nil
			if _, err := http.New(cfg).Dial(context.Background(), s.addr); !stderrors.Is(err, transport.ErrUnreachable) {
				t.Errorf("plain text to a port with TLS: %v", err)
			}
		})
	}
}

func TestTLSToAPlainPortIsUnreachable(t *testing.T) {
	leaktest.Check(t)
	s := newSite(t, http.GRPC, false, nil)
	cfg := s.config()
	cfg.TLS = func() *tls.Config { return nil }
	if _, err := http.New(cfg).Dial(context.Background(), s.addr); !stderrors.Is(err, transport.ErrUnreachable) || !strings.Contains(err.Error(), "TLS") {
		t.Errorf("got %v", err)
	}
}

func TestOtherServersAreRecognized(t *testing.T) {
	each(t, func(t *testing.T, s *site) {
		for _, tt := range []struct {
			path, want string
			code       errors.Code
			answer     func(nethttp.ResponseWriter)
		}{
			{"/Missing", "404 Not Found", errors.CodeUnimplemented, func(w nethttp.ResponseWriter) { nethttp.Error(w, "no", 404) }},
			{"/Down", "503 Service Unavailable", errors.CodeUnavailable, func(w nethttp.ResponseWriter) { nethttp.Error(w, "no", nethttp.StatusServiceUnavailable) }},
			{"/Moved", "302 Found", errors.CodeUnknown, func(w nethttp.ResponseWriter) { w.Header().Set("Location", "/x"); w.WriteHeader(302) }},
			{"/Page", `content type \"text/html`, errors.CodeUnknown, func(w nethttp.ResponseWriter) {
				w.Header().Set("Content-Type", "text/html")
				fmt.Fprint(w, "<html>") // the recorder of the test cannot fail
			}},
		} {
			s.mux.HandleFunc(tt.path, func(w nethttp.ResponseWriter, _ *nethttp.Request) { tt.answer(w) })
			r := ask("", "")
			r.Method.Endpoint = tt.path
			_, err := call(t, s.dial(), r)
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), s.addr) ||
				stderrors.Is(err, errors.ErrRefused) || stderrors.Is(err, transport.ErrLost) {
				t.Errorf("%s: %v", tt.path, err)
			}
			if code(err) != tt.code && tt.path != "/Page" { // connect's own choice there
				t.Errorf("%s: the code is %v", tt.path, code(err))
			}
		}
	})
}

func TestConnectionWithoutCallsEnds(t *testing.T) {
	each(t, func(t *testing.T, s *site) {
		s.echo()
		cfg := s.config()
		cfg.IdleTimeout = 50 * time.Millisecond
		c, err := http.New(cfg).Dial(context.Background(), s.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for until := time.Now().Add(patience); c.Err() == nil; <-tick.C {
			if time.Now().After(until) {
				t.Fatal("it is still there")
			}
		}
		if _, err := call(t, c, ask("Echo", "")); !stderrors.Is(err, errors.ErrRefused) {
			t.Errorf("a call afterwards: %v", err)
		}
	})
}

func TestMetadataOfAReplyOverTheLimitIsAnError(t *testing.T) {
	each(t, func(t *testing.T, s *site) {
		s.unary("Much", func(context.Context, *connect.Request[str]) (*connect.Response[str], error) {
			rsp := connect.NewResponse(&str{})
			rsp.Header().Set("X-Much", strings.Repeat("x", 40<<10)) // a single field over the limit would end the connection
			rsp.Header().Set("X-More", strings.Repeat("x", 40<<10))
			return rsp, nil
		})
		if _, err := call(t, s.dial(), ask("Much", "")); !stderrors.Is(err, transport.ErrTooLarge) {
			t.Errorf("got %v", err)
		}
	})
}

func TestMetadataOverThePeersLimitIsRefused(t *testing.T) {
	leaktest.Check(t)
	s := newSite(t, http.GRPC, false, func(s *nethttp.Server) { s.MaxHeaderBytes = 1000 })
	s.echo()
	c := s.dial()
	if _, err := call(t, c, ask("Echo", "")); err != nil { // the peer's limit is known afterwards
		t.Fatal(err)
	}
	r := ask("Echo", "")
	r.Header = metadata.Header{{Key: "x-much", Value: strings.Repeat("x", 10_000)}}
	if _, err := call(t, c, r); !stderrors.Is(err, errors.ErrRefused) || code(err) != errors.CodeResourceExhausted {
		t.Errorf("got %v", err)
	}
}

func TestUnixSocketsAreDialled(t *testing.T) {
	leaktest.Check(t)
	path := filepath.Join(t.TempDir(), "s")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s := newSite(t, http.GRPC, false, nil)
	s.echo()
	done := make(chan struct{})
	go func() { defer close(done); _ = s.server.Serve(ln) }() // it ends with Close
	t.Cleanup(func() { s.server.Close(); <-done })
	s.addr = "unix:" + path
	if got, err := call(t, s.dial(), ask("Echo", "x")); err != nil || got != "x" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestWhatCannotBeDialledIsUnreachable(t *testing.T) {
	leaktest.Check(t)
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	for _, tt := range []struct {
		ctx        context.Context
		addr, want string
		cfg        http.Config
	}{
		{context.Background(), "127.0.0.1", "host:port", http.Config{}},
		{context.Background(), "127.0.0.1:1", "127.0.0.1:1", http.Config{Protocol: "soap"}},
		{context.Background(), "127.0.0.1:1", `"soap" is none of grpc`, http.Config{Protocol: "soap"}},
		{ended, "127.0.0.1:1", "canceled", http.Config{}},
		{context.Background(), "unix:/none/such", "/none/such", http.Config{}},
	} {
		_, err := http.New(tt.cfg).Dial(tt.ctx, tt.addr)
		if !stderrors.Is(err, transport.ErrUnreachable) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", tt.addr, err)
		}
	}
}
