package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/seed-9a4e2794/micro/bench/internal/echo"
)

// A cell is measured by two processes that the first one starts: a server and
// a client. They are told what to do in lines on their standard input and
// answer in lines of JSON.

// cell is one measurement.
type cell struct {
	Peer    string
	Callers int
	Size    int
	For     time.Duration
}

// use is what a process has used.
type use struct {
	CPU     time.Duration // user and system
	Mallocs uint64
}

func usage() (use, error) {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		return use{}, err
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return use{CPU: time.Duration(r.Utime.Nano() + r.Stime.Nano()), Mallocs: m.Mallocs}, nil
}

func (u use) since(v use) use { return use{u.CPU - v.CPU, u.Mallocs - v.Mallocs} }

// serverSays and clientSays are the lines that the processes answer with.
type serverSays struct {
	Addr string `json:",omitempty"`
	Used use
}

type clientSays struct {
	Load load
	Used use
}

// lines talks to the other end in lines of JSON.
type lines struct {
	in  *bufio.Reader
	out io.Writer
}

func (l lines) say(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = l.out.Write(append(b, '\n'))
	return err
}

func (l lines) hear(v any) error {
	line, err := l.in.ReadBytes('\n')
	if err != nil {
		return err
	}
	return json.Unmarshal(line, v)
}

// runServer is the server process: an address, and after each line from the
// parent what has been used since the line before.
func runServer(p peer, parent lines) error {
	addr, stop, err := p.serve()
	if err != nil {
		return err
	}
	defer stop()
	if err := parent.say(serverSays{Addr: addr}); err != nil {
		return err
	}
	var last use
	for {
		var word string
		if err := parent.hear(&word); err != nil {
			return nil // the parent has closed the pipe: it is over
		}
		now, err := usage()
		if err != nil {
			return err
		}
		if err := parent.say(serverSays{Used: now.since(last)}); err != nil {
			return err
		}
		last = now
	}
}

// runClient is the client process: it warms up, says so, waits for a line, and
// measures.
func runClient(p peer, addr string, c cell, parent lines) error {
	ctx := context.Background()
	conn, err := p.dial(ctx, addr, c.Size)
	if err != nil {
		return err
	}
	defer conn.close()
	m, err := echo.New(c.Size)
	if err != nil {
		return err
	}
	if _, err := press(ctx, conn, m, c.Callers, max(c.For/5, 100*time.Millisecond)); err != nil {
		return err
	}
	if err := parent.say("warm"); err != nil {
		return err
	}
	var word string
	if err := parent.hear(&word); err != nil {
		return err
	}
	before, err := usage()
	if err != nil {
		return err
	}
	got, err := press(ctx, conn, m, c.Callers, c.For)
	if err != nil {
		return err
	}
	after, err := usage()
	if err != nil {
		return err
	}
	return parent.say(clientSays{Load: got, Used: after.since(before)})
}

// child is a process of this program.
type child struct {
	lines
	cmd  *exec.Cmd
	in   io.Closer
	errs strings.Builder
}

func start(ctx context.Context, args ...string) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	c := &child{cmd: exec.CommandContext(ctx, self, args...)}
	in, err := c.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	c.cmd.Stderr = &c.errs
	c.in, c.lines = in, lines{bufio.NewReader(out), in}
	return c, c.cmd.Start()
}

// end closes the process's standard input and waits for it. err is what went
// wrong in talking with it; what the process says of its own failure explains
// that better.
func (c *child) end(err error) error {
	c.in.Close() // it may have gone already
	if waitErr := c.cmd.Wait(); waitErr != nil {
		err = fmt.Errorf("%w: %s", waitErr, strings.TrimSpace(c.errs.String()))
	}
	return err
}

// result is what a cell came to.
type result struct {
	Peer    string
	Callers int

	PerSecond      float64
	P50, P99, P999 time.Duration
	CPU            time.Duration // per request, both processes
	ClientAllocs   float64       // per request
	ServerAllocs   float64
}

// measure runs one cell in two processes. profile is where CPU profiles of
// both go, "" for none.
func measure(ctx context.Context, c cell, profile string) (result, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*c.For+30*time.Second)
	defer cancel()
	args := []string{"-peers", c.Peer, "-c", fmt.Sprint(c.Callers), "-size", fmt.Sprint(c.Size), "-d", c.For.String(), "-profile", profile}
	server, err := start(ctx, append(args, "-role", "server")...)
	if err != nil {
		return result{}, err
	}
	var hello serverSays
	if err := server.hear(&hello); err != nil {
		return result{}, server.end(err)
	}
	client, err := start(ctx, append(args, "-role", "client", "-addr", hello.Addr)...)
	if err != nil {
		return result{}, server.end(err)
	}
	var said clientSays
	var served serverSays
	err = func() error {
		var word string
		for _, step := range []func() error{
			func() error { return client.hear(&word) },
			func() error { return server.say("from here") },
			func() error { return server.hear(&served) },
			func() error { return client.say("go") },
			func() error { return client.hear(&said) },
			func() error { return server.say("to here") },
			func() error { return server.hear(&served) },
		} {
			if err := step(); err != nil {
				return err
			}
		}
		return nil
	}()
	if err := client.end(err); err != nil {
		_ = server.end(nil) // the client's failure is the one to tell
		return result{}, fmt.Errorf("client of %s: %w", c.Peer, err)
	}
	if err := server.end(err); err != nil {
		return result{}, fmt.Errorf("server of %s: %w", c.Peer, err)
	}
	n := float64(said.Load.Count)
	if n == 0 {
		return result{}, fmt.Errorf("%s: no call ended within %v", c.Peer, c.For)
	}
	return result{
		Peer: c.Peer, Callers: c.Callers,
		PerSecond: n / said.Load.Took.Seconds(),
		P50:       said.Load.P50, P99: said.Load.P99, P999: said.Load.P999,
		CPU:          time.Duration(float64(said.Used.CPU+served.Used.CPU) / n),
		ClientAllocs: float64(said.Used.Mallocs) / n,
		ServerAllocs: float64(served.Used.Mallocs) / n,
	}, nil
}
