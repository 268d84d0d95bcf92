package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"runtime"
	"sync"
	"syscall"
	"time"

	"session-manager/shared/logging"
	"session-manager/shared/proctree"
	"session-manager/shared/rpc"
	"session-manager/supervisor/internal/api"
	"session-manager/supervisor/internal/config"
	"session-manager/supervisor/internal/crash"
	"session-manager/supervisor/internal/events"
	"session-manager/supervisor/internal/logid"
	"session-manager/supervisor/internal/metrics"
	"session-manager/supervisor/internal/override"
	"session-manager/supervisor/internal/session"
	"session-manager/supervisor/internal/systemd"
	"session-manager/supervisor/internal/trace"
	"session-manager/supervisor/internal/webhook"
	"session-manager/supervisor/internal/worker"
)

// Times of the service as a whole.
const (
	// A stop that hangs must not take systemd's TimeoutStopSec.
	stopTimeout = 20 * time.Second
	// What is left for requests under way once everything below has ended.
	drainTimeout = 3 * time.Second

	readHeaderTimeout = 5 * time.Second
	readTimeout       = 10 * time.Second
	// Longer than the longest ?wait=.
	writeTimeout = 75 * time.Second
	idleTimeout  = 2 * time.Minute

	maxHeaderBytes = 16 << 10
)

// run is the composition root. Errors that end the start are one line on
// stderr; from then on everything is a log line in JSON.
func run(args, environ []string, stdout, stderr io.Writer) int {
	err := start(args, environ, stdout, stderr)
	if err != nil && !errors.Is(err, config.ErrDone) {
		_, _ = fmt.Fprintf(stderr, "supervisor: %v\n", err)
	}
	return exitCode(err)
}

func start(args, environ []string, stdout, stderr io.Writer) error {
	begun := time.Now()
	cfg, _, err := config.Load(args, environ, stdout, version)
	if err != nil {
		return err
	}
	switch cfg.Command {
	case config.CommandDoctor:
		return checkUp(cfg, stdout)
	case config.CommandCompletion:
		return config.WriteCompletion(stdout, cfg.Shell)
	case config.CommandExport, config.CommandImport:
		return transfer(cfg, stdout)
	}
	if os.Getenv("GOMAXPROCS") == "" {
		// What wakes the process is many small things, and with one thread for Go
		// they cost half as much: measured at rest 0.3 % of a core instead of 0.6 %.
		// It answers 20,000 requests a second all the same.
		runtime.GOMAXPROCS(1)
	}
	var level slog.LevelVar
	level.Set(cfg.Level())
	log := logging.New(stderr, "supervisor", &level)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	manager, err := systemd.Find(log)
	if err != nil {
		return err
	}
	serving, err := openServing(ctx, cfg, manager, log)
	if err != nil {
		return err
	}
	defer func() { _ = serving.listener.Close() }()
	override := override.New(cfg.Selectors)
	if cfg.File != "" {
		serving.reloads = append(serving.reloads, settingsReload(cfg, args, environ, &level, log))
	}
	if err := proctree.BecomeSubreaper(); err != nil {
		return err
	}
	runtimeDir, err := openRuntimeDir(cfg.Tokens)
	if err != nil {
		return err
	}
	defer runtimeDir.remove(log)

	// A second signal ends the process at once; the kernel and the pipe to
	// Chrome then end the rest.
	context.AfterFunc(ctx, stop)
	service, err := newService(cfg, log, begun, runtimeDir.path, serving, override)
	if err != nil {
		return err
	}
	return service.run(ctx)
}

// service is the set of loops that make up the process.
type service struct {
	log     *slog.Logger
	session *session.Session
	events  *events.Log
	// webhook is nil when none is set.
	webhook   *webhook.Sender
	workers   *worker.Manager
	hooks     worker.Hooks
	crashes   *crash.Recorder
	trace     *trace.Recorder
	http      *http.Server
	serving   *serving
	draining  chan struct{}
	startedAt time.Time
}

