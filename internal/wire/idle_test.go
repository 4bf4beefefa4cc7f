//go:build unix

package wire

import (
	"bufio"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// idleEnv names, to a process started for it, the address that it is to hold
// idle connections to.
const idleEnv = "MICRO_WIRE_IDLE"

// idleConnections is how many connections BenchmarkIdleConnections holds.
const idleConnections = 10_000

// TestIdleClient is the other process of BenchmarkIdleConnections.
func TestIdleClient(t *testing.T) {
	addr := os.Getenv(idleEnv)
	if addr == "" {
		t.Skip("runs in a process that BenchmarkIdleConnections starts")
	}
	for range idleConnections {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		p := newPeer(t, conn)
		p.r = bufio.NewReaderSize(conn, 256)
		p.greet()
		p.name(1, "Echo")
		p.send(header{typ: typeReq, codec: 3, aux: 1}, strings.Repeat("x", 100))
		p.response(0)
	}
	os.Stdout.WriteString("ready\n")
	_, _ = io.Copy(io.Discard, os.Stdin) // until the benchmark is over
}

// BenchmarkIdleConnections measures what a connection costs the listener that
// has answered a call and asks for nothing more.
func BenchmarkIdleConnections(b *testing.B) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil || limit.Max < idleConnections+200 {
		b.Skipf("needs %d file descriptors, the limit is %d", idleConnections+200, limit.Max)
	}
	for b.Loop() {
		l := listenTCP(b, Config{}, unaries{"Echo": echoUnary}, nil)
		before, rssBefore := memory(), rss(b)
		cmd := exec.Command(os.Args[0], "-test.run=^TestIdleClient$", "-test.v")
		cmd.Env = append(os.Environ(), idleEnv+"="+l.Addr())
		in, err := cmd.StdinPipe()
		if err != nil {
			b.Fatal(err)
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			b.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			b.Fatal(err)
		}
		said := ""
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if said += lines.Text() + "\n"; lines.Text() == "ready" {
				break
			}
		}
		if !strings.HasSuffix(said, "ready\n") {
			in.Close()
			_ = cmd.Wait() // what it said tells more
			b.Fatalf("the other process said %q", said)
		}
		after, rssAfter := memory(), rss(b)
		per := func(x, y uint64) float64 { return (float64(y) - float64(x)) / idleConnections }
		b.ReportMetric(per(before.HeapInuse, after.HeapInuse), "heap-B/conn")
		b.ReportMetric(per(before.StackInuse, after.StackInuse), "stack-B/conn")
		b.ReportMetric(per(before.HeapInuse+before.StackInuse, after.HeapInuse+after.StackInuse), "B/conn")
		b.ReportMetric(per(before.Sys, after.Sys), "sys-B/conn")
		b.ReportMetric(per(rssBefore, rssAfter), "rss-B/conn")
		in.Close()
		_, _ = io.Copy(io.Discard, out)
		if err := cmd.Wait(); err != nil {
			b.Error(err)
		}
		l.Close()
	}
}

func memory() (m runtime.MemStats) {
	runtime.GC()
	runtime.GC() // the first leaves what the pools hold
	runtime.ReadMemStats(&m)
	return m
}

// rss returns the resident bytes of this process, 0 where there is no /proc.
func rss(b *testing.B) uint64 {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		b.Logf("resident memory is not known: %v", err)
		return 0
	}
	pages, err := strconv.ParseUint(strings.Fields(string(text))[1], 10, 64)
	if err != nil {
		b.Fatal(err)
	}
	return pages * uint64(os.Getpagesize())
}
