package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-9a4e2794/micro/internal/leaktest"
)

// program is the source of a service; %s stands for what it answers.
const program = `package main

import (
	"context"
	"log"

	"github.com/seed-9a4e2794/micro"
)

type Request struct {
	Name string ` + "`json:\"name\"`" + `
}

type Response struct {
	Message string ` + "`json:\"message\"`" + `
}

type Greeter struct{}

func (*Greeter) Hello(_ context.Context, req *Request, rsp *Response) error {
	rsp.Message = "%s " + req.Name
	return nil
}

func main() {
	service := micro.NewService(micro.Name("greeter")%s)
	service.Init()
	if err := micro.RegisterHandler(service.Server(), new(Greeter)); err != nil {
		log.Fatal(err)
	}
	if err := service.Run(); err != nil {
		log.Fatal(err)
	}
}
`

// module makes a module in a new folder that uses this checkout.
func module(t *testing.T, source string) string {
	t.Helper()
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	sums, err := os.ReadFile(filepath.Join(root, "go.sum"))
	if err != nil {
		t.Fatal(err)
	}
	mod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(string(mod), "module github.com/seed-9a4e2794/micro\n", "module greeter\n", 1) +
		"\nrequire github.com/seed-9a4e2794/micro v0.0.0\n\nreplace github.com/seed-9a4e2794/micro => " + root + "\n"
	dir := filepath.Join(t.TempDir(), "greeter")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "go.mod"), text)
	write(t, filepath.Join(dir, "go.sum"), string(sums))
	write(t, filepath.Join(dir, "main.go"), source)
	t.Setenv("GOFLAGS", "-mod=mod")
	t.Setenv("GOWORK", "off")
	return dir
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// started is a micro run under way.
type started struct {
	out  *screen
	url  string // of the gateway
	stop context.CancelFunc
	done chan int
}

// startRun runs micro run with its gateway on a free port, until the test
// ends, and waits for its banner.
func startRun(t *testing.T, args ...string) *started {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	s := &started{out: newScreen(), stop: cancel, done: make(chan int, 1)}
	go func() {
		s.done <- run(ctx, append([]string{"run", "--address", "127.0.0.1:0"}, args...), strings.NewReader(""), s.out, s.out)
	}()
	t.Cleanup(func() {
		cancel()
		if code := <-s.done; code != 0 {
			t.Errorf("micro run ended with %d:\n%s", code, s.out)
		}
	})
	s.out.await(t, "building ...\n", 1, 10*time.Second) // before the compiler is done: it takes longer to start
	s.out.await(t, "  gateway ", 1, 3*time.Minute)
	s.url = regexp.MustCompile(`gateway +(http://\S+)/`).FindStringSubmatch(s.out.String())[1]
	return s
}

// post calls the gateway and returns the answer's message.
func post(c *http.Client, url, body string) (string, error) {
	rsp, err := c.Post(url, "application/json", strings.NewReader(body))
	if err != nil {
		return "", err
	}
	defer rsp.Body.Close()
	b, err := io.ReadAll(rsp.Body)
	if err != nil {
		return "", err
	}
	if rsp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("status %d: %s", rsp.StatusCode, b)
	}
	var v struct{ Message string }
	if err := json.Unmarshal(b, &v); err != nil {
		return "", err
	}
	return v.Message, nil
}

// load makes calls at a rate until stop is closed.
type load struct {
	calls, failed atomic.Int64
	mu            sync.Mutex
	errs          []error
	versions      map[string]int
}

func (l *load) run(stop <-chan struct{}, rate int, url string) {
	c := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: rate}}
	defer c.CloseIdleConnections()
	ticker := time.NewTicker(time.Second / time.Duration(rate))
	defer ticker.Stop()
	began, due := time.Now(), 0
	var calls sync.WaitGroup
	defer calls.Wait()
	for {
		select {
		case <-stop:
			return
		case <-ticker.C:
		}
		// A tick that was missed, because the compiler has the processors, is
		// made up for.
		for want := int(time.Since(began).Seconds() * float64(rate)); due < want; due++ {
			calls.Go(func() {
				message, err := post(c, url, `{"name":"Ada"}`)
				l.calls.Add(1)
				l.mu.Lock()
				defer l.mu.Unlock()
				if err != nil {
					l.failed.Add(1)
					l.errs = append(l.errs, err)
				}
				l.versions[message]++
			})
		}
	}
}