func newService(cfg *config.Config, log *slog.Logger, begun time.Time, runtimeDir string, serving *serving, override *override.File) (*service, error) {
	s := &service{log: log, serving: serving, draining: make(chan struct{}), startedAt: begun}
	limits := session.DefaultLimits()
	limits.FirstQR = cfg.QRTimeout
	rpc.DeadlineFactor(cfg.DeadlineFactor).Stretch(&limits.Evidence, &limits.PageLoading)
	s.session = session.New(limits, log)
	meter, err := metrics.New(version, s.session.Snapshot())
	if err != nil {
		return nil, err
	}
	s.events = events.NewLog(rand.Text(), s.session.Snapshot())
	if s.webhook, err = newWebhook(cfg, s.events, meter, log); err != nil {
		return nil, err
	}
	crashes := crash.NewStore(cfg.Crashes)
	s.crashes = crash.NewRecorder(crash.Options{
		Store: crashes, Version: version, Logger: log,
		Screenshot: func(ctx context.Context) ([]byte, error) { return s.workers.Screenshot(ctx) },
		Diagnose:   func(ctx context.Context) (rpc.Diagnosis, error) { return s.workers.Diagnose(ctx) },
	})
	s.trace = trace.New(cfg.Trace, begun, time.Now, log)
	keeper := s.newWorkers(cfg, runtimeDir, override)
	s.session.Subscribe(s.crashes.Observe, s.events.Observe, meter.Observe)
	s.session.OnHealth(s.workers.Report)
	handler, err := api.New(api.Options{
		Session: s.session, Commands: commands{s.workers, keeper, s.session}, Crashes: crashes, Events: s.events, Metrics: meter,
		AllowedHosts: cfg.AllowHosts, Keys: serving.keys.Keys, ReadNeedsKey: cfg.Exposed(),
		Selectors: override,
		Version:   version, Logger: log, Draining: s.draining,
	})
	if err != nil {
		return nil, err
	}
	if override.Path() != "" {
		serving.reloads = append(serving.reloads, s.selectorsReload(override))
	}
	s.http = &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: readHeaderTimeout, ReadTimeout: readTimeout,
		WriteTimeout: writeTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaderBytes,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	return s, nil
}

// run serves until ctx ends or a loop fails. It stops in reverse: the worker
// first, while the API still answers, and the API last.
func (s *service) run(ctx context.Context) error {
	s.log.Info(logid.ServiceStarted, "address", s.serving.listener.Addr().String(), "version", version, logging.KeyPID, os.Getpid())
	workersCtx, stopWorkers := context.WithCancel(ctx)
	defer stopWorkers()
	sessionCtx, stopSession := context.WithCancel(context.Background())
	defer stopSession()

	failed := make(chan error, 2)
	workersDone := make(chan struct{})
	var loops sync.WaitGroup
	loops.Go(func() {
		if err := s.http.Serve(s.serving.listener); !errors.Is(err, http.ErrServerClosed) {
			failed <- fmt.Errorf("cannot serve HTTP: %w", err)
		}
	})
	s.watchSession(sessionCtx, &loops)
	loops.Go(func() { s.restartOnHangup(workersCtx) })
	go func() {
		defer close(workersDone)
		if err := s.workers.Run(workersCtx, s.hooks); err != nil {
			failed <- err
		}
	}()

	s.trace.Listening()
	s.serving.manager.Ready()
	var err error
	select {
	case <-ctx.Done():
		s.log.Info(logid.StopRequested, "cause", context.Cause(ctx).Error())
	case err = <-failed:
	}
	watchdog := time.AfterFunc(stopTimeout, func() {
		s.log.Error(logid.ServiceStopFailed, logging.Millis("after_ms", stopTimeout))
		os.Exit(exitInternal)
	})
	defer watchdog.Stop()
	s.serving.manager.Stopping()
	s.session.Stopping()
	close(s.draining)
	stopWorkers()
	<-workersDone
	s.drain()
	stopSession()
	loops.Wait()
	s.log.Info(logid.ServiceStopped, logging.Millis("uptime_ms", time.Since(s.startedAt)))
	return err
}

// watchSession starts the session's loop, and those that tell of it or feed it.
func (s *service) watchSession(ctx context.Context, loops *sync.WaitGroup) {
	loops.Go(func() { s.session.Run(ctx) })
	loops.Go(func() { s.serving.manager.Run(ctx, toldToSystemd(s.session)) })
	loops.Go(func() { s.crashes.Run(ctx) })
	if s.webhook != nil {
		loops.Go(func() { s.webhook.Run(ctx) })
	}
	for _, r := range s.serving.reloads {
		loops.Go(func() { r.watch(ctx, s.log) })
	}
}

func (s *service) drain() {
	ctx, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	if err := s.http.Shutdown(ctx); err != nil {
		_ = s.http.Close()
	}
}

// restartOnHangup restarts the worker cleanly for each SIGHUP.
func (s *service) restartOnHangup(ctx context.Context) {
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangups:
			if _, err := s.workers.Restart(ctx, worker.WhenIdle); err != nil {
				s.log.Warn(logid.WorkerRestartFailed, logging.KeyError, err)
			}
		}
	}
}
