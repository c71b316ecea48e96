package playground

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"syscall"
	"time"
)

const (
	readyLine = "playground ready"
	// childStop is how long a child may take to end cleanly.
	childStop = 20 * time.Second
)

// Child is a playground in a process of its own: TiDB's global variables allow one per process. It ends when its
// standard input does, and so not later than its parent, however that ends.
type Child struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
	addrs Addrs
	done  chan struct{}
	err   error // valid once done is closed
}

// StartChild runs the command and returns when its parts answer. The context bounds the start only. The command has
// to announce itself by Announce and to end when its standard input ends.
func StartChild(ctx context.Context, cmd *exec.Cmd) (*Child, error) {
	// A Ctrl-C in the terminal is for the parent, which ends the child when its time has come.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	c := &Child{cmd: cmd, stdin: stdin, done: make(chan struct{})}
	ready := make(chan Addrs, 1)
	go func() {
		defer close(c.done)
		listen(stdout, ready)
		c.err = cmd.Wait()
	}()
	select {
	case c.addrs = <-ready:
		return c, nil
	case <-c.done:
		return nil, fmt.Errorf("%s ended early: %w", cmd.Path, c.Err())
	case <-ctx.Done():
		return nil, errors.Join(ctx.Err(), c.Close())
	}
}

// Announce tells a parent, and whoever reads along, that the parts answer.
func Announce(w io.Writer, a Addrs) error {
	body, err := json.Marshal(a)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "%s\n%s\n", readyLine, body)
	return err
}

// listen reads all that a child prints and passes on what it announces.
func listen(r io.Reader, ready chan<- Addrs) {
	lines := bufio.NewScanner(r)
	announced := false
	for lines.Scan() {
		var a Addrs
		if announced && json.Unmarshal(lines.Bytes(), &a) == nil {
			ready <- a
			break
		}
		announced = lines.Text() == readyLine
	}
	// Whatever follows must not block the child.
	_, _ = io.Copy(io.Discard, r)
}

// Addrs returns where the child's parts answer.
func (c *Child) Addrs() Addrs { return c.addrs }

// Done is closed when the child has ended.
func (c *Child) Done() <-chan struct{} { return c.done }

// Err returns why the child has ended, once it has.
func (c *Child) Err() error {
	if c.err == nil {
		return errors.New("the process ended")
	}
	return c.err
}

// Close asks the child to end, and forces it when it does not.
func (c *Child) Close() error {
	_ = c.stdin.Close() // fails only if the child is gone
	timer := time.NewTimer(childStop)
	defer timer.Stop()
	select {
	case <-c.done:
		return c.err
	case <-timer.C:
		_ = c.cmd.Process.Kill()
		<-c.done
		return fmt.Errorf("%s did not end within %s", c.cmd.Path, childStop)
	}
}