func TestReloadsUnderLoadDropNoRequest(t *testing.T) {
	leaktest.Check(t)
	runtimeDir(t)
	reloads := 5
	if testing.Short() {
		reloads = 2
	}
	const rate = 500
	dir := module(t, fmt.Sprintf(program, "v0", ""))
	r := startRun(t, dir)
	l := &load{versions: make(map[string]int)}
	stop := make(chan struct{})
	var loading sync.WaitGroup
	began := time.Now()
	loading.Go(func() { l.run(stop, rate, r.url+"/greeter/hello") })
	for i := 1; i <= reloads; i++ {
		write(t, filepath.Join(dir, "main.go"), fmt.Sprintf(program, fmt.Sprintf("v%d", i), ""))
		r.out.await(t, "rebuilt", i, 2*time.Minute)
	}
	close(stop)
	loading.Wait()
	took := time.Since(began)
	perSecond := float64(l.calls.Load()) / took.Seconds()
	t.Logf("%d requests in %v (%.0f/s) over %d reloads, %d failed; answers: %v", l.calls.Load(), took.Round(time.Millisecond), perSecond, reloads, l.failed.Load(), l.versions)
	if n := l.failed.Load(); n > 0 {
		t.Errorf("%d requests failed, the first with: %v\n%s", n, l.errs[0], r.out)
	}
	if perSecond < rate*0.9 {
		t.Errorf("only %.0f requests a second were made, not %d: this shows nothing", perSecond, rate)
	}
	for i := 0; i <= reloads; i++ {
		if i < reloads && l.versions[fmt.Sprintf("v%d Ada", i)] == 0 {
			t.Errorf("version %d has answered nothing", i)
		}
	}
	if got := strings.Count(r.out.String(), " 0 dropped"); got != reloads {
		t.Errorf("%d of %d reloads say that nothing was dropped:\n%s", got, reloads, r.out)
	}
	c := &http.Client{Timeout: 10 * time.Second}
	defer c.CloseIdleConnections()
	if got, err := post(c, r.url+"/greeter/hello", `{"name":"Ada"}`); err != nil || got != fmt.Sprintf("v%d Ada", reloads) {
		t.Errorf("after the last reload: %q, %v", got, err)
	}
}

func TestAServiceThatIsBeingBuiltIsNotUnknown(t *testing.T) {
	leaktest.Check(t)
	runtimeDir(t)
	dir := module(t, fmt.Sprintf(program, "v0", ""))
	address := "127.0.0.1:" + freePort("127.0.0.1", "21400")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out, done := newScreen(), make(chan int, 1)
	go func() { done <- run(ctx, []string{"run", "--address", address, dir}, strings.NewReader(""), out, out) }()
	out.await(t, "greeter   building ...\n", 1, time.Minute)
	c := &http.Client{Timeout: 10 * time.Second}
	defer c.CloseIdleConnections()
	for service, want := range map[string]string{"greeter": `"detail":"greeter is being built"`, "orders": "status 404"} {
		if got, err := post(c, "http://"+address+"/"+service+"/hello", "{}"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %q, %v; want %s", service, got, err, want)
		}
	}
	cancel()
	if code := <-done; code != exitOK {
		t.Errorf("micro run ended with %d:\n%s", code, out)
	}
}

func TestABuildErrorLeavesTheOldVersionServing(t *testing.T) {
	runtimeDir(t)
	dir := module(t, fmt.Sprintf(program, "old", ""))
	r := startRun(t, dir)
	write(t, filepath.Join(dir, "main.go"), fmt.Sprintf(program, "new", "")+"\nvar x int = fmtt\n")
	r.out.await(t, "undefined: fmtt", 1, time.Minute)
	if !strings.Contains(r.out.String(), filepath.Join("greeter", "main.go:")) {
		t.Errorf("the error does not name the folder:\n%s", r.out)
	}
	r.out.await(t, "build failed (old version still serving)", 1, time.Second)
	c := &http.Client{Timeout: 10 * time.Second}
	defer c.CloseIdleConnections()
	if got, err := post(c, r.url+"/greeter/Greeter.Hello", `{"name":"Ada"}`); err != nil || got != "old Ada" {
		t.Errorf("while the build fails: %q, %v", got, err)
	}
	write(t, filepath.Join(dir, "main.go"), fmt.Sprintf(program, "new", ""))
	r.out.await(t, "rebuilt", 1, time.Minute)
	if got, err := post(c, r.url+"/greeter/hello", `{"name":"Ada"}`); err != nil || got != "new Ada" {
		t.Errorf("after the mending: %q, %v", got, err)
	}
}

