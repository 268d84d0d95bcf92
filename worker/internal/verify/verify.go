// Package verify finds out whether a copy of a profile opens in a Chrome, and holds
// a login. It opens a copy of the copy, at the page's own address and without the
// page: no request leaves Chrome, since the real page would be a second session of
// the same login, which takes the first one's place.
package verify

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"session-manager/shared/logging"
	"session-manager/shared/reason"
	"session-manager/shared/rpc"
	"session-manager/shared/selectors"
	"session-manager/worker/internal/browser"
)

const (
	// defaultLimit bounds a request that brings no limit. Measured: 1.7 s of work,
	// and 4 to 9 s on two processors that have six times as much to do.
	defaultLimit = 20 * time.Second
	// maxReason bounds what a verdict tells, in bytes.
	maxReason = 500
)

// noNetwork keeps Chrome from reaching anything, this machine included, should a
// request escape the interception: no name and no address is found. Chrome heeds
// the last of two flags, so it comes after the operator's.
const noNetwork = "--host-resolver-rules=MAP * ~NOTFOUND"

// refusal is the error that speaks against the copy, and against nothing else.
type refusal struct{ why string }

// Error implements error.
func (r *refusal) Error() string { return r.why }

// Copy opens the copy, or says why it could not be tried. It returns when Chrome has
// ended, soon after ctx has. The copy is only read.
func Copy(ctx context.Context, req rpc.VerifyRequest, log *slog.Logger) rpc.Verdict {
	limit := req.Limit
	if limit == 0 {
		limit = defaultLimit
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("it took longer than %v", limit))
	defer cancel()
	found, err := try(ctx, req, log)
	if _, ok := errors.AsType[*refusal](err); ok {
		// Memory that ran out can look the same, so it must happen twice.
		found, err = try(ctx, req, log)
	}
	v := rpc.Verdict{Databases: len(found.Databases)}
	if err == nil {
		return v
	}
	v.Exit, v.Reason = rpc.VerifyUntried, err.Error()
	if _, ok := errors.AsType[*refusal](err); ok {
		v.Exit = rpc.VerifyRefused
	} else if cause := context.Cause(ctx); cause != nil {
		v.Reason = cause.Error() + ": " + v.Reason
	}
	v.Reason = cut(logging.Redact(v.Reason))
	return v
}

// try is a *refusal when the copy does not open, or lacks the login.
func try(ctx context.Context, req rpc.VerifyRequest, log *slog.Logger) (found stored, err error) {
	k, err := selectors.Read(req.Selectors)
	if err != nil {
		return found, err
	}
	// Fixed names, and short ones: those of sockets come below.
	scratch, room := filepath.Join(req.ScratchDir, "c"), filepath.Join(req.RoomDir, "p")
	for _, path := range []string{scratch, room} {
		if err := os.Mkdir(path, 0o700); err != nil {
			return found, fmt.Errorf("cannot make folder: %w", err)
		}
		defer remove(path, log)
	}
	if err := copyTree(ctx, req.CopyDir, room); err != nil {
		return found, err
	}
	b, err := start(ctx, req, scratch, room, log)
	if err != nil {
		return found, err
	}
	defer end(ctx, b, log)
	if found, err = look(ctx, b.Rod(), req.URL, k.Storage.Registered); err != nil {
		return found, err
	}
	return found, found.judge()
}

// start starts Chrome on profile. When it does not start there, but on an empty
// profile, that is a *refusal.
func start(ctx context.Context, req rpc.VerifyRequest, scratch, profile string, log *slog.Logger) (*browser.Browser, error) {
	b, err := startOn(ctx, req, scratch, profile, log)
	if reason.Of(err, "") != reason.BrowserStartFailed || ctx.Err() != nil {
		return b, err
	}
	empty := filepath.Join(scratch, "e")
	if mkdirErr := os.Mkdir(empty, 0o700); mkdirErr != nil {
		return nil, errors.Join(err, mkdirErr)
	}
	proof, proofErr := startOn(ctx, req, scratch, empty, log)
	if proofErr != nil {
		return nil, err // it starts on no profile
	}
	end(ctx, proof, log)
	return nil, &refusal{"Chrome starts on an empty profile, and not on this one: " + err.Error()}
}

func startOn(ctx context.Context, req rpc.VerifyRequest, scratch, profile string, log *slog.Logger) (*browser.Browser, error) {
	return browser.Start(ctx, browser.Options{
		Path: req.ChromePath, Version: req.ChromeVersion, Args: append(slices.Clone(req.ChromeArgs), noNetwork),
		ProfileDir: profile, LeaseFile: filepath.Join(scratch, "lease"), ScratchDir: scratch, Logger: log,
		StartTimeout: req.Limit,
	})
}

// end closes Chrome, cleanly when there is time. Its profile is thrown away, so
// that nothing is lost by a kill.
func end(ctx context.Context, b *browser.Browser, log *slog.Logger) {
	if err := b.Close(ctx); err != nil && !errors.Is(err, browser.ErrKilled) {
		log.Warn("cannot end Chrome", slog.Any(logging.KeyError, err))
	}
	<-b.Done()
}

func remove(path string, log *slog.Logger) {
	if err := os.RemoveAll(path); err != nil {
		log.Warn("cannot remove folder", slog.Any(logging.KeyError, err))
	}
}

func cut(text string) string {
	if len(text) > maxReason {
		text = text[:maxReason] + "…"
	}
	return strings.ToValidUTF8(text, "")
}
