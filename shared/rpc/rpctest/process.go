// Package rpctest has the contract of package rpc as tests, which the worker and
// every stand-in for it pass.
package rpctest

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/hashicorp/go-plugin"

	"session-manager/shared/lease"
	"session-manager/shared/rpc"
)

// patience bounds every wait; it is reached only by failures.
const patience = 60 * time.Second

// Process is a worker's process that has completed the handshake. A test ends it, and waits
// until Chrome is gone, before its folders are removed.
type Process struct {
	*rpc.Client
	Cmd     *exec.Cmd
	Request rpc.RunRequest
	events  chan rpc.Event
	ended   chan error
	seq     uint64
}

// Start starts cmd, a worker's program, and writes req to its standard input.
func Start(t *testing.T, cmd *exec.Cmd, req rpc.RunRequest) *Process {
	t.Helper()
	path := filepath.Join(t.TempDir(), "request")
	file, err := os.Create(path)
	if err == nil {
		err = rpc.SendRequest(file, req)
	}
	if err != nil {
		t.Fatal(err)
	}
	p := startWith(t, cmd, path)
	p.Request = req
	return p
}

// startWith starts cmd with a file as its standard input.
func startWith(t *testing.T, cmd *exec.Cmd, stdin string) *Process {
	t.Helper()
	// By a shell, since go-plugin sets Stdin itself.
	cmd.Path, cmd.Args = "/bin/sh", []string{"/bin/sh", "-c", `exec "$0" < "$1"`, cmd.Path, stdin}
	client := plugin.NewClient(clientConfig(t, cmd))
	t.Cleanup(client.Kill)
	worker, err := rpc.Connect(client)
	if err != nil {
		t.Fatal(err)
	}
	return &Process{Client: worker, Cmd: cmd, events: make(chan rpc.Event, 1000), ended: make(chan error, 1)}
}

func clientConfig(t *testing.T, cmd *exec.Cmd) *plugin.ClientConfig {
	t.Helper()
	c := rpc.ClientConfig()
	variable, err := rpc.Secure(c)
	if err != nil {
		t.Fatal(err)
	}
	cmd.Env = append(cmd.Env, variable)
	c.Cmd, c.SkipHostEnv, c.Stderr = cmd, true, t.Output()
	return c
}

// Stream streams the events until ctx ends.
func (p *Process) Stream(ctx context.Context) {
	go func() {
		p.ended <- p.Events(ctx, func(e rpc.Event) error {
			p.events <- e
			return nil
		})
	}()
}

// End waits for the end of the stream, and returns its error.
func (p *Process) End(t *testing.T) error {
	t.Helper()
	select {
	case err := <-p.ended:
		return err
	case <-time.After(patience):
		t.Fatal("the stream does not end")
		return nil
	}
}

// Await returns the next event of type T, and checks the numbers of those before it.
func Await[T rpc.EventBody](t *testing.T, p *Process) T {
	t.Helper()
	timeout := time.After(patience)
	for {
		select {
		case e := <-p.events:
			p.seq++
			if e.Seq != p.seq || e.Generation != p.Request.Generation {
				t.Errorf("event %d of generation %d, want %d of %d", e.Seq, e.Generation, p.seq, p.Request.Generation)
			}
			if body, ok := e.Body.(T); ok {
				return body
			}
		case err := <-p.ended:
			p.ended <- err
			if len(p.events) == 0 {
				var want T
				t.Fatalf("the stream ended without a %T: %v", want, err)
			}
		case <-timeout:
			var want T
			t.Fatalf("no %T", want)
		}
	}
}

// StopCleanly stops the worker.
func (p *Process) StopCleanly(t *testing.T) {
	t.Helper()
	if err := errors.Join(p.Stop(t.Context()), p.End(t)); err != nil {
		t.Errorf("after Stop: %v", err)
	}
	p.MustCloseCleanly(t)
}

// MustCloseCleanly waits until Chrome has exited, and checks that it had the time to
// flush the profile.
func (p *Process) MustCloseCleanly(t *testing.T) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for free := false; !free; time.Sleep(10 * time.Millisecond) { // a lock has no event
		var err error
		if free, err = lease.Free(p.Request.LeaseFile); err != nil || time.Now().After(deadline) {
			t.Fatalf("lease free: %v, %v", free, err)
		}
	}
	if _, err := os.Lstat(filepath.Join(p.Request.ProfileDir, "SingletonLock")); !os.IsNotExist(err) {
		t.Error("Chrome's lock is left: it did not close cleanly")
	}
}
