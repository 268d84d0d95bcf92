package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"session-manager/shared/logging"
	"session-manager/shared/proctree"
	"session-manager/shared/rpc"
	"session-manager/supervisor/internal/logid"
)

// ErrBackupRejected means that a backup of the profile does not open in Chrome, or
// holds no login.
var ErrBackupRejected = errors.New("the backup is of no use")

// verifyGrace is how long a verification may take beyond its limit: its worker has to
// start, and to report that the time was not enough.
const verifyGrace = 5 * time.Second

// VerifyBackup finds out whether a backup of the profile, in the folder backup, opens in
// Chrome, by a worker that does nothing else. It returns nil if it does, an error that
// matches ErrBackupRejected if it does not, and any other error if that could not be
// found out. Only the Hooks may call it, from BeforeStart and AfterStop, when nothing
// else is below this process. Anything it started has exited when it returns.
func (m *Manager) VerifyBackup(ctx context.Context, backup string) error {
	ctx, cancel := context.WithTimeout(ctx, m.o.Timings.Start.VerifyBackup+verifyGrace)
	defer cancel()
	plan, err := m.checker.Plan(ctx)
	if err != nil {
		return err
	}
	room, removeRoom, err := m.profile.TempDir()
	if err != nil {
		return err
	}
	defer func() {
		if removeErr := removeRoom(); removeErr != nil {
			m.log.Warn(logid.VerificationCleanupFailed, logging.KeyError, removeErr)
		}
	}()
	dir, err := m.checker.RuntimeDir.Make(trialNumber)
	if err != nil {
		return err
	}
	defer m.removeDirs(m.log, trialNumber)
	c := m.newChild(plan.Worker.Path, dir, &rpc.RunRequest{
		Mode: rpc.ModeVerify, BackupDir: backup, VerifyLimit: m.o.Timings.Start.VerifyBackup,
		ChromePath: plan.Chrome.Path, ChromeVersion: plan.ChromeVersion, ChromeArgs: m.o.ChromeArgs,
		URL: m.o.URL, ProfileDir: room, ScratchDir: dir.Chrome(), Selectors: m.o.Selectors(),
	}, proctree.Below(m.group), m.log.With("verification", true))
	result, err := c.verify(ctx)
	s := shutdown{child: c, cause: cause{ask: err == nil, frozen: err != nil}, stuck: func(err error) { m.stuck(ctx, err) }}
	if err := s.run(ctx); err != nil {
		m.log.Warn(logid.VerificationCleanupFailed, logging.KeyError, err)
	}
	switch {
	case err != nil:
		return fmt.Errorf("cannot verify backup: %w", err)
	case result.Outcome == rpc.BackupRejected:
		return fmt.Errorf("%w: %s", ErrBackupRejected, logging.Redact(result.Detail))
	case result.Outcome != rpc.BackupVerified:
		return fmt.Errorf("cannot verify backup: %s", logging.Redact(result.Detail))
	}
	m.log.Debug(logid.BackupVerified, logging.KeyPath, backup, "databases", result.Databases)
	return nil
}

// verify returns the result of a worker in rpc.ModeVerify.
func (c *child) verify(ctx context.Context) (rpc.BackupChecked, error) {
	select {
	case connected := <-c.connected:
		if connected.err != nil {
			return rpc.BackupChecked{}, connected.err
		}
		c.run(connected.worker)
	case <-ctx.Done():
		return rpc.BackupChecked{}, context.Cause(ctx)
	}
	for {
		select {
		case e := <-c.events:
			if result, ok := e.Body.(rpc.BackupChecked); ok && c.receive(e) {
				return result, nil
			}
		case err := <-c.streamEnd:
			c.streamOver = true
			return rpc.BackupChecked{}, fmt.Errorf("the worker gave no result: %w", err)
		case <-ctx.Done():
			return rpc.BackupChecked{}, context.Cause(ctx)
		}
	}
}
