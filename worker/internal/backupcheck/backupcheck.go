// Package backupcheck finds out whether a backup of a profile opens in Chrome, and
// holds a login. It opens a copy of the backup, at the page's own address and without
// the page: no request leaves Chrome, since the real page would be a second session of
// the same login, which replaces the first.
package backupcheck

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"

	"session-manager/shared/logging"
	"session-manager/shared/reason"
	"session-manager/shared/rpc"
	"session-manager/shared/selectors"
	"session-manager/worker/internal/browser"
	"session-manager/worker/internal/logid"
)

// maxDetail bounds the detail of an outcome, in bytes.
const maxDetail = 500

// noNetwork keeps Chrome from reaching anything, this machine included, should a
// request escape the interception: no name and no address is found. Chrome uses
// the last of two flags, so it comes after the operator's.
const noNetwork = "--host-resolver-rules=MAP * ~NOTFOUND"

// rejection is an error that can only be the backup's fault.
type rejection struct{ why string }

// Error implements error.
func (r *rejection) Error() string { return r.why }

// Check does what rpc.ModeVerify is for. It returns when Chrome has exited, soon
// after ctx has ended.
func Check(ctx context.Context, req rpc.RunRequest, log *slog.Logger) rpc.BackupChecked {
	ctx, cancel := context.WithTimeoutCause(ctx, req.VerifyLimit, fmt.Errorf("it took longer than %v", req.VerifyLimit))
	defer cancel()
	c := check{req: req, log: log}
	found, err := c.try(ctx)
	if _, ok := errors.AsType[*rejection](err); ok {
		// Memory that ran out can look the same, so it must happen twice.
		found, err = c.try(ctx)
	}
	result := rpc.BackupChecked{Outcome: rpc.BackupVerified, Databases: len(found.Databases)}
	if err == nil {
		return result
	}
	detail := err.Error()
	result.Outcome = rpc.BackupInconclusive
	if _, ok := errors.AsType[*rejection](err); ok {
		result.Outcome = rpc.BackupRejected
	} else if cause := context.Cause(ctx); cause != nil {
		detail = cause.Error() + ": " + detail
	}
	result.Detail = logging.Truncate(logging.Redact(detail), maxDetail)
	return result
}

type check struct {
	req rpc.RunRequest
	log *slog.Logger
}

// try returns a *rejection when the backup does not open, or lacks the login.
func (c check) try(ctx context.Context) (found stored, err error) {
	k, err := selectors.Read(c.req.Selectors)
	if err != nil {
		return found, err
	}
	// Short names, since sockets are made below.
	scratch, profile := filepath.Join(c.req.ScratchDir, "c"), filepath.Join(c.req.ProfileDir, "p")
	for _, path := range []string{scratch, profile} {
		if err := os.Mkdir(path, 0o700); err != nil {
			return found, fmt.Errorf("cannot make folder: %w", err)
		}
		defer c.remove(path)
	}
	if err := copyTree(ctx, c.req.BackupDir, profile); err != nil {
		return found, err
	}
	b, err := c.start(ctx, scratch, profile)
	if err != nil {
		return found, err
	}
	defer c.end(ctx, b)
	if found, err = look(ctx, b.Rod(), c.req.URL, k.Storage.Registered); err != nil {
		return found, err
	}
	return found, found.check()
}

// start starts Chrome on profile. When it does not start there, but on an empty
// profile, that is a *rejection.
func (c check) start(ctx context.Context, scratch, profile string) (*browser.Browser, error) {
	b, err := c.startOn(ctx, scratch, profile)
	if reason.Of(err, "") != reason.BrowserStartFailed || ctx.Err() != nil {
		return b, err
	}
	empty := filepath.Join(scratch, "e")
	if mkdirErr := os.Mkdir(empty, 0o700); mkdirErr != nil {
		return nil, errors.Join(err, mkdirErr)
	}
	control, controlErr := c.startOn(ctx, scratch, empty)
	if controlErr != nil {
		return nil, err // it starts on no profile
	}
	c.end(ctx, control)
	return nil, &rejection{"Chrome starts on an empty profile, but not on this one: " + err.Error()}
}

func (c check) startOn(ctx context.Context, scratch, profile string) (*browser.Browser, error) {
	return browser.Start(ctx, browser.Options{
		Path: c.req.ChromePath, Version: c.req.ChromeVersion, Args: append(slices.Clone(c.req.ChromeArgs), noNetwork),
		ProfileDir: profile, LeaseFile: filepath.Join(scratch, "lease"), ScratchDir: scratch, Logger: c.log,
		StartTimeout: c.req.VerifyLimit,
	})
}

// end closes Chrome, cleanly when there is time. Its profile is thrown away, so
// nothing is lost by a kill.
func (c check) end(ctx context.Context, b *browser.Browser) {
	if err := b.Close(ctx); err != nil && !errors.Is(err, browser.ErrKilled) {
		c.log.Warn(logid.ChromeCloseFailed, slog.Any(logging.KeyError, err))
	}
	<-b.Done()
}

func (c check) remove(path string) {
	if err := os.RemoveAll(path); err != nil {
		c.log.Warn(logid.FolderRemoveFailed, slog.Any(logging.KeyError, err))
	}
}
