package playground

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"go.uber.org/zap"
)

const healthPoll = 20 * time.Millisecond

// CaptureConfig is what a capture needs to know.
type CaptureConfig struct {
	PD      string // http://host:port
	Addr    string // host:port to listen on and to be reached by
	DataDir string
	Logger  *zap.Logger
}

// CaptureFunc runs one capture until the context ends, and returns nil then, or why it ended before.
type CaptureFunc func(ctx context.Context, c CaptureConfig) error

// capture is one that runs.
type capture struct {
	cancel context.CancelFunc
	done   chan struct{}
	err    error // valid once done is closed
}

// stop ends the capture gracefully and waits for it.
func (c *capture) stop() {
	c.cancel()
	<-c.done
}

// startCaptures starts the captures and waits until each of them calls the cluster healthy.
func (p *Playground) startCaptures(ctx context.Context) error {
	if p.opts.Captures > 0 && p.opts.RunCapture == nil {
		return errors.New("playground: captures are wanted, but nothing to run them")
	}
	for i := range p.opts.Captures {
		if err := p.startCapture(i); err != nil {
			return err
		}
	}
	for i, c := range p.captures {
		if err := awaitCapture(ctx, c, p.addrs.CDC[i]); err != nil {
			return fmt.Errorf("playground: capture %d: %w", i, err)
		}
		p.watch(fmt.Sprintf("capture %d", i), c.done, func() error { return errors.Join(c.err, errors.New("it ended")) })
	}
	return nil
}

func (p *Playground) startCapture(i int) error {
	port := p.opts.CDCPort
	if port != 0 {
		port += i
	}
	port, err := portOrFree(p.opts.Host, port)
	if err != nil {
		return err
	}
	config := CaptureConfig{
		PD:      p.addrs.PD,
		Addr:    address(p.host, port),
		DataDir: filepath.Join(p.opts.DataDir, fmt.Sprintf("cdc-%d", i)),
		Logger:  p.log,
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(p.life))
	c := &capture{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(c.done)
		c.err = p.opts.RunCapture(ctx, config)
	}()
	p.captures = append(p.captures, c)
	p.addrs.CDC = append(p.addrs.CDC, config.Addr)
	return nil
}

// awaitCapture returns when the capture answers and the cluster has an owner.
func awaitCapture(ctx context.Context, c *capture, addr string) error {
	tick := time.NewTicker(healthPoll)
	defer tick.Stop()
	for {
		err := checkHealth(ctx, addr)
		if err == nil {
			return nil
		}
		select {
		case <-c.done:
			return errors.Join(errors.New("it ended"), c.err)
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ctx.Err(), err)
		case <-tick.C:
		}
	}
}

// checkHealth asks our capture for its health: on a port that is taken another one could answer.
func checkHealth(ctx context.Context, addr string) error {
	var status struct {
		PID int `json:"pid"`
	}
	if err := get(ctx, addr, "/api/v2/status", &status); err != nil {
		return err
	}
	if status.PID != os.Getpid() {
		return fmt.Errorf("process %d answers on %s", status.PID, addr)
	}
	return get(ctx, addr, "/api/v2/health", nil)
}

// get decodes the answer, if out is not nil.
func get(ctx context.Context, addr, path string, out any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+path, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	body, err := io.ReadAll(resp.Body)
	err = errors.Join(err, resp.Body.Close())
	switch {
	case err != nil:
		return err
	case resp.StatusCode != http.StatusOK:
		return fmt.Errorf("%s: %s", path, resp.Status)
	case out == nil:
		return nil
	}
	return json.Unmarshal(body, out)
}
