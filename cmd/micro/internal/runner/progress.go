package runner

import (
	"path/filepath"
	"slices"
	"sync"
)

// state is what a program does that does not serve.
type state string

const (
	building   state = "is being built"
	broken     state = "does not build"
	restarting state = "is restarting"
	over       state = "has ended"
	running    state = ""
)

// Progress tells what the programs of a runner do. The zero value knows none.
// Its methods may run concurrently.
type Progress struct {
	mu       sync.Mutex
	programs map[*program]*standing
}

// standing is what is known of one program.
type standing struct {
	state state
	names []string // what it has registered so far
}

// set notes what a program does, and the names that it has registered now.
func (g *Progress) set(p *program, s state, names ...string) {
	if g == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.programs == nil {
		g.programs = make(map[*program]*standing)
	}
	x := g.programs[p]
	if x == nil {
		x = new(standing)
		g.programs[p] = x
	}
	x.state = s
	for _, n := range names {
		if !slices.Contains(x.names, n) {
			x.names = append(x.names, n)
		}
	}
}

// Of returns why a service that is not registered does not serve, such as "is
// being built", or "" when no program is known to serve it. A program serves
// what it has registered before, and what is called as its folder.
func (g *Progress) Of(service string) string {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, x := range g.programs {
		if slices.Contains(x.names, service) {
			if x.state == running { // the registry is the first to know that it ended
				return string(restarting)
			}
			return string(x.state)
		}
	}
	for p, x := range g.programs {
		if x.state != running && slices.Contains([]string{p.label, filepath.Base(p.dir), filepath.Base(p.given)}, service) {
			return string(x.state)
		}
	}
	return ""
}
