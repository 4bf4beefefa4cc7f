package mucp

import (
	"context"
	"crypto/tls"
	stderrors "errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-9a4e2794/micro/codec"
	"github.com/seed-9a4e2794/micro/errors"
	"github.com/seed-9a4e2794/micro/internal/leaktest"
	"github.com/seed-9a4e2794/micro/metadata"
	"github.com/seed-9a4e2794/micro/transport"
)

// gate is a handler that waits until it is opened.
func gate() (transport.Unary, chan struct{}, chan struct{}) {
	begun, open := make(chan struct{}, 16), make(chan struct{})
	return func(_ context.Context, body transport.Body) (transport.Message, error) {
		begun <- struct{}{}
		<-open
		return value(body.ContentType, "slow"), nil
	}, begun, open
}

func plainCall(endpoint, id, body string) string {
	return "POST / HTTP/1.1\r\nHost: h\r\nContent-Type: application/octet-stream\r\nMicro-Endpoint: " + endpoint + "\r\nMicro-Id: " + id +
		"\r\nContent-Length: " + itoa(len(body)) + "\r\n\r\n" + body
}

func streamMessage(endpoint, id, body, extra string) string {
	return "POST / HTTP/1.1\r\nHost: h\r\nContent-Type: application/octet-stream\r\nMicro-Endpoint: " + endpoint + "\r\nMicro-Stream: " + id +
		"\r\n" + extra + "Content-Length: " + itoa(len(body)) + "\r\n\r\n" + body
}

func TestPipelinedCallsAreAnsweredAsTheyEnd(t *testing.T) {
	leaktest.Check(t)
	u := greeter()
	slow, begun, let := gate()
	u["Slow.Slow"] = slow
	_, addr := serve(t, Config{}, u, nil)
	conn, r := open(t, addr)
	send(t, conn, plainCall("Slow.Slow", "1", "")+plainCall("Echo.Echo", "2", "fast"))
	within(t, begun)
	if rsp, body := response(t, r); rsp.Header.Get("Micro-Id") != "2" || body != "fast" {
		t.Errorf("the first answer is %q of call %s", body, rsp.Header.Get("Micro-Id"))
	}
	close(let)
	if rsp, body := response(t, r); rsp.Header.Get("Micro-Id") != "1" || body != "slow" {
		t.Errorf("the second answer is %q of call %s", body, rsp.Header.Get("Micro-Id"))
	}
}

func TestShutdownWaitsForCallsAndRefusesOthers(t *testing.T) {
	leaktest.Check(t)
	u := greeter()
	slow, begun, let := gate()
	u["Slow.Slow"] = slow
	srv, addr := serve(t, Config{}, u, nil)
	client := dial(t, addr, Config{})
	result := make(chan string, 1)
	go func() {
		got, err := ask(client, "Slow.Slow", codec.Bytes, "")
		result <- fmt.Sprint(got, err)
	}()
	within(t, begun)
	conn, r := open(t, addr)
	send(t, conn, plainCall("Slow.Slow", "1", ""))
	within(t, begun)
	down := make(chan error, 1)
	go func() { down <- srv.Shutdown(context.Background()) }()
	for srv.refusing() == nil {
		<-time.After(time.Millisecond)
	}
	_, err := ask(client, "Echo.Echo", codec.Bytes, "x")
	if !stderrors.Is(err, errors.ErrRefused) || errors.From("", err).Code != http.StatusServiceUnavailable {
		t.Errorf("a call on another connection: %v", err)
	}
	send(t, conn, plainCall("Echo.Echo", "2", "x"))
	rsp, _ := response(t, r)
	if e := errors.Parse(rsp.Header.Get("Micro-Error")); e.Code != http.StatusServiceUnavailable || !rsp.Close {
		t.Errorf("a call on the same connection: %v, close %t", e, rsp.Close)
	}
	select {
	case err := <-down:
		t.Fatalf("Shutdown returned %v with calls under way", err)
	default:
	}
	close(let)
	if got := within(t, result); got != "slow<nil>" {
		t.Errorf("the call under way: %s", got)
	}
	if rsp, body := response(t, r); body != "slow" || !rsp.Close {
		t.Errorf("the last answer is %q, close %t", body, rsp.Close)
	}
	if err := within(t, down); err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	if _, err := ask(client, "Echo.Echo", codec.Bytes, "x"); !stderrors.Is(err, errors.ErrRefused) {
		t.Errorf("a call after Shutdown: %v", err)
	}
}

