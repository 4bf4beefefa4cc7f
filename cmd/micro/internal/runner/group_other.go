//go:build !unix

package runner

import (
	"os"
	"os/exec"
)

// ownGroup does nothing: there are no process groups as on Unix.
func ownGroup(*exec.Cmd) {}

// endGroup kills the process: there is no asking.
func endGroup(p *os.Process) error { return p.Kill() }

func killGroup(p *os.Process) error { return p.Kill() }
