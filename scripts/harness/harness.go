// Package harness starts the built service, and the simulator that it works on,
// for tests and for the programs under scripts/. It reaches the service as anybody
// does: by HTTP, signals, its log, and what the kernel reports of its processes.
package harness

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Main runs a program with its arguments and standard output. SIGINT and SIGTERM
// cancel its context. An error goes to standard error, after the program's name,
// and makes the exit code 1; flag.ErrHelp does not.
func Main(name string, run func(ctx context.Context, args []string, out io.Writer) error) {
	DefaultSignals()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		_, _ = fmt.Fprintln(os.Stderr, name+":", err)
		os.Exit(1)
	}
}

// Pause returns nil after d, and ctx's error when ctx ends before.
func Pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Binaries are built programs.
type Binaries struct{ Supervisor, Worker string }

// Installed returns the binaries next to the program that runs, as make build puts
// them there.
func Installed() (Binaries, error) {
	self, err := os.Executable()
	if err != nil {
		return Binaries{}, fmt.Errorf("cannot find the binaries: %w", err)
	}
	return in(filepath.Dir(self)), nil
}

func in(folder string) Binaries {
	return Binaries{Supervisor: filepath.Join(folder, "supervisor"), Worker: filepath.Join(folder, "worker")}
}

// Build builds the binaries for tests, and returns them. All packages under test
// share them: the second to ask finds them up to date, also after a commit. With race the
// supervisor has the race detector; in the worker it would make the search of a screenshot
// take ten times as long.
func Build(ctx context.Context, race bool) (Binaries, error) {
	programs := map[string][]string{"supervisor": nil, "worker": nil}
	if race {
		programs["supervisor"] = []string{"-race"}
	}
	folder, err := build(ctx, race, programs)
	return in(folder), err
}

// StandIn builds the stand-in of the worker, and returns its path.
func StandIn(ctx context.Context) (string, error) {
	folder, err := build(ctx, false, map[string][]string{"supervisor/internal/worker/testdata/fakeworker": nil})
	return filepath.Join(folder, "fakeworker"), err
}

// build builds programs of this module, each with its flags, and returns the folder where they are.
func build(ctx context.Context, race bool, programs map[string][]string) (folder string, err error) {
	root, err := moduleRoot(ctx)
	if err != nil {
		return "", err
	}
	folder = filepath.Join(root, "bin", "test")
	if race {
		folder = filepath.Join(folder, "race")
	}
	if err := os.MkdirAll(folder, 0o755); err != nil { //nolint:gosec // as the folder bin is
		return "", fmt.Errorf("cannot make folder: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(folder, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return "", fmt.Errorf("cannot lock the binaries: %w", err)
	}
	defer func() { _ = lock.Close() }() // which unlocks
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return "", fmt.Errorf("cannot lock the binaries: %w", err)
	}
	for name, flags := range programs {
		args := append(append([]string{"build", "-buildvcs=false", "-o", folder + "/"}, flags...), "session-manager/"+name)
		if out, err := exec.CommandContext(ctx, "go", args...).CombinedOutput(); err != nil {
			return "", fmt.Errorf("cannot build %s: %w\n%s", name, err, out)
		}
	}
	return folder, nil
}

// moduleRoot is the repository's top folder, above the current one.
func moduleRoot(ctx context.Context) (string, error) {
	file, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("cannot find the repository: %w", err)
	}
	return filepath.Dir(string(file)), nil
}

// Tool returns a program that make test takes out of its package, or that is installed.
func Tool(ctx context.Context, name string) (path string, err error) {
	root, err := moduleRoot(ctx)
	if err != nil {
		return "", err
	}
	path = filepath.Join(root, "scripts", "tools", "bin", name)
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	if path, err = exec.LookPath(name); err != nil {
		return "", fmt.Errorf("needs %s, which make test installs: %w", name, err)
	}
	return path, nil
}

// Child is a process in a group of its own, so that Ctrl-C reaches it through us only.
// It dies with this process.
type Child struct {
	cmd    *exec.Cmd
	exited chan struct{}
}

// Spawn starts a command, which must not have a context that ends.
func Spawn(cmd *exec.Cmd) (*Child, error) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("cannot start %s: %w", filepath.Base(cmd.Path), err)
	}
	c := &Child{cmd, make(chan struct{})}
	go func() {
		defer close(c.exited)
		_ = cmd.Wait()
	}()
	return c, nil
}

// PID returns its process number.
func (c *Child) PID() int { return c.cmd.Process.Pid }

// Exited is closed when it has exited.
func (c *Child) Exited() <-chan struct{} { return c.exited }

// HasExited reports whether it exits within a time.
func (c *Child) HasExited(within time.Duration) bool {
	select {
	case <-c.exited:
		return true
	case <-time.After(within):
	}
	select { // both may have been ready
	case <-c.exited:
		return true
	default:
		return false
	}
}

// ExitCode returns how it exited. It must have.
func (c *Child) ExitCode() int { return c.cmd.ProcessState.ExitCode() }

// Signal sends sig to it.
func (c *Child) Signal(sig os.Signal) error {
	return c.cmd.Process.Signal(sig)
}

// KillGroup ends it with its helpers, and waits for its end.
func (c *Child) KillGroup() {
	if !c.HasExited(0) {
		_ = syscall.Kill(-c.PID(), syscall.SIGKILL)
		<-c.exited
	}
}