func TestShutdownCutsOffWhatDoesNotEnd(t *testing.T) {
	leaktest.Check(t)
	u := greeter()
	begun, ended := make(chan struct{}), make(chan error, 1)
	u["Wait.Wait"] = func(ctx context.Context, body transport.Body) (transport.Message, error) {
		close(begun)
		<-ctx.Done()
		ended <- ctx.Err()
		return transport.Message{}, ctx.Err()
	}
	srv, addr := serve(t, Config{}, u, nil)
	client := dial(t, addr, Config{})
	result := make(chan error, 1)
	go func() {
		_, err := ask(client, "Wait.Wait", codec.Bytes, "")
		result <- err
	}()
	within(t, begun)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := srv.Shutdown(ctx); !stderrors.Is(err, context.Canceled) {
		t.Errorf("Shutdown: %v", err)
	}
	if err := within(t, result); !stderrors.Is(err, transport.ErrLost) {
		t.Errorf("the call: %v", err)
	}
	within(t, ended)
}

func TestAHandlerThatEndsItsGoroutineIsAnswered(t *testing.T) {
	leaktest.Check(t)
	_, addr := serve(t, Config{}, greeter(), nil)
	_, err := ask(dial(t, addr, Config{}), "Greeter.Exit", codec.Bytes, "")
	if errors.From("", err).Code != 500 || !strings.Contains(err.Error(), "ended its goroutine") {
		t.Errorf("got %v", err)
	}
}

func TestTheTimeoutOfACallIsItsDeadlineAndThatOfAStreamIsNot(t *testing.T) {
	leaktest.Check(t)
	u := greeter()
	u["Time.Left"] = func(ctx context.Context, body transport.Body) (transport.Message, error) {
		d, ok := ctx.Deadline()
		return value(body.ContentType, fmt.Sprint(ok, time.Until(d) > 4*time.Second && time.Until(d) <= 5*time.Second)), nil
	}
	_, addr := serve(t, Config{}, u, func(s transport.Socket) {
		_, ok := s.Context().Deadline()
		m := raw(fmt.Sprint(ok))
		_ = s.Finish(&m, nil) // fails when the test has
	})
	conn, r := open(t, addr)
	for timeout, want := range map[string]string{"5000000000": "true true", "-1": "false false", "x": "false false", "": "false false",
		"9223372036854775807": "false false", "99999999999999999999": "false false"} {
		send(t, conn, strings.Replace(plainCall("Time.Left", "1", ""), "Micro-Id", "Timeout: "+timeout+"\r\nMicro-Id", 1))
		if _, body := response(t, r); body != want {
			t.Errorf("with Timeout %q: %s, want %s", timeout, body, want)
		}
	}
	send(t, conn, streamMessage("Any.Stream", "1", "", "Timeout: 5000000000\r\n"))
	if _, body := response(t, r); body != "false" {
		t.Errorf("a stream has a deadline: %s", body)
	}
}

func TestACallerThatClosesItsSideStillGetsItsAnswer(t *testing.T) {
	leaktest.Check(t)
	_, addr := serve(t, Config{}, greeter(), nil)
	conn, r := open(t, addr)
	send(t, conn, plainCall("Echo.Echo", "1", "x"))
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if _, body := response(t, r); body != "x" {
		t.Errorf("got %q", body)
	}
	if _, err := r.ReadByte(); err != io.EOF {
		t.Errorf("afterwards: %v", err)
	}
}

func TestStreamsMayShareAConnection(t *testing.T) {
	leaktest.Check(t)
	_, addr := serve(t, Config{}, greeter(), func(s transport.Socket) {
		for {
			b, err := s.Recv()
			if err != nil {
				_ = s.Finish(nil, nil) // fails when the test has
				return
			}
			if err := s.Send(raw(s.Method().Endpoint + " " + string(b.Data))); err != nil {
				return
			}
		}
	})
	conn, r := open(t, addr)
	send(t, conn, streamMessage("A.Stream", "1", "", "")+streamMessage("B.Stream", "2", "", "")+plainCall("Echo.Echo", "3", "call"))
	if _, body := response(t, r); body != "call" {
		t.Errorf("a call beside streams: %q", body)
	}
	for i, id := range []string{"2", "1", "2"} {
		send(t, conn, streamMessage("X", id, itoa(i), "")) // the name was said before
		rsp, body := response(t, r)
		if want := map[string]string{"1": "A", "2": "B"}[id] + ".Stream " + itoa(i); body != want || rsp.Header.Get("Micro-Stream") != id {
			t.Errorf("got %q of stream %s, want %q of %s", body, rsp.Header.Get("Micro-Stream"), want, id)
		}
	}
	send(t, conn, streamMessage("X", "1", "", "Micro-Error: EOS\r\n"))
	if rsp, _ := response(t, r); rsp.Header.Get("Micro-Error") != "EOS" || rsp.Header.Get("Micro-Stream") != "1" {
		t.Errorf("the end of stream 1 is %v", rsp.Header)
	}
}

