package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"syscall"
	"time"

	"session-manager/shared/logging"
	"session-manager/shared/reason"
	"session-manager/shared/rpc"
	"session-manager/worker/internal/backupcheck"
	"session-manager/worker/internal/browser"
	"session-manager/worker/internal/logid"
	"session-manager/worker/internal/page"
)

// session is one Chrome from its start to its end.
type session struct {
	worker  *Worker
	req     rpc.RunRequest
	events  *queue
	log     *slog.Logger
	timings Timings

	scripts  page.Scripts     // nil until Chrome is started
	browser  *browser.Browser // nil until Chrome has started
	closed   error            // the result of closing it
	reported bool
	login    *loginWatch
	parts    parts
}

func newSession(w *Worker, req rpc.RunRequest, events *queue, log *slog.Logger) *session {
	w.selectors.CompareAndSwap(nil, &req.Selectors) // a later file may have come already
	s := &session{worker: w, req: req, events: events, log: log, timings: w.timings}
	s.login = newLoginWatch(req, events, log, func() []byte { return *w.selectors.Load() }, s.timings.Unreadable)
	req.DeadlineFactor.Stretch(&s.timings.ProbeDeadline, &s.timings.PartDeadline)
	return s
}

// run starts Chrome, runs the page and the probes, and returns when the first of them
// ends or ctx does, after Chrome has exited. Heartbeats are sent all the time.
func (s *session) run(ctx context.Context) error {
	defer s.parts.replace(nil)
	beating, stopBeating := context.WithCancel(context.WithoutCancel(ctx))
	var beats sync.WaitGroup
	defer beats.Wait()
	defer stopBeating()
	s.events.put(rpc.PhaseChanged{Phase: rpc.PhaseBrowserStart})
	beats.Go(func() { _ = guard(s.log, func() error { return s.beat(beating) }) })
	if s.req.Mode == rpc.ModeVerify {
		return s.verify(ctx)
	}
	s.scripts = page.Compile(s.req.Selectors, s.log) // while Chrome starts
	defer func() { _, _ = s.scripts() }()
	if err := s.startBrowser(ctx); err != nil {
		s.report(ctx, err)
		return err
	}
	return s.attend(ctx)
}

// verify checks the backup, reports the outcome, and waits for Stop.
func (s *session) verify(ctx context.Context) error {
	s.events.put(backupcheck.Check(ctx, s.req, s.log))
	<-ctx.Done()
	return ctx.Err()
}

func (s *session) startBrowser(ctx context.Context) error {
	b, err := browser.Start(ctx, browser.Options{
		Path: s.req.ChromePath, Version: s.req.ChromeVersion, Args: s.req.ChromeArgs,
		ProfileDir: s.req.ProfileDir, LeaseFile: s.req.LeaseFile, ScratchDir: s.req.ScratchDir, Logger: s.log,
		StartTimeout: s.req.DeadlineFactor.Of(browser.StartTimeout),
	})
	if err != nil {
		return err
	}
	s.browser = b
	info := b.Info()
	s.parts.chrome.Store(int64(info.PID))
	s.log.Info(logid.ChromeStarted, slog.Int(logging.KeyPID, info.PID), slog.String("product", info.Product),
		slog.Bool("sandbox", info.Sandbox))
	s.events.put(rpc.BrowserStarted(info))
	return nil
}

// attend runs the loops that look after Chrome until the first one returns, and closes
// Chrome.
func (s *session) attend(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	loops := []func(context.Context) error{s.keepPage, s.awaitExit, s.watchParts, s.login.run}
	for _, p := range []probe{s.browserProbe(), s.paintProbe(), s.networkProbe()} {
		loops = append(loops, func(ctx context.Context) error { return s.watch(ctx, p) })
	}
	ended := make(chan error, len(loops))
	var running sync.WaitGroup
	defer running.Wait()
	for _, loop := range loops {
		running.Go(func() { ended <- guard(s.log, func() error { return loop(ctx) }) })
	}
	err := s.explain(ctx, <-ended)
	// The supervisor should know before Chrome has closed, which takes a while.
	s.report(ctx, err)
	cancel()
	// Closing frees the parts whose calls hang.
	s.closed = s.closeBrowser(ctx, err)
	return err
}

