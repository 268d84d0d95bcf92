package browser

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"session-manager/shared/chrome"
	"session-manager/shared/lease"
	"session-manager/shared/logging"
	"session-manager/shared/reason"
	"session-manager/worker/internal/logid"
)

// Start starts Chrome and returns when it answers and holds our profile. ctx
// bounds the start only. An error carries a reason (package reason); Chrome has
// ended then.
func Start(ctx context.Context, o Options) (*Browser, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, o.StartTimeout,
		fmt.Errorf("Chrome gave no answer within %v", o.StartTimeout))
	defer cancel()

	held, err := lease.Acquire(o.LeaseFile)
	if errors.Is(err, lease.ErrHeld) {
		return nil, reason.Wrap(reason.ProfileInUse, err)
	}
	if err != nil {
		return nil, reason.Wrap(reason.ProfileUnwritable, err)
	}
	// From here on only Chrome's copy holds the lease.
	b, err := launch(o, thisHost(), held)
	_ = held.Close()
	if err != nil {
		return nil, err
	}
	if err := b.settle(ctx, o); err != nil {
		return nil, b.abandon(o, err)
	}
	return b, nil
}

// complete fills in defaults and refuses what can't work.
func (o *Options) complete() error {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.StartTimeout == 0 {
		o.StartTimeout = StartTimeout
	}
	for name, path := range map[string]string{
		"Path": o.Path, "ProfileDir": o.ProfileDir, "LeaseFile": o.LeaseFile, "ScratchDir": o.ScratchDir,
	} {
		if !filepath.IsAbs(path) {
			return reason.Wrap(reason.BrowserStartFailed, fmt.Errorf("internal error: %s %q is not absolute", name, path))
		}
	}
	if !versionPattern.MatchString(o.Version) {
		return reason.Wrap(reason.BrowserStartFailed, fmt.Errorf("cannot use version %q: want four numbers", o.Version))
	}
	for _, arg := range o.Args {
		if err := chrome.CheckArg(arg); err != nil {
			return reason.Wrap(reason.BrowserStartFailed, fmt.Errorf("cannot pass %q to Chrome: %w", arg, err))
		}
	}
	// Chrome would silently use another profile.
	if info, err := os.Stat(o.ProfileDir); err != nil {
		return reason.Wrap(reason.ProfileUnwritable, fmt.Errorf("cannot use the profile: %w", err))
	} else if !info.IsDir() {
		return reason.Wrap(reason.ProfileUnwritable, fmt.Errorf("cannot use the profile %s: not a folder", o.ProfileDir))
	}
	return nil
}

// launch runs the binary with its pipes.
func launch(o Options, h host, held *os.File) (*Browser, error) {
	env, err := prepareScratch(o.ScratchDir, os.Environ())
	if errors.Is(err, syscall.ENOSPC) {
		return nil, reason.Wrap(reason.DiskFull, err)
	}
	if err != nil {
		return nil, reason.Wrap(reason.BrowserStartFailed, err)
	}
	args := commandLine(o.ProfileDir, userAgentOf(o.Version), h, o.Args)
	b := &Browser{log: o.Logger, scratchDir: o.ScratchDir, sandbox: !chrome.DisablesSandbox(args)}
	if !b.sandbox {
		o.Logger.Warn(logid.SandboxDisabled, slog.Bool("root", h.root),
			slog.String(logging.KeyDetail, "a page that breaks out of Chrome has this user's rights"))
	}
	if err := b.exec(o.Path, args, env, held); err != nil {
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.ENOEXEC) {
			return nil, reason.Wrap(reason.BrowserMissing, err)
		}
		return nil, reason.Wrap(reason.BrowserStartFailed, err)
	}
	return b, nil
}

// exec connects Chrome's descriptors: it reads commands from 3, writes answers to
// 4, and keeps the lease in 5 for as long as it lives.
func (b *Browser) exec(path string, args, env []string, held *os.File) error {
	commandsIn, commands, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("cannot make a pipe: %w", err)
	}
	answers, answersOut, err := os.Pipe()
	if err != nil {
		_ = commandsIn.Close()
		_ = commands.Close()
		return fmt.Errorf("cannot make a pipe: %w", err)
	}
	b.pipe = newPipe(commands, answers)
	b.process, err = spawn(path, args, env, commandsIn, answersOut, held)
	_ = commandsIn.Close()
	_ = answersOut.Close()
	if err != nil {
		b.pipe.Close()
	}
	return err
}

// settle waits until Chrome answers, and verifies that it is ours, on our
// profile.
func (b *Browser) settle(ctx context.Context, o Options) error {
	begun := time.Now()
	if err := b.connect(ctx, o.Version); err != nil {
		return err
	}
	hostname, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("cannot get this machine's name: %w", err)
	}
	if err := checkLock(o.ProfileDir, hostname, b.PID()); err != nil {
		return err
	}
	b.log.Debug(logid.ChromeConnected, slog.Int(logging.KeyPID, b.PID()), slog.String("product", b.product),
		logging.Millis("start_ms", time.Since(begun)))
	return nil
}

// abandon ends a Chrome that did not start well, and explains cause.
func (b *Browser) abandon(o Options, cause error) error {
	exited := isClosed(b.process.done) || errors.Is(cause, ErrGone) && wait(b.process.done, pipeExit)
	if !exited {
		// It may answer on another profile, or be about to: let it close cleanly.
		b.pipe.Close()
		if !wait(b.process.done, pipeExit) {
			b.process.kill()
			wait(b.process.done, killExit)
		}
		return reason.Wrap(reason.Of(cause, reason.BrowserStartFailed), fmt.Errorf("cannot start Chrome: %w", cause))
	}
	exit := b.Exit()
	code, detail := diagnose(exit, b.Stderr(), inspectProfile(o.ProfileDir))
	return reason.Wrap(code, fmt.Errorf("cannot start Chrome: it ended with %v; %s (%w)", exit, detail, cause))
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
