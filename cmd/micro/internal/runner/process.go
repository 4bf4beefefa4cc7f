package runner

import (
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"github.com/seed-9a4e2794/micro/broker/direct"
	"github.com/seed-9a4e2794/micro/registry"
)

// process is one run of a program.
type process struct {
	id      string // what its node ids end in
	cmd     *exec.Cmd
	started time.Time
	out     *lines
	exited  chan struct{} // closed when it has ended
	err     error         // how; to be read after exited
	others  map[string]bool

	// What it has registered; set by the keeper before anyone else has it.
	nodes []*registry.Service
}

// start runs a program's binary. The goroutine it starts ends with the
// process, which stop and the end of Run wait for.
func (r *runner) start(p *program, binary, id string) (*process, error) {
	out := &lines{console: r.console, program: p}
	cmd := exec.Command(binary)
	cmd.Dir = p.dir
	cmd.Env = append(os.Environ(), r.cfg.Env...)
	cmd.Env = append(cmd.Env, "PWD="+p.dir, "MICRO_SERVER_ID="+id)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.WaitDelay = time.Second // a grandchild may hold the pipe
	ownGroup(cmd)
	endWithParent(cmd)
	x := &process{id: id, cmd: cmd, out: out, exited: make(chan struct{}), others: r.nodeIDs()}
	begun := make(chan error, 1)
	r.processes.Go(func() {
		runtime.LockOSThread() // see endWithParent; the thread ends with the goroutine
		x.started = time.Now()
		err := cmd.Start()
		begun <- err
		if err != nil {
			return
		}
		x.err = cmd.Wait()
		out.flush()
		close(x.exited)
	})
	if err := <-begun; err != nil {
		return nil, err
	}
	return x, nil
}

// nodeIDs returns the ids of the nodes that are registered now.
func (r *runner) nodeIDs() map[string]bool {
	ids := make(map[string]bool)
	services, _ := r.cfg.Catalog.Services()
	for _, s := range services {
		for _, n := range s.Nodes {
			ids[n.Id] = true
		}
	}
	return ids
}

// ended reports whether a process has ended.
func (x *process) ended() bool {
	select {
	case <-x.exited:
		return true
	default:
		return false
	}
}

// registered returns what a process has registered among all services: nodes
// whose id ends in its own, one service a version.
func (x *process) registered(services []*registry.Service) []*registry.Service {
	return nodesWhere(services, func(id string) bool { return strings.HasSuffix(id, "-"+x.id) })
}

// strangers returns nodes that were not there when the process started and
// that no process of ours is named in: a program that sets its own id, or
// never reads the environment, is among them.
func (r *runner) strangers(x *process, services []*registry.Service) []*registry.Service {
	return nodesWhere(services, func(id string) bool { return !x.others[id] && !r.ours(id) })
}

func nodesWhere(services []*registry.Service, mine func(id string) bool) []*registry.Service {
	var out []*registry.Service
	for _, s := range services {
		if s.Name == direct.ServiceName {
			continue
		}
		for _, n := range s.Nodes {
			if mine(n.Id) {
				one := *s
				one.Nodes = []*registry.Node{n}
				out = append(out, &one)
			}
		}
	}
	return out
}

// names returns the names of what a process has registered.
func (x *process) names() []string {
	var names []string
	for _, s := range x.nodes {
		names = append(names, s.Name)
	}
	return names
}

// address returns where a process listens, "" when it has registered nothing.
func (x *process) address() string {
	var all []string
	for _, s := range x.nodes {
		all = append(all, s.Nodes[0].Address)
	}
	return strings.Join(all, " ")
}

// how says how a process has ended.
func (x *process) how() string {
	<-x.exited
	if x.err == nil {
		return "exited"
	}
	text := x.err.Error()
	if status, ok := strings.CutPrefix(text, "exit status "); ok {
		return "exited with status " + status
	}
	if sig, ok := strings.CutPrefix(text, "signal: "); ok {
		if sig == "killed" {
			return "was killed"
		}
		return "was ended by a signal: " + sig
	}
	return text
}