func TestAVersionThatEndsAtItsStartLeavesTheOldOneServing(t *testing.T) {
	runtimeDir(t)
	dir := module(t, fmt.Sprintf(program, "old", ""))
	r := startRun(t, dir)
	write(t, filepath.Join(dir, "main.go"), strings.Replace(fmt.Sprintf(program, "new", ""), "func main() {", "func main() {\n\tlog.Fatal(\"no database\")", 1))
	r.out.await(t, "the new version exited with status 1 before it was ready (old version still serving)", 1, time.Minute)
	c := &http.Client{Timeout: 10 * time.Second}
	defer c.CloseIdleConnections()
	if got, err := post(c, r.url+"/greeter/hello", `{"name":"Ada"}`); err != nil || got != "old Ada" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestAServiceWithAFixedAddressIsReplacedWithAGap(t *testing.T) {
	runtimeDir(t)
	dir := module(t, fmt.Sprintf(program, "old", `, micro.Address("127.0.0.1:21317")`))
	r := startRun(t, dir)
	write(t, filepath.Join(dir, "main.go"), fmt.Sprintf(program, "new", `, micro.Address("127.0.0.1:21317")`))
	r.out.await(t, "the address is fixed", 1, time.Minute)
	r.out.await(t, "rebuilt", 1, time.Minute)
	c := &http.Client{Timeout: 10 * time.Second}
	defer c.CloseIdleConnections()
	if got, err := post(c, r.url+"/greeter/hello", `{"name":"Ada"}`); err != nil || got != "new Ada" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestACrashIsToldAndTheProgramStartedAgain(t *testing.T) {
	runtimeDir(t)
	dir := module(t, strings.Replace(fmt.Sprintf(program, "v0", ""), "	return nil", "	if req.Name == \"crash\" {\n\t\tlog.Fatal(\"out of order\")\n\t}\n\treturn nil", 1))
	r := startRun(t, dir)
	c := &http.Client{Timeout: 10 * time.Second}
	defer c.CloseIdleConnections()
	if got, err := post(c, r.url+"/greeter/hello", `{"name":"crash"}`); err == nil {
		t.Errorf("the call that crashes the service returned %q", got)
	}
	r.out.await(t, "greeter   exited with status 1 after", 1, 10*time.Second)
	if _, err := post(c, r.url+"/greeter/hello", `{"name":"Ada"}`); err == nil || !strings.Contains(err.Error(), "status 503") || !strings.Contains(err.Error(), `"detail":"greeter is restarting"`) {
		t.Errorf("a call before the restart: %v", err) // the pause before it is half a second
	}
	r.out.await(t, "greeter   restarted", 1, 20*time.Second)
	if got, err := post(c, r.url+"/greeter/hello", `{"name":"Ada"}`); err != nil || got != "v0 Ada" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestOnlyWhatTheProgramIsBuiltOfReloadsIt(t *testing.T) {
	runtimeDir(t)
	dir := module(t, fmt.Sprintf(program, "v0", ""))
	r := startRun(t, dir)
	for _, d := range []string{".git", "node_modules", "sub"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write(t, filepath.Join(dir, "main_test.go"), "package main\n")
	write(t, filepath.Join(dir, ".git", "x.go"), "package x\n")
	write(t, filepath.Join(dir, "node_modules", "x.go"), "package x\n")
	write(t, filepath.Join(dir, "data.db"), "1")
	// A change that counts comes after them: had one of them counted, it would
	// have been told first and built alone.
	write(t, filepath.Join(dir, "sub", "sub.go"), "package sub\n")
	r.out.await(t, "rebuilt", 1, time.Minute)
	if err := os.Chtimes(filepath.Join(dir, "main.go"), time.Now(), time.Now()); err != nil { // touch
		t.Fatal(err)
	}
	r.out.await(t, "rebuilt", 2, time.Minute)
	if n := strings.Count(r.out.String(), "rebuilt"); n != 2 {
		t.Errorf("%d builds, want 2:\n%s", n, r.out)
	}
}

func TestRunRefusesWhatIsNoSingleProgram(t *testing.T) {
	runtimeDir(t)
	root := t.TempDir()
	folder := func(name, source string) string {
		dir := filepath.Join(root, name)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if source != "" {
			write(t, filepath.Join(dir, "x.go"), source)
		}
		return dir
	}
	write(t, filepath.Join(folder("several", ""), "go.mod"), "module several\n")
	folder("several/a", "package main\n")
	folder("several/b/cmd", "package main\n")
	folder("several/lib", "package lib\n")
	folder("several/.hidden", "package main\n")
	folder("several/testdata", "package main\n")
	for _, tt := range []struct {
		name string
		args []string
		want []string
	}{
		{"several", []string{filepath.Join(root, "several")}, []string{"holds 2 programs; say which", "micro run " + filepath.Join(root, "several", "a"), filepath.Join("several", "b", "cmd")}},
		{"none", []string{folder("empty", "package x\n")}, []string{"holds no Go program"}},
		{"no module", []string{folder("alone", "package main\n")}, []string{"is in no module", "go mod init"}},
		{"no folder", []string{filepath.Join(root, "nowhere")}, []string{"is no folder"}},
		{"exposed", []string{"--address", "0.0.0.0:0", root}, []string{"this machine only"}},
		{"no port", []string{"--address", "8080", root}, []string{"HOST:PORT"}},
	} {
		args := append([]string{"run"}, tt.args...)
		if tt.args[0] != "--address" {
			args = append([]string{"run", "--address", "127.0.0.1:0"}, tt.args...)
		}
		code, stdout, stderr := tryTool(t, "", args...)
		if code != exitUsage || stdout != "" {
			t.Errorf("%s: exit %d, stdout %q", tt.name, code, stdout)
		}
		for _, w := range tt.want {
			if !strings.Contains(stderr, w) {
				t.Errorf("%s: %q does not say %q", tt.name, stderr, w)
			}
		}
	}
}

func TestABusyPortIsNamedWithAFreeOne(t *testing.T) {
	runtimeDir(t)
	l, err := listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	code, _, stderr := tryTool(t, "", "run", "--address", l.Addr().String(), t.TempDir())
	if want := "error: " + l.Addr().String() + " is in use\n  use: micro run --address :"; code != exitFailure || !strings.HasPrefix(stderr, want) {
		t.Errorf("exit %d, %q, want %q", code, stderr, want)
	}
}
