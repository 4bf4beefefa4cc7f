package runner

import (
	"os/exec"
	"syscall"
)

// endWithParent makes the kernel end the process when the thread that starts
// it ends: a killed micro run leaves no services behind. The caller locks its
// goroutine to the thread until the process has ended.
func endWithParent(cmd *exec.Cmd) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = new(syscall.SysProcAttr)
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGTERM
}
