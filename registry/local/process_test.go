//go:build unix

package local

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/seed-9a4e2794/micro/internal/leaktest"
	"github.com/seed-9a4e2794/micro/registry"
)

// childVariable makes the test binary a child: what it does and, separated by
// lines, its arguments.
const childVariable = "MICRO_LOCAL_TEST_CHILD"

func TestMain(m *testing.M) {
	if order := os.Getenv(childVariable); order != "" {
		if err := child(strings.Split(order, "\n")); err != nil {
			fmt.Println("error:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// child does what a test asked for, says so in a line, and stays until its
// standard input ends. It ends without cleaning up.
func child(order []string) error {
	what, args := order[0], order[1:]
	ctx := context.Background()
	said := "ready"
	switch what {
	case "idle":
	case "register": // dir, first id, count, address
		r, err := New(Config{Dir: args[0], Logger: quiet()})
		if err != nil {
			return err
		}
		var count int
		if _, err := fmt.Sscan(args[2], &count); err != nil {
			return err
		}
		for i := range count {
			id := args[1]
			if count > 1 {
				id += fmt.Sprint(i)
			}
			if err := r.Register(ctx, node("greeter", id, args[3])); err != nil {
				return err
			}
		}
	case "register and start": // dir, id, address; starts a child of its own
		r, err := New(Config{Dir: args[0], Logger: quiet()})
		if err != nil {
			return err
		}
		if err := r.Register(ctx, node("greeter", args[1], args[2])); err != nil {
			return err
		}
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), childVariable+"=idle")
		cmd.Stdin, cmd.Stdout = os.Stdin, os.Stdout
		if err := cmd.Start(); err != nil {
			return err
		}
	case "intrude": // dir of another user
		_, err := New(Config{Dir: args[0], Logger: quiet()})
		said = fmt.Sprint(err)
		if _, err := os.ReadDir(filepath.Join(args[0], folder)); err == nil {
			said = "could read the directory"
		}
	case "default": // registers in the default directory
		r, err := New(Config{Logger: quiet()})
		if err != nil {
			return err
		}
		if err := r.Register(ctx, node("greeter", "theirs", "127.0.0.1:2")); err != nil {
			return err
		}
		all, err := r.ListServices(ctx)
		if err != nil {
			return err
		}
		said = fmt.Sprintf("%s holds %d", r.Dir(), len(all[0].Nodes))
	}
	fmt.Println(said)
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}

type process struct {
	cmd    *exec.Cmd
	what   string
	stdin  io.Closer
	stdout io.Reader
	said   string
}

// start starts a child and waits until it is ready.
func start(t *testing.T, change func(*exec.Cmd), order ...string) *process {
	t.Helper()
	p := launch(t, change, order...)
	p.ready(t)
	return p
}

func launch(t *testing.T, change func(*exec.Cmd), order ...string) *process {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childVariable+"="+strings.Join(order, "\n"))
	if change != nil {
		change(cmd)
	}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &process{cmd: cmd, what: order[0], stdin: stdin, stdout: stdout}
	t.Cleanup(p.kill)
	return p
}

// ready waits for what the child says.
func (p *process) ready(t *testing.T) {
	t.Helper()
	line, err := bufio.NewReader(p.stdout).ReadString('\n')
	p.said = strings.TrimSpace(line)
	if err != nil || strings.HasPrefix(p.said, "error:") {
		t.Fatalf("the child for %q said %q: %v", p.what, p.said, err)
	}
}

// kill kills the child as kill -9 does and waits for it.
func (p *process) kill() {
	if p.cmd.ProcessState == nil {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait() // says that it was killed
	}
	p.stdin.Close()
}

func TestKilledProcessIsGoneWithinMilliseconds(t *testing.T) {
	leaktest.Check(t)
	dir := freshDir(t)
	r := open(t, dir)
	results := watch(t, r, registry.WatchService("greeter"))
	want(t, results, registry.Sync, "")
	var took []time.Duration
	for i := range 10 {
		address := fmt.Sprintf("127.0.0.1:%d", 1000+i)
		p := start(t, nil, "register", dir, fmt.Sprint(i), "1", address)
		want(t, results, registry.Create, address)
		began := time.Now()
		if err := p.cmd.Process.Signal(syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		want(t, results, registry.Delete, address)
		took = append(took, time.Since(began))
		p.kill()
	}
	slices.Sort(took)
	t.Logf("from kill -9 to the watcher: best %v, median %v, worst %v", took[0], took[len(took)/2], took[len(took)-1])
	// A machine that is busy may be late once; the sweep, which comes once a
	// second, would be late each time.
	if median := took[len(took)/2]; median > 100*time.Millisecond {
		t.Errorf("the median is %v, want less than 100ms; all: %v", median, took)
	}
	if got := files(t, r); len(got) != 0 {
		t.Errorf("the dead left %v", got)
	}
}

func TestChildOfADeadProcessDoesNotKeepItAlive(t *testing.T) {
	leaktest.Check(t)
	dir := freshDir(t)
	r := open(t, dir)
	results := watch(t, r)
	p := start(t, nil, "register and start", dir, "a", "127.0.0.1:1")
	want(t, results, registry.Create, "127.0.0.1:1")
	if err := p.cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	want(t, results, registry.Delete, "127.0.0.1:1") // its own child still runs
}

func TestStaleFilesOfDeadProcessesAreCleaned(t *testing.T) {
	dir := freshDir(t)
	r := open(t, dir)
	p := start(t, nil, "register", dir, "a", "3", "127.0.0.1:1")
	if got := addresses(t, r, "greeter"); got != "127.0.0.1:1 127.0.0.1:1 127.0.0.1:1" {
		t.Fatalf("the child's nodes are %q, want three", got)
	}
	p.kill()
	if got := files(t, r); len(got) != 6 {
		t.Fatalf("the killed child left %v, want six files", got)
	}
	if got := addresses(t, r, "greeter"); got != "" {
		t.Errorf("the killed child's nodes are still at %q", got)
	}
	if got := files(t, r); len(got) != 0 {
		t.Errorf("nobody cleaned up %v", got)
	}
}

func TestProcessesRegisterAtOnce(t *testing.T) {
	leaktest.Check(t)
	const processes, each = 4, 25
	dir := freshDir(t)
	r := open(t, dir)
	w, err := r.Watch(t.Context(), registry.WatchService("greeter"))
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	all := make([]*process, processes)
	for i := range all {
		all[i] = launch(t, nil, "register", dir, fmt.Sprintf("p%d-", i), fmt.Sprint(each), "127.0.0.1:1")
	}
	for _, p := range all {
		p.ready(t)
	}
	if got := strings.Fields(addresses(t, r, "greeter")); len(got) != processes*each {
		t.Errorf("%d nodes are registered, want %d", len(got), processes*each)
	}
	timer := time.AfterFunc(patience, w.Stop)
	defer timer.Stop()
	there := make(map[string]bool)
	follow := func(nodes int) {
		for len(there) != nodes {
			res, err := w.Next()
			if err != nil {
				t.Fatalf("the watcher was told of %d nodes, want %d: %v", len(there), nodes, err)
			}
			switch res.Action {
			case registry.Create:
				there[res.Service.Nodes[0].Id] = true
			case registry.Delete:
				delete(there, res.Service.Nodes[0].Id)
			}
		}
	}
	follow(processes * each)
	for i, p := range all {
		p.kill()
		follow((processes - i - 1) * each)
	}
}

func TestWhenTheNewerProcessDiesTheOlderCountsAgain(t *testing.T) {
	leaktest.Check(t)
	dir := freshDir(t)
	r := open(t, dir)
	results := watch(t, r)
	start(t, nil, "register", dir, "a", "1", "127.0.0.1:1")
	want(t, results, registry.Create, "127.0.0.1:1")
	newer := start(t, nil, "register", dir, "a", "1", "127.0.0.1:2")
	want(t, results, registry.Update, "127.0.0.1:2")
	newer.kill()
	want(t, results, registry.Update, "127.0.0.1:1")
}

// nobody is the user that owns nothing.
const nobody = 65534

// asNobody prepares children of another user: a copy of the test binary where
// that user can run it. It skips the test when that cannot be done.
func asNobody(t *testing.T) func(*exec.Cmd) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root may start a process of another user")
	}
	dir, err := os.MkdirTemp("", "micro-local-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	binary, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "child")
	if err := os.WriteFile(program, binary, 0o755); err != nil {
		t.Fatal(err)
	}
	shared := filepath.Join(dir, "tmp")
	if err := os.Mkdir(shared, 0o700); err != nil {
		t.Fatal(err)
	}
	for path, mode := range map[string]os.FileMode{dir: 0o755, program: 0o755, shared: 0o777 | os.ModeSticky} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("TMPDIR", shared)
	for _, name := range []string{"MICRO_RUNTIME_DIR", "XDG_RUNTIME_DIR"} {
		t.Setenv(name, "")
	}
	return func(cmd *exec.Cmd) {
		cmd.Path = program
		cmd.Dir = "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
}

func TestAnotherUserNeitherSeesNorDisturbs(t *testing.T) {
	as := asNobody(t)
	// Ours is in the same shared temporary directory, as the default is.
	dir := filepath.Join(os.TempDir(), "micro-0")
	ours := open(t, dir)
	register(t, ours, node("greeter", "ours", "127.0.0.1:1"))
	results := watch(t, ours)
	want(t, results, registry.Sync, "")

	p := start(t, as, "intrude", dir)
	if !strings.Contains(p.said, "belongs to user 0") {
		t.Errorf("another user who names our directory is told %q", p.said)
	}
	p = start(t, as, "default")
	theirs := filepath.Join(os.TempDir(), fmt.Sprintf("micro-%d", nobody))
	if p.said != theirs+"/registry holds 1" {
		t.Errorf("another user's registry says %q, want that %s holds 1", p.said, theirs)
	}
	if got := addresses(t, ours, "greeter"); got != "127.0.0.1:1" {
		t.Errorf("we see %q, want only our own", got)
	}
	// A directory that the other user made for us to fall into.
	if _, err := New(Config{Dir: theirs, Logger: quiet()}); err == nil || !strings.Contains(err.Error(), "belongs to user 65534") {
		t.Errorf("New in another user's directory returned %v", err)
	}
}
