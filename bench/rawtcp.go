package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"runtime"
	"sync"

	"google.golang.org/protobuf/proto"

	"github.com/seed-9a4e2794/micro/bench/internal/echo"
)

// A raw frame is the length of its body and the index of its caller, both u32,
// and the body. The two raw peers are limits, not protocols: they know no
// methods, errors, deadlines, cancellation or bounds.
const rawHeader = 8

// rawTCP is the limit of one connection: frames combined into few writes, no
// encoding, and a server that writes back what one read brought.
func rawTCP() peer {
	return peer{
		name: "rawtcp",
		what: "limit: length-prefixed frames, combined; no codec, no goroutine per request",
		serve: func() (string, func(), error) {
			return serveRaw(func(conn net.Conn) {
				buf := make([]byte, 64<<10)
				for {
					n, err := conn.Read(buf)
					if err != nil {
						return
					}
					if _, err := conn.Write(buf[:n]); err != nil {
						return
					}
				}
			})
		},
		dial: func(ctx context.Context, addr string, size int) (client, error) {
			return dialRaw(ctx, addr, size, false)
		},
	}
}

// rawProto is the same with what any RPC has to do besides: protobuf both ways
// on both sides, and a goroutine for each request.
func rawProto() peer {
	return peer{
		name: "rawtcp-pb",
		what: "limit: the same frames with protobuf on both sides and a goroutine per request",
		serve: func() (string, func(), error) {
			return serveRaw(func(conn net.Conn) {
				w := &rawWriter{conn: conn}
				var group sync.WaitGroup
				defer group.Wait()
				_ = readRaw(conn, func(caller uint32, body []byte) {
					own := append([]byte(nil), body...)
					group.Go(func() {
						m := new(echo.Message)
						if err := proto.Unmarshal(own, m); err != nil {
							conn.Close()
							return
						}
						_ = w.send(caller, m, nil) // the reader sees the same
					})
				})
			})
		},
		dial: func(ctx context.Context, addr string, size int) (client, error) {
			return dialRaw(ctx, addr, size, true)
		},
	}
}

// serveRaw runs serve for each connection.
func serveRaw(serve func(net.Conn)) (addr string, stop func(), err error) {
	ln, err := net.Listen("tcp", loopback)
	if err != nil {
		return "", nil, err
	}
	var group sync.WaitGroup
	var mu sync.Mutex
	var conns []net.Conn
	group.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, conn)
			mu.Unlock()
			group.Go(func() { serve(conn) })
		}
	})
	return ln.Addr().String(), func() {
		ln.Close()
		mu.Lock()
		for _, c := range conns {
			c.Close()
		}
		mu.Unlock()
		group.Wait()
	}, nil
}

// readRaw calls got for each frame. body is valid until it returns.
func readRaw(conn net.Conn, got func(caller uint32, body []byte)) error {
	r := bufio.NewReaderSize(conn, 32<<10)
	var head [rawHeader]byte
	var body []byte
	for {
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return err
		}
		n := int(binary.LittleEndian.Uint32(head[:]))
		if n > 16<<20 {
			return errors.New("a frame of absurd length")
		}
		if n > cap(body) {
			body = make([]byte, n)
		}
		body = body[:n]
		if _, err := io.ReadFull(r, body); err != nil {
			return err
		}
		got(binary.LittleEndian.Uint32(head[4:]), body)
	}
}

// rawWriter combines frames: whoever finds nobody writing writes for all.
type rawWriter struct {
	conn net.Conn

	mu          sync.Mutex
	buf, spare  []byte
	frames, was int // now pending, and in the last batch
	busy        bool
	err         error
}

// send adds a frame with the body m, or body if m is nil.
func (w *rawWriter) send(caller uint32, m proto.Message, body []byte) error {
	if m != nil {
		var err error
		if body, err = proto.Marshal(m); err != nil {
			return err
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.buf = binary.LittleEndian.AppendUint32(w.buf, uint32(len(body)))
	w.buf = binary.LittleEndian.AppendUint32(w.buf, caller)
	w.buf = append(w.buf, body...)
	w.frames++
	if w.busy {
		return w.err
	}
	w.busy = true
	if w.was > 1 {
		w.mu.Unlock()
		runtime.Gosched()
		w.mu.Lock()
	}
	for len(w.buf) > 0 && w.err == nil {
		out := w.buf
		w.buf, w.spare, w.was, w.frames = w.spare[:0], nil, w.frames, 0
		w.mu.Unlock()
		_, err := w.conn.Write(out)
		w.mu.Lock()
		w.spare, w.err = out, err
	}
	w.busy = false
	return w.err
}

type rawClient struct {
	conn  net.Conn
	w     rawWriter
	body  []byte // sent when there is no codec
	codec bool
	group sync.WaitGroup
	ended chan struct{}

	mu    sync.Mutex
	slots []chan []byte
	free  []uint32
}

func dialRaw(ctx context.Context, addr string, size int, codec bool) (client, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	c := &rawClient{conn: conn, w: rawWriter{conn: conn}, body: make([]byte, size), codec: codec, ended: make(chan struct{})}
	c.group.Go(func() {
		defer close(c.ended)
		_ = readRaw(conn, func(caller uint32, body []byte) {
			if codec {
				body = append([]byte(nil), body...)
			}
			c.mu.Lock()
			slot := c.slots[caller]
			c.mu.Unlock()
			slot <- body
		})
	})
	return c, nil
}

func (c *rawClient) call(_ context.Context, m *echo.Message) (*echo.Message, error) {
	c.mu.Lock()
	if len(c.free) == 0 {
		c.free = append(c.free, uint32(len(c.slots)))
		c.slots = append(c.slots, make(chan []byte, 1))
	}
	index := c.free[len(c.free)-1]
	c.free = c.free[:len(c.free)-1]
	slot := c.slots[index]
	c.mu.Unlock()
	var err error
	if c.codec {
		err = c.w.send(index, m, nil)
	} else {
		err = c.w.send(index, nil, c.body)
	}
	if err != nil {
		return nil, err
	}
	select {
	case body := <-slot:
		if c.codec {
			out := new(echo.Message)
			m, err = out, proto.Unmarshal(body, out)
		}
	case <-c.ended:
		return nil, io.ErrUnexpectedEOF
	}
	c.mu.Lock()
	c.free = append(c.free, index)
	c.mu.Unlock()
	return m, err
}

func (c *rawClient) close() error {
	err := c.conn.Close()
	c.group.Wait()
	return err
}