// report reports a failure to the supervisor, unless ctx has ended. Only the first
// report counts.
func (s *session) report(ctx context.Context, err error) {
	if err == nil || ctx.Err() != nil || s.reported {
		return
	}
	s.reported = true
	f := failureOf(err, s.browser)
	s.log.Warn(logid.SessionFailed, slog.String(logging.KeyReason, string(f.Reason)), slog.Any(logging.KeyError, err))
	s.events.put(f)
}

// keepPage opens the page and observes it.
func (s *session) keepPage(ctx context.Context) error {
	p, err := s.worker.openPage(ctx, page.Options{
		Browser: s.browser.Rod(), URL: s.req.URL, Disguise: s.browser.Disguise,
		Scripts: s.scripts, Receive: s.req.Receive, DeadlineFactor: s.req.DeadlineFactor, Stopped: s.parts.anyStopped, Emit: s.login.put, Logger: s.log,
	})
	if err != nil {
		return reason.Wrap(reason.Of(err, reason.PageLoadFailed), fmt.Errorf("cannot open the page: %w", err))
	}
	s.parts.find() // those that the page needs run by now
	if file := s.worker.setPage(p); file != nil {
		if err := p.SetSelectors(ctx, *file); err != nil {
			s.log.Warn(logid.SelectorsApplyFailed, slog.Any(logging.KeyError, err))
		}
	}
	err = p.Run(ctx)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err == nil {
		err = errors.New("internal error: the page ended without a cause")
	}
	return reason.Wrap(reason.Of(err, reason.PageCrashed), err)
}

// awaitExit turns Chrome's exit into a failure.
func (s *session) awaitExit(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-s.browser.Done():
		return reason.Wrap(reason.BrowserCrashed, unexpected(s.browser.Exit()))
	}
}

// unexpected is the error that Chrome has exited although nobody here has ended it.
func unexpected(exit browser.Exit) error {
	if exit.Signal == syscall.SIGKILL.String() {
		return errors.New(reason.Killed("Chrome"))
	}
	return fmt.Errorf("Chrome exited unexpectedly: %v", exit)
}

// explain finds the cause of what a loop returned: when Chrome dies, the page's and
// the probes' calls fail before the exit is known.
func (s *session) explain(ctx context.Context, err error) error {
	if code := reason.Of(err, ""); ctx.Err() != nil || code == reason.BrowserCrashed || code == reason.BrowserHung {
		return err
	}
	if errors.Is(err, browser.ErrUnsupported) {
		return reason.Wrap(reason.BrowserUnsupported, err)
	}
	answers := false
	if !errors.Is(err, browser.ErrGone) {
		missed, fatal := s.browserProbe().once(ctx)
		answers = !missed && fatal == nil
	}
	limit := exitAfterGone
	switch {
	case answers && reason.Of(err, "") == reason.PageCrashed:
		limit = exitAfterPage
	case answers:
		return err
	}
	exit, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if crashed := s.awaitExit(exit); reason.Of(crashed, "") == reason.BrowserCrashed {
		return crashed
	}
	if answers {
		return err
	}
	return reason.Wrap(reason.BrowserHung, fmt.Errorf("Chrome no longer answers, but has not exited: %w", err))
}

// closeBrowser closes Chrome even if ctx has ended; cause is why.
func (s *session) closeBrowser(ctx context.Context, cause error) error {
	limit := s.timings.Close
	switch reason.Of(cause, "") {
	case reason.BrowserHung, reason.NetworkHung:
		limit = 0 // it would not read the request, or read it and stay
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	defer cancel()
	begun := time.Now()
	err := s.browser.Close(ctx)
	if err != nil {
		s.log.Warn(logid.ChromeCloseFailed, slog.Any(logging.KeyError, err))
	}
	if err != nil && !errors.Is(err, browser.ErrKilled) {
		return err // it has not exited
	}
	exit := s.browser.Exit().String()
	if err != nil {
		exit += ", by the worker"
	}
	s.events.put(rpc.BrowserExited{Exit: exit})
	if err == nil {
		s.log.Info(logid.ChromeExited, slog.String("exit", exit), logging.Millis("close_ms", time.Since(begun)))
	}
	return err
}
