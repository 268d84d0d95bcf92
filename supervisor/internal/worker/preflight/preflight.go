// Package preflight checks that everything is there for a worker to be started.
package preflight

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/prometheus/procfs"

	"session-manager/shared/chrome"
	"session-manager/shared/lease"
	"session-manager/shared/logging"
	"session-manager/shared/reason"
	"session-manager/supervisor/internal/logid"
	"session-manager/supervisor/internal/profile"
	"session-manager/supervisor/internal/watch"
	"session-manager/supervisor/internal/worker/process"
)

// leasePoll is the pause between two looks at a held lease. A flock that is
// released notifies only those who block on it.
const leasePoll = 50 * time.Millisecond

// minMemory is what the machine must have left, in bytes, for a Chrome to be started.
// It holds 150 MB before the page has loaded (shared with others: the binary), and
// with less than that the kernel would kill it, or something that is needed more.
const minMemory = 150 << 20

// Plan is what a worker is started with.
type Plan struct {
	Chrome        chrome.Binary
	ChromeVersion string
	Worker        Binary
}

// Checker checks what a start needs. Its fields are set once; its methods must not
// be called at the same time.
type Checker struct {
	// Worker is the path of the worker's binary, and Chrome the setting that names
	// the browser.
	Worker, Chrome string
	RuntimeDir     process.RuntimeDir
	// Lease is how long a Chrome that a predecessor left may take to close.
	Lease time.Duration
	Log   *slog.Logger
	// Versions knows the browser's, or asks it.
	Versions *chrome.Versions

	binaries binaries
}

// Check returns a plan when a worker can be started on the profile, and otherwise an
// error with a reason. It changes nothing except what a predecessor left behind:
// Chrome's stale lock and the folders of its workers.
func (c *Checker) Check(ctx context.Context, p *profile.Profile) (Plan, error) {
	// The disk is tried while Chrome is asked for its version.
	asking, cancel := context.WithCancel(ctx)
	defer cancel()
	tried := make(chan error, 2)
	go func() {
		err := p.Preflight()
		if err != nil {
			cancel()
		}
		tried <- err
		tried <- c.tryRuntimeDir()
	}()
	plan, planErr := c.Plan(asking)
	profileErr, runtimeErr := <-tried, <-tried
	if err := cmp.Or(profileErr, planErr, runtimeErr); err != nil {
		return Plan{}, err
	}
	if err := checkMemory(); err != nil {
		return Plan{}, err
	}
	if err := c.awaitLease(ctx, p.LeaseFile()); err != nil {
		return Plan{}, err
	}
	state, err := p.ChromeLock.Clean()
	if err != nil {
		return Plan{}, err
	}
	if state != profile.NoLock {
		c.Log.Info(logid.LockChecked, "state", string(state))
	}
	// No Chrome that we started is running, so nobody uses what a predecessor has left.
	if err := errors.Join(c.RuntimeDir.Wipe(), profile.RemoveProbes(c.RuntimeDir.Path), chrome.RemoveTries()); err != nil {
		c.Log.Warn(logid.LeftoversRemoveFailed, logging.KeyPath, c.RuntimeDir.Path, logging.KeyError, err)
	}
	return plan, nil
}

// tryRuntimeDir makes the runtime folder again, if somebody has removed it, and writes there.
func (c *Checker) tryRuntimeDir() error {
	err := c.RuntimeDir.Prepare()
	if err == nil {
		err = profile.TryWrite(c.RuntimeDir.Path)
	}
	if err != nil {
		return reason.Wrap(reason.RuntimeUnwritable, fmt.Errorf("cannot use runtime folder: %w", err))
	}
	return nil
}

// Plan finds Chrome and the worker's binary.
func (c *Checker) Plan(ctx context.Context) (Plan, error) {
	browser, err := chrome.Find(c.Chrome)
	if err != nil {
		return Plan{}, err
	}
	version, err := c.Versions.Of(ctx, browser)
	if err != nil {
		return Plan{}, err
	}
	worker, err := c.binary()
	if err != nil {
		return Plan{}, err
	}
	return Plan{Chrome: browser, ChromeVersion: version, Worker: worker}, nil
}

// checkMemory checks that the machine has memory for a Chrome. A machine that does
// not report its memory has.
func checkMemory() error {
	var info procfs.Meminfo
	if proc, err := procfs.NewDefaultFS(); err == nil {
		info, _ = proc.Meminfo()
	}
	return enough(info)
}

func enough(m procfs.Meminfo) error {
	if m.MemAvailableBytes == nil {
		return nil
	}
	left := *m.MemAvailableBytes
	if m.SwapFreeBytes != nil {
		left += *m.SwapFreeBytes
	}
	if left >= minMemory {
		return nil
	}
	return reason.Wrap(reason.ResourcesExhausted,
		fmt.Errorf("only %d MiB of memory are left on this machine, %d are needed to start Chrome", left>>20, minMemory>>20))
}

// awaitLease gives a Chrome that is still closing a moment. If it takes
// longer, ChromeLock.Clean reports it.
func (c *Checker) awaitLease(ctx context.Context, file string) error {
	ctx, cancel := context.WithTimeout(ctx, c.Lease)
	defer cancel()
	tick := time.NewTicker(leasePoll)
	defer tick.Stop()
	for {
		free, err := lease.Free(file)
		if err != nil {
			return reason.Wrap(reason.ProfileUnwritable, err)
		}
		if free {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// Hindrances are the files whose change may let a worker be started that could not
// be before, as they are now.
func (c *Checker) Hindrances(tokens string) watch.Set {
	dir := filepath.Join(tokens, "admin")
	paths := []string{tokens, dir, filepath.Join(dir, "SingletonLock"), c.Worker}
	return watch.NewOptionalSet(append(paths, chrome.Candidates(c.Chrome)...)...)
}
