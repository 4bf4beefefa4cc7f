package http_test

import (
	"bytes"
	"context"
	stderrors "errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-9a4e2794/micro/errors"
	"github.com/seed-9a4e2794/micro/internal/leaktest"
	"github.com/seed-9a4e2794/micro/transport"
	"github.com/seed-9a4e2794/micro/transport/http"
)

// stranger answers each connection with bytes of its own, first at once and
// then when something has come behind the greeting of HTTP/2.
func stranger(t *testing.T, first, then string, closes bool) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	group.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			group.Go(func() {
				defer conn.Close()
				if _, err := io.WriteString(conn, first); err != nil {
					return
				}
				if then == "" && closes {
					return
				}
				var got []byte
				for buf := make([]byte, 4096); ; {
					n, err := conn.Read(buf)
					if err != nil {
						return
					}
					got = append(got, buf[:n]...)
					// A frame of type HEADERS for stream 1.
					if then != "" && bytes.Contains(got, []byte("\x01\x04\x00\x00\x00\x01")) {
						if _, err := io.WriteString(conn, then); err != nil || closes {
							return
						}
						then = ""
					}
				}
			})
		}
	})
	t.Cleanup(func() { ln.Close(); group.Wait() })
	return ln.Addr().String()
}

func TestServerThatSpeaksSomethingElseIsUnreachable(t *testing.T) {
	for _, tt := range []struct {
		name, first, want string
		closes            bool
	}{
		{"another protocol", "SSH-2.0-OpenSSH\r\n", `it answered \"SSH-2.0-O\"`, false},
		{"nothing", "", "has not answered the greeting", false},
		{"the end", "", "ended the connection", true},
		{"another frame", "\x00\x00\x00\x06\x00\x00\x00\x00\x00", "does not speak HTTP/2", false},
		{"half a frame", "\x00\x00\x00\x04", "has not answered the greeting", false},
	} {
		for _, p := range []http.Protocol{http.GRPC, http.Connect} {
			t.Run(tt.name+"/"+string(p), func(t *testing.T) {
				leaktest.Check(t)
				addr := stranger(t, tt.first, "", tt.closes)
				_, err := http.New(http.Config{Protocol: p, DialTimeout: 200 * time.Millisecond}).Dial(context.Background(), addr)
				if !stderrors.Is(err, transport.ErrUnreachable) || !strings.Contains(fmt.Sprintf("%q", err), tt.want) || !strings.Contains(err.Error(), addr) {
					t.Errorf("got %v", err)
				}
			})
		}
	}
}

// settings is the greeting of a server of HTTP/2.
const settings = "\x00\x00\x00\x04\x00\x00\x00\x00\x00"

func TestCallsThatWereNotExecutedAreToldFromThoseThatMayHaveBeen(t *testing.T) {
	goAway := func(last, code byte) string {
		return "\x00\x00\x08\x07\x00\x00\x00\x00\x00" + "\x00\x00\x00" + string([]byte{last}) + "\x00\x00\x00" + string([]byte{code})
	}
	reset := func(code byte) string {
		return "\x00\x00\x04\x03\x00\x00\x00\x00\x01\x00\x00\x00" + string([]byte{code})
	}
	for _, tt := range []struct {
		name, answer string
		closes       bool
		refused      bool
		lost         bool
		code         errors.Code
	}{
		{"going away before the call", goAway(0, 0), false, true, false, errors.CodeUnavailable},
		{"going away before the call with an error", goAway(0, 11), false, true, false, errors.CodeUnavailable},
		{"going away after the call and gone", goAway(1, 0), true, false, true, errors.CodeUnavailable},
		{"gone", "\x00", true, false, true, errors.CodeUnavailable},
		{"the stream refused", reset(7), false, true, false, errors.CodeUnavailable},
		{"the stream cancelled", reset(8), false, false, false, errors.CodeCanceled},
		{"the stream broken", reset(2), false, false, false, errors.CodeInternal},
		{"too many streams", reset(11), false, false, false, errors.CodeResourceExhausted},
		{"garbage", strings.Repeat("\xff", 100), false, false, true, errors.CodeUnavailable},
	} {
		for _, stream := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/stream=%v", tt.name, stream), func(t *testing.T) {
				leaktest.Check(t)
				c, err := http.New(http.Config{}).Dial(context.Background(), stranger(t, settings, tt.answer, tt.closes))
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				if stream {
					_, err = open(t, c, ask("Any", "")).Recv()
				} else {
					_, err = call(t, c, ask("Any", ""))
				}
				if stderrors.Is(err, errors.ErrRefused) != tt.refused || stderrors.Is(err, transport.ErrLost) != tt.lost || code(err) != tt.code {
					t.Errorf("refused %v, lost %v, %v", stderrors.Is(err, errors.ErrRefused), stderrors.Is(err, transport.ErrLost), err)
				}
			})
		}
	}
}

func TestConnectionOnWhichACallEndedInSilenceTakesNoMore(t *testing.T) {
	leaktest.Check(t)
	c, err := http.New(http.Config{}).Dial(context.Background(), stranger(t, settings, "", false))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, tt := range []struct {
		wait  time.Duration
		taken bool
	}{{50 * time.Millisecond, true}, {2100 * time.Millisecond, false}} {
		r := ask("Any", "")
		r.Deadline = time.Now().Add(tt.wait)
		if _, err := call(t, c, r); !stderrors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		if (c.Err() == nil) != tt.taken {
			t.Errorf("after %v in silence Err is %v", tt.wait, c.Err())
		}
	}
	if _, err := call(t, c, ask("Any", "")); !stderrors.Is(err, errors.ErrRefused) {
		t.Errorf("a call afterwards: %v", err)
	}
}
