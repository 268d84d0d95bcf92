package worker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"session-manager/shared/chrome"
	"session-manager/shared/lease"
	"session-manager/shared/logging"
	"session-manager/shared/reason"
	"session-manager/supervisor/internal/logid"
	"session-manager/supervisor/internal/profile"
)

// plan is what a generation is started with.
type plan struct {
	browser chrome.Binary
	version string
	program program
}

// prepare returns when a generation can be started. Until then it tells what is
// in the way, and looks again after a while, when one of the paths concerned
// changes, and when a restart is asked for. It returns an error when ctx ends,
// and when another supervisor uses the tokens folder.
func (s *Manager) prepare(ctx context.Context) (plan, error) {
	said := ""
	for {
		p, blocked, err := s.attempt(ctx, said)
		if err != nil || blocked == "" {
			return p, err
		}
		said = blocked
	}
}

// attempt is one look of prepare's, and the pause after it when something is in
// the way; what, it returns as text. It watches from before the look, so that no
// change can fall between the two.
func (s *Manager) attempt(ctx context.Context, said string) (plan, string, error) {
	w := s.watch()
	defer w.close()
	p, err := s.preflight(ctx)
	switch {
	case err == nil:
		return p, "", nil
	case ctx.Err() != nil:
		return plan{}, "", ctx.Err()
	case errors.Is(err, profile.ErrHeld):
		return plan{}, "", err
	}
	b := Blocked{Reason: reason.Of(err, reason.WorkerUnusable), Detail: logging.Redact(err.Error())}
	if exhausted(err) {
		b.Reason = reason.ResourcesExhausted
	}
	pause := s.o.Timings.Probe
	if b.Reason == reason.DiskFull || b.Reason == reason.ResourcesExhausted || errors.Is(err, syscall.ENOSPC) {
		pause = min(pause, s.o.Timings.Space) // nothing tells of what was freed
	}
	b.RetryAt = time.Now().Add(pause)
	now := string(b.Reason) + ": " + b.Detail
	if now != said {
		s.logBlocked(b)
	}
	s.notify(b)
	return plan{}, now, s.wait(ctx, pause, w)
}

// preflight looks at all that a generation needs. It changes nothing but a stale
// lock of Chrome's.
func (s *Manager) preflight(ctx context.Context) (plan, error) {
	if err := s.openProfile(); err != nil {
		return plan{}, err
	}
	if err := s.profile.Preflight(); err != nil {
		return plan{}, err
	}
	browser, err := chrome.Find(s.o.Chrome)
	if err != nil {
		return plan{}, err
	}
	version, err := s.versions.Of(ctx, browser)
	if err != nil {
		return plan{}, err
	}
	worker, err := s.binaries.choose()
	s.tellBinary()
	if err != nil {
		return plan{}, err
	}
	if err := tryRuntimeDir(s.o.RuntimeDir); err != nil {
		return plan{}, err
	}
	if err := lookAtMemory(); err != nil {
		return plan{}, err
	}
	if err := s.awaitLease(ctx); err != nil {
		return plan{}, err
	}
	verdict, err := s.profile.ChromeLock.Clean()
	if err != nil {
		return plan{}, err
	}
	// No Chrome of ours lives, so nobody uses what a predecessor has left.
	if err := wipe(s.o.RuntimeDir); err != nil {
		s.log.Warn(logid.LeftoversRemoveFailed, logging.KeyPath, s.o.RuntimeDir, logging.KeyError, err)
	}
	if verdict != profile.NoLock {
		s.log.Info(logid.LockChecked, "verdict", string(verdict))
	}
	if err := s.hooks.BeforeStart(ctx, s.profile, Start{Chrome: browser.Path, ChromeVersion: version}); err != nil {
		return plan{}, err
	}
	return plan{browser: browser, version: version, program: worker}, nil
}

// openProfile takes the tokens folder at the first time.
func (s *Manager) openProfile() error {
	if s.profile != nil {
		return nil
	}
	p, err := profile.Open(s.o.Tokens)
	if err != nil {
		return err
	}
	s.profile = p
	if err := s.policy.load(p); err != nil {
		s.log.Warn(logid.RestartStateLoadFailed, logging.KeyError, err)
	}
	return nil
}

// checkWorker finds out whether the worker's binary could be executed. That it is
// a worker of our version shows at the handshake.
func checkWorker(path string) error {
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is no regular file", path)
	}
	if err == nil {
		if accessErr := unix.Access(path, unix.X_OK); accessErr != nil {
			err = fmt.Errorf("cannot execute %s: %w", path, accessErr)
		}
	}
	if err != nil {
		return reason.Wrap(reason.WorkerUnusable, fmt.Errorf("cannot use worker binary: %w", err))
	}
	return nil
}

// awaitLease gives a Chrome of ours that is still closing a moment. If it takes
// longer, ChromeLock.Clean reports it.
func (s *Manager) awaitLease(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.o.Timings.Lease)
	defer cancel()
	tick := time.NewTicker(leasePoll)
	defer tick.Stop()
	for {
		free, err := lease.Free(s.profile.LeaseFile())
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

// paths are those whose change may mend what keeps a generation from being
// started.
func (s *Manager) paths() []string {
	tokens, err := filepath.Abs(s.o.Tokens)
	if err != nil {
		tokens = s.o.Tokens
	}
	dir := filepath.Join(tokens, "admin")
	paths := []string{tokens, dir, filepath.Join(dir, "SingletonLock"), s.o.Worker}
	return append(paths, chrome.Candidates(s.o.Chrome)...)
}
