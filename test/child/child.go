// Package child starts processes that do not outlive the test that started
// them, however that ends.
package child

import (
	"os/exec"
	"runtime"
	"syscall"
)

// Child is a process that was started.
type Child struct {
	done chan struct{}
	err  error // valid once done is closed
}

// Start starts the command. The kernel kills it when this process dies. The
// command must not have pipes of its own: Start waits for it.
func Start(cmd *exec.Cmd) (*Child, error) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	c := &Child{done: make(chan struct{})}
	started := make(chan error, 1)
	go func() {
		defer close(c.done)
		// The signal comes when the thread that started the child ends, and Go
		// ends threads as it likes. One that is locked lives as long as this.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			c.err = cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return c, nil
}

// Done is closed when the process is gone.
func (c *Child) Done() <-chan struct{} { return c.done }

// Err returns how the process ended, once it has: nil for status 0.
func (c *Child) Err() error { return c.err }