// The rule StreamBackPressure with the measure that TCP has.
func TestASenderWaitsForAHandlerThatTakesNothing(t *testing.T) {
	leaktest.Check(t)
	let := make(chan struct{})
	_, addr := serve(t, Config{}, greeter(), func(s transport.Socket) {
		<-let
		for {
			if _, err := s.Recv(); err != nil {
				_ = s.Finish(nil, nil) // fails when the test has
				return
			}
		}
	})
	client := dial(t, addr, Config{})
	r := request1("Any.Stream", codec.Bytes, "")
	r.Deadline = time.Time{}
	s, err := client.Open(context.Background(), r)
	if err != nil {
		t.Fatal(err)
	}
	const n, size = 40, 1 << 20 // the sockets' buffers take about ten
	var sent atomic.Int64
	done := make(chan error, 1)
	go func() {
		for range n {
			if err := s.Send(raw(strings.Repeat("x", size))); err != nil {
				done <- err
				return
			}
			sent.Add(1)
		}
		done <- s.CloseSend()
	}()
	for range 200 {
		if _, err := ask(client, "Echo.Echo", codec.Bytes, "x"); err != nil {
			t.Fatal(err)
		}
	}
	if got := sent.Load(); got > n/2 {
		t.Errorf("%d messages of 1 MiB were sent to a handler that takes none", got)
	}
	close(let)
	if err := within(t, done); err != nil {
		t.Error(err)
	}
	if _, err := s.Recv(); err != io.EOF {
		t.Errorf("at the end: %v", err)
	}
}

func TestAnErrorKeepsItsFourKeys(t *testing.T) {
	leaktest.Check(t)
	u := greeter()
	u["Fail.Fail"] = func(context.Context, transport.Body) (transport.Message, error) {
		return transport.Message{}, &errors.Error{Id: "greeter", Code: 409, Detail: "täken\r\n\x7f", Status: "Conflict", Exact: errors.CodeAborted}
	}
	_, addr := serve(t, Config{}, u, nil)
	_, err := ask(dial(t, addr, Config{}), "Fail.Fail", codec.Bytes, "")
	if e := errors.From("", err); e.Id != "greeter" || e.Code != 409 || e.Detail != "täken\r\n " || e.Status != "Conflict" || e.Refused {
		t.Errorf("got %+v", e)
	}
}

func TestMetadataGoesBothWaysAsTheHeadersThatItIs(t *testing.T) {
	leaktest.Check(t)
	_, addr := serve(t, Config{}, greeter(), nil)
	c := dial(t, addr, Config{})
	r := request1("Greeter.Meta", codec.Bytes, "")
	r.Header = metadata.Header{{Key: "x-user", Value: "ada"}, {Key: "x-user", Value: "grace"}, {Key: "micro-from-service", Value: "web"}, {Key: "accept", Value: "x"}}
	rsp, err := c.Call(context.Background(), r)
	if got := string(rsp.Body.Data); err != nil || got != "micro-from-service=web x-user=ada x-user=grace" {
		t.Errorf("the handler saw %q, %v", got, err)
	}
	if got := fmt.Sprint(rsp.Header); got != "[{x-reply r1} {x-reply r2} {x-trail t}]" {
		t.Errorf("the reply header is %s", got)
	}
	for _, f := range []metadata.Field{{Key: "x-bin", Value: "\x00"}, {Key: "x", Value: "a\r\nMicro-Endpoint: b"}, {Key: ":topic", Value: "a"}, {Key: "", Value: "a"}} {
		r.Header = metadata.Header{f}
		if _, err := c.Call(context.Background(), r); errors.From("", err).GRPCCode() != errors.CodeInvalidArgument {
			t.Errorf("%q: %v", f, err)
		}
		if _, err := c.Open(context.Background(), r); errors.From("", err).GRPCCode() != errors.CodeInvalidArgument {
			t.Errorf("%q on a stream: %v", f, err)
		}
	}
	r.Header = metadata.Header{{Key: "x", Value: strings.Repeat("y", 64<<10)}}
	if _, err := c.Call(context.Background(), r); !stderrors.Is(err, transport.ErrTooLarge) {
		t.Errorf("a header over the limit: %v", err)
	}
	r = request1("Greeter.Hello\r\nX: y", codec.Bytes, "")
	if _, err := c.Call(context.Background(), r); errors.From("", err).GRPCCode() != errors.CodeInvalidArgument {
		t.Errorf("an endpoint with a line end: %v", err)
	}
}

