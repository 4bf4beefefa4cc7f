// Command bench measures unary calls of this module beside those of its peers:
// the same message, the same load, a client and a server process for each
// measurement, on the loopback.
//
//	GOWORK=off go run .
//	GOWORK=off go run . -peers grpc-go,micro -c 64 -d 5s -rounds 7
//
// docs/benchmarks.md says how to read the table.
package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/seed-9a4e2794/micro/bench/internal/echo"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

type config struct {
	peers   []peer
	callers []int
	size    int
	each    time.Duration
	rounds  int
	output  string
	profile string
}

func run() error {
	var names []string
	for _, p := range peers() {
		names = append(names, p.name)
	}
	var cfg config
	peerList := flag.String("peers", strings.Join(names, ","), "what to measure")
	callerList := flag.String("c", "1,64,512", "numbers of callers, who share one connection")
	flag.IntVar(&cfg.size, "size", 580, "bytes of the encoded message, each way")
	flag.DurationVar(&cfg.each, "d", time.Second, "how long each measurement lasts, after a fifth of that to warm up")
	flag.IntVar(&cfg.rounds, "rounds", 3, "how often all is measured, one after the other; the table has the medians")
	flag.StringVar(&cfg.output, "o", "table", "table or json")
	flag.StringVar(&cfg.profile, "profile", "", "folder for CPU profiles of each client and server, of the last round")
	role := flag.String("role", "", "of a process that this program has started: server or client")
	addr := flag.String("addr", "", "where the server of a client is")
	flag.Parse()
	if flag.NArg() > 0 {
		return fmt.Errorf("unknown argument %q", flag.Arg(0))
	}
	for _, name := range strings.Split(*peerList, ",") {
		i := slices.Index(names, name)
		if i < 0 {
			return fmt.Errorf("no peer is called %q; there are %s", name, strings.Join(names, ", "))
		}
		cfg.peers = append(cfg.peers, peers()[i])
	}
	for _, s := range strings.Split(*callerList, ",") {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 {
			return fmt.Errorf("-c: %q is not a number of callers", s)
		}
		cfg.callers = append(cfg.callers, n)
	}
	switch {
	case cfg.rounds < 1:
		return fmt.Errorf("-rounds: at least one, not %d", cfg.rounds)
	case cfg.each <= 0:
		return fmt.Errorf("-d: %v is no time", cfg.each)
	case cfg.output != "table" && cfg.output != "json":
		return fmt.Errorf("-o: table or json, not %q", cfg.output)
	}
	if _, err := echo.New(cfg.size); err != nil {
		return err
	}
	if *role != "" {
		return runRole(cfg, *role, *addr)
	}
	return compare(cfg)
}

// runRole is the main function of a process that this program has started.
func runRole(cfg config, role, addr string) error {
	p := cfg.peers[0]
	c := cell{Peer: p.name, Callers: cfg.callers[0], Size: cfg.size, For: cfg.each}
	parent := lines{bufio.NewReader(os.Stdin), os.Stdout}
	if cfg.profile != "" {
		f, err := os.Create(filepath.Join(cfg.profile, fmt.Sprintf("%s-%d-%s.pprof", p.name, c.Callers, role)))
		if err != nil {
			return err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	switch role {
	case "server":
		return runServer(p, parent)
	case "client":
		return runClient(p, addr, c, parent)
	}
	return fmt.Errorf("no role is called %q", role)
}

// compare measures everything and prints the table.
func compare(cfg config) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	var names []string
	for _, p := range cfg.peers {
		names = append(names, p.name)
	}
	var results []result
	for round := range cfg.rounds {
		profile := ""
		if round == cfg.rounds-1 {
			profile = cfg.profile
		}
		for _, callers := range cfg.callers {
			for _, p := range cfg.peers {
				r, err := measure(ctx, cell{Peer: p.name, Callers: callers, Size: cfg.size, For: cfg.each}, profile)
				if err != nil {
					return err
				}
				results = append(results, r)
				fmt.Fprintf(os.Stderr, "round %d of %d: %d callers, %s: %.0f requests/s\n", round+1, cfg.rounds, callers, p.name, r.PerSecond)
			}
		}
	}
	table := tabulate(results, names, cfg.callers)
	if cfg.output == "json" {
		return printJSON(os.Stdout, table)
	}
	fmt.Printf("%s, %d CPUs, %s/%s; %d bytes each way; %d rounds of %v; client and server on the same machine.\n",
		runtime.Version(), runtime.NumCPU(), runtime.GOOS, runtime.GOARCH, cfg.size, cfg.rounds, cfg.each)
	if n, err := decodeAllocs(cfg.size); err == nil {
		fmt.Printf("Decoding the message once takes %.0f allocations, its own included; each side of a peer with protobuf does so for each request.\n", n)
	}
	fmt.Println()
	for _, p := range cfg.peers {
		fmt.Printf("- %s: %s\n", p.name, p.what)
	}
	fmt.Println()
	printMarkdown(os.Stdout, table)
	return nil
}

// decodeAllocs returns the allocations of decoding one message.
func decodeAllocs(size int) (float64, error) {
	m, err := echo.New(size)
	if err != nil {
		return 0, err
	}
	b, err := proto.Marshal(m)
	if err != nil {
		return 0, err
	}
	const n = 1000
	before, err := usage()
	if err != nil {
		return 0, err
	}
	for range n {
		if err := proto.Unmarshal(b, new(echo.Message)); err != nil {
			return 0, err
		}
	}
	after, err := usage()
	return float64(after.since(before).Mallocs) / n, err
}
