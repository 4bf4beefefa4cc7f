package mucp

import (
	"bufio"
	"context"
	stderrors "errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/seed-9a4e2794/micro/errors"
	"github.com/seed-9a4e2794/micro/transport"
)

var (
	errHeader = stderrors.New("the HTTP header is too large")
	errBody   = stderrors.New("the HTTP body is too large")
)

// source is what the reader of a connection reads from. It bounds a header.
type source struct {
	r    io.Reader
	left int // bytes that may be read before the bound is set anew
	err  error
}

func (s *source) Read(p []byte) (int, error) {
	if s.left <= 0 {
		s.err = errHeader
		return 0, errHeader
	}
	if len(p) > s.left {
		p = p[:s.left]
	}
	n, err := s.r.Read(p)
	s.left -= n
	s.err = err // the parsers of HTTP have their own
	return n, err
}

// inbound reads the HTTP messages of a connection, one after the other.
type inbound struct {
	conn net.Conn
	cfg  *Config
	src  source
	r    *bufio.Reader
}

const readBuffer = 4 << 10

func newInbound(conn net.Conn, from io.Reader, cfg *Config) *inbound {
	in := &inbound{conn: conn, cfg: cfg, src: source{r: from, left: math.MaxInt}}
	in.r = bufio.NewReaderSize(&in.src, readBuffer)
	return in
}

// resume goes on with a request whose header net/http has parsed, and returns
// a request that has its body. The body that net/http made must not be used
// once the connection has been taken over.
func (in *inbound) resume(first *http.Request) (*http.Request, error) {
	frame := ""
	switch {
	case len(first.TransferEncoding) > 0:
		frame = "Transfer-Encoding: chunked\r\n"
	case first.ContentLength > 0:
		frame = fmt.Sprintf("Content-Length: %d\r\n", first.ContentLength)
	}
	in.src.r = io.MultiReader(strings.NewReader("POST / HTTP/1.1\r\n"+frame+"\r\n"), in.src.r)
	framed, err := http.ReadRequest(in.r)
	if err != nil {
		return nil, err
	}
	r := *first
	r.Body = framed.Body
	return &r, nil
}

// header prepares for a header, whose first byte may have come.
func (in *inbound) header() error {
	in.src.left = max(in.cfg.MaxHeader-in.r.Buffered(), 1)
	return in.conn.SetReadDeadline(time.Now().Add(in.cfg.ReadTimeout))
}

// request reads the header of a request.
func (in *inbound) request() (*http.Request, error) {
	if err := in.header(); err != nil {
		return nil, err
	}
	r, err := http.ReadRequest(in.r)
	in.src.left = math.MaxInt
	return r, err
}

// response reads the header of a response, interim responses left out. The
// deadlines are the caller's.
func (in *inbound) response(method string) (*http.Response, error) {
	for range 8 {
		in.src.left = max(in.cfg.MaxHeader-in.r.Buffered(), 1)
		r, err := http.ReadResponse(in.r, &http.Request{Method: method})
		in.src.left = math.MaxInt
		if err != nil || r.StatusCode >= 200 || r.StatusCode == http.StatusSwitchingProtocols {
			return r, err
		}
	}
	return nil, fmt.Errorf("the peer answers with nothing but interim responses")
}

// step is how much of a body must come within ReadTimeout.
const step = 64 << 10

// readBody reads a body of at most limit bytes. size is what the header says,
// -1 when it does not; memory is taken as bytes come, not as they are
// announced. before, if any, is called before each part.
func readBody(r io.Reader, size int64, limit int, before func() error) ([]byte, error) {
	if size > int64(limit) {
		return nil, fmt.Errorf("%w: %d bytes, the limit is %d", errBody, size, limit)
	}
	if size == 0 {
		return nil, nil
	}
	first := 512
	if size > 0 {
		first = int(min(size, step))
	}
	buf := make([]byte, 0, first)
	for next := 0; ; {
		if len(buf) >= next {
			next = len(buf) + step
			if before != nil {
				if err := before(); err != nil {
					return nil, err
				}
			}
		}
		if len(buf) == cap(buf) {
			if int64(len(buf)) == size {
				// The end is read too: what makes a chunked body whole.
				var one [1]byte
				n, err := r.Read(one[:])
				if err == io.EOF && n == 0 {
					return buf, nil
				}
				if n > 0 {
					return nil, fmt.Errorf("%w: more than the %d bytes that were announced", errBody, size)
				}
				if err != nil {
					return nil, err
				}
				continue
			}
			grown := 2 * cap(buf)
			if size > 0 {
				grown = min(grown, int(size))
			}
			buf = append(make([]byte, 0, grown), buf...)
		}
		n, err := r.Read(buf[len(buf):min(cap(buf), len(buf)+step)])
		buf = buf[:len(buf)+n]
		if len(buf) > limit {
			return nil, fmt.Errorf("%w: more than %d bytes", errBody, limit)
		}
		if err == io.EOF {
			return buf, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// body reads the body of a request.
func (in *inbound) body(r io.Reader, size int64) ([]byte, error) {
	return readBody(r, size, in.cfg.MaxMessage, func() error {
		return in.conn.SetReadDeadline(time.Now().Add(in.cfg.ReadTimeout))
	})
}

// appendValue encodes a message; without a codec there is none. What panics
// here is the program's own encoding method, and must not take other calls
// with it.
func appendValue(dst []byte, m transport.Message) (out []byte, err error) {
	if m.Codec == nil {
		return dst, nil
	}
	defer func() {
		if p := recover(); p != nil {
			out, err = dst, fmt.Errorf("encoding %T panicked: %v", m.Value, p)
		}
	}()
	return m.Codec.Append(dst, m.Value)
}

// tooLarge is the error for a message that this side does not send.
func tooLarge(id, what string, n, limit int) error {
	return errors.Wrap(id, errors.CodeResourceExhausted, fmt.Errorf("%w: the %s is %d bytes, the limit is %d", transport.ErrTooLarge, what, n, limit))
}

// contextError wraps the error of a context that has ended.
func contextError(id string, err error) *errors.Error {
	if stderrors.Is(err, context.Canceled) {
		return errors.Wrap(id, errors.CodeCanceled, err)
	}
	return errors.Wrap(id, errors.CodeDeadlineExceeded, err)
}