func TestReplyMetadataThatNoHeaderCarriesIsAnError(t *testing.T) {
	leaktest.Check(t)
	u := greeter()
	for name, value1 := range map[string]string{"Bin.Bin": "\x00\r\n", "Long.Long": strings.Repeat("y", 40<<10)} {
		u[name] = func(ctx context.Context, body transport.Body) (transport.Message, error) {
			return value(body.ContentType, "x"), metadata.SetHeader(ctx, "x-bin", value1)
		}
	}
	_, addr := serve(t, Config{}, u, nil)
	c := dial(t, addr, Config{})
	for name, want := range map[string]errors.Code{"Bin.Bin": errors.CodeInternal, "Long.Long": errors.CodeResourceExhausted} {
		if _, err := ask(c, name, codec.Bytes, ""); errors.From("", err).GRPCCode() != want {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestOverTLSTheCertificateIsVerified(t *testing.T) {
	leaktest.Check(t)
	srv := NewServer(Config{}, greetStream, transport.AcceptOptions{Lookup: greeter().lookup})
	h := httptest.NewUnstartedServer(takeOver(srv))
	h.Config.ErrorLog = log.New(io.Discard, "", 0) // the handshake that fails is meant to
	h.StartTLS()
	t.Cleanup(func() { srv.Close(); h.Close() })
	addr := h.Listener.Addr().String()
	tlsConfig := h.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	c := dial(t, addr, Config{TLS: func() *tls.Config { return tlsConfig }})
	for range 3 {
		if got, err := ask(c, "Echo.Echo", codec.Bytes, "x"); err != nil || got != "x" {
			t.Errorf("got %q, %v", got, err)
		}
	}
	if n := len(c.(*client).idle); n != 1 {
		t.Errorf("%d connections after three calls one after the other", n)
	}
	tlsConfig.RootCAs = nil
	if _, err := Dial(context.Background(), addr, Config{TLS: func() *tls.Config { return tlsConfig }}); !stderrors.Is(err, transport.ErrUnreachable) {
		t.Errorf("a certificate that nobody vouches for: %v", err)
	}
}

func TestTLSIsAskedForWithEachConnection(t *testing.T) {
	leaktest.Check(t)
	srv := NewServer(Config{TLS: func() *tls.Config { t.Error("the server asks"); return nil }}, greetStream, transport.AcceptOptions{Lookup: greeter().lookup})
	h := httptest.NewUnstartedServer(takeOver(srv))
	h.Config.ErrorLog = log.New(io.Discard, "", 0) // the handshake that fails is meant to
	h.StartTLS()
	t.Cleanup(func() { srv.Close(); h.Close() })
	tlsConfig := h.Client().Transport.(*http.Transport).TLSClientConfig
	asked := 0
	c := dial(t, h.Listener.Addr().String(), Config{TLS: func() *tls.Config {
		if asked++; asked == 1 {
			return tlsConfig
		}
		return nil // the zero Config, by which nobody vouches for the certificate
	}})
	if got, err := ask(c, "Echo.Echo", codec.Bytes, "x"); err != nil || got != "x" || asked != 1 {
		t.Errorf("got %q, %v, after asking %d times", got, err, asked)
	}
	if _, err := c.Open(context.Background(), request1("Greet.Greet", codec.Bytes, "")); !stderrors.Is(err, transport.ErrUnreachable) || asked != 2 {
		t.Errorf("a further connection: %v, after asking %d times", err, asked)
	}
}
