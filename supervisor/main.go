// Command supervisor is the service: it answers HTTP, owns the session's state,
// and keeps one worker with its Chrome alive.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"session-manager/shared/logging"
	"session-manager/shared/proctree"
	"session-manager/supervisor/internal/client"
	"session-manager/supervisor/internal/config"
	"session-manager/supervisor/internal/doctor"
	"session-manager/supervisor/internal/listen"
	"session-manager/supervisor/internal/logid"
	"session-manager/supervisor/internal/profile"
	"session-manager/supervisor/internal/systemd"
	"session-manager/supervisor/internal/wait"
)

// version is set by the linker (see the Makefile).
var version = "devel"

// flushTimeout is how long the last log lines may take to be written.
const flushTimeout = time.Second

func main() {
	signals := catchSignals()
	stderr := logging.Stderr("supervisor", logid.LogLinesDropped)
	_ = proctree.DenyCoreDumps() // lowering a limit is always allowed
	code := run(signals, os.Args[1:], os.Environ(), os.Stdout, stderr)
	stderr.Flush(flushTimeout)
	os.Exit(code)
}

// run executes the command that args name and returns the exit code. An error that
// ends the start is one line on stderr; after the start everything is a log line.
func run(signals *signals, args, environ []string, stdout io.Writer, stderr *logging.Writer) int {
	begun := time.Now()
	ctx := signals.ctx
	var cfg *config.Config
	var err error
	asks := config.IsClient(args)
	if !asks {
		cfg, err = load(ctx, args, environ, stdout)
	}
	switch {
	case asks:
		signals.stopOnHangup()
		err = signals.interrupted(askService(ctx, args, stdout))
	case err != nil && config.Names(args, config.CommandDoctor):
		err = signals.interrupted(fmt.Errorf("%w: %w", doctor.ErrFindings, err))
	case err != nil:
		err = signals.interrupted(err)
	case cfg.Command == config.CommandServe:
		err = serve(signals, cfg, begun, stderr)
	default:
		signals.stopOnHangup()
		err = signals.interrupted(command(ctx, cfg, stdout))
	}
	if err != nil && !errors.Is(err, config.ErrDone) && !errors.Is(err, client.ErrNotReady) {
		stderr.Fail(err)
	}
	return exitCode(err)
}

// load reads the settings: those of the installed service, if a command means that.
func load(ctx context.Context, args, environ []string, stdout io.Writer) (*config.Config, error) {
	p, err := findPackaged(args)
	if err != nil {
		return nil, err
	}
	if p == nil {
		cfg, _, err := config.Load(ctx, args, environ, stdout, version)
		return cfg, err
	}
	cfg, _, err := config.Load(ctx, args, os.Environ(), stdout, version, p.below) // it has changed
	if err == nil || errors.Is(err, config.ErrDone) && slices.Contains(args, "--print-config") {
		p.announce(cfg, os.Stderr)
	}
	if err == nil {
		err = os.Chdir("/") // as the service; the folder may be closed to its user
	}
	return cfg, err
}

// command executes a command other than the service.
func command(ctx context.Context, cfg *config.Config, stdout io.Writer) error {
	switch cfg.Command {
	case config.CommandDoctor:
		return examine(ctx, cfg, stdout)
	case config.CommandCompletion:
		return config.WriteCompletion(stdout)
	case config.CommandExport:
		return exportLogin(ctx, cfg, stdout)
	default:
		return importLogin(ctx, cfg, stdout)
	}
}

// setUpRuntime makes Go use little at rest, where its environment says nothing else.
func setUpRuntime() {
	if os.Getenv("GOMAXPROCS") == "" {
		// The process is woken for many small things, which cost half as much with one
		// thread for Go: measured at rest 0.3 % of a core instead of 0.6 %. It still
		// answers 20,000 requests a second.
		runtime.GOMAXPROCS(1)
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(proctree.GCPercent)
	}
}

// spareThreads is how many threads are made at the start. Go ends a process that needs one when
// the kernel allows no more, as when Chrome has taken all of them.
const spareThreads = 12

// reserveThreads makes n threads, which Go keeps for later.
func reserveThreads(n int) {
	var made, ended sync.WaitGroup
	made.Add(n)
	for range n {
		ended.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			made.Done()
			made.Wait()
		})
	}
	ended.Wait()
}

// serve runs the service until it is asked to stop.
func serve(signals *signals, cfg *config.Config, begun time.Time, stderr *logging.Writer) error {
	ctx := signals.ctx
	setUpRuntime()
	reserveThreads(spareThreads)
	// Otherwise a terminal of which this is not in the foreground could stop it for a log
	// line (stty tostop).
	signal.Ignore(syscall.SIGTTOU)
	attended := term.IsTerminal(unix.Stderr)
	if cfg.TextLog(attended) {
		stderr.SetText()
	}
	log := stderr.Logger(cfg.Level())
	manager, err := systemd.Find(log)
	if err != nil {
		return err
	}
	files := newFiles(cfg, log)
	defer files.versions.Ahead(ctx, cfg.Chrome)() // it takes as long as all else before the first worker
	err = files.open(ctx, cfg)
	if ctx.Err() != nil {
		return nil
	}
	if err != nil {
		return err
	}
	listeners, err := openListeners(ctx, cfg, manager, files, log)
	if err != nil && ctx.Err() != nil {
		return nil
	}
	if err != nil {
		return err
	}
	defer listen.Close(listeners)
	if err := proctree.BecomeSubreaper(); err != nil {
		return err
	}
	runtimeDir := chooseRuntimeDir(cfg.Tokens, log)
	defer removeRuntimeDir(runtimeDir, log)
	service, err := newService(cfg, log, begun, runtimeDir, files, stderr)
	if err != nil {
		return err
	}
	go reportFormerLogin(ctx, cfg.Tokens, log)
	go proctree.KeepTrimmed(ctx)
	if attended && cfg.TextLog(attended) {
		service.page = cfg.Base(listeners[0].Addr())
	}
	return service.run(signals, listeners, manager)
}

// reportFormerLogin logs what venom-bot left in the tokens folder, until ctx ends.
func reportFormerLogin(ctx context.Context, tokens string, log *slog.Logger) {
	found, _ := wait.For(ctx, func() ([]string, error) { return profile.OfVenom(tokens) })
	for _, path := range found {
		log.Warn(logid.FormerLoginIgnored, logging.KeyPath, path, logging.KeyDetail,
			"it is venom-bot's and not used; link the phone again, and see docs/venom.md")
	}
}
