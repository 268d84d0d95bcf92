package main

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"session-manager/shared/logging"
	"session-manager/shared/proctree"
	"session-manager/shared/rpc"
	"session-manager/supervisor/internal/api"
	"session-manager/supervisor/internal/config"
	"session-manager/supervisor/internal/crash"
	"session-manager/supervisor/internal/events"
	"session-manager/supervisor/internal/listen"
	"session-manager/supervisor/internal/logid"
	"session-manager/supervisor/internal/login"
	"session-manager/supervisor/internal/media"
	"session-manager/supervisor/internal/metrics"
	"session-manager/supervisor/internal/outbox"
	"session-manager/supervisor/internal/profile"
	"session-manager/supervisor/internal/proxy"
	"session-manager/supervisor/internal/restart"
	"session-manager/supervisor/internal/session"
	"session-manager/supervisor/internal/systemd"
	"session-manager/supervisor/internal/trace"
	"session-manager/supervisor/internal/wait"
	"session-manager/supervisor/internal/webhook"
	"session-manager/supervisor/internal/worker"
	"session-manager/supervisor/internal/worker/process"
)

// Time limits of the service as a whole.
const (
	// A stop that hangs must not take systemd's TimeoutStopSec.
	stopTimeout = 20 * time.Second
	// What messages that are being sent may take before Chrome is closed.
	sendTimeout = 2 * time.Second
	// What is left for requests under way once everything below has ended.
	drainTimeout = 3 * time.Second
	// What a client that has just connected may take to send its request meanwhile.
	requestGrace = 500 * time.Millisecond
	// For reading what is known of the login.
	recordTimeout = 2 * time.Second
	// The least time between two restarts by SIGHUP; a start takes a few seconds.
	hangupPause = 10 * time.Second
	// For handing changed selectors to the worker.
	selectorsTimeout = 10 * time.Second

	readHeaderTimeout = 5 * time.Second
	readTimeout       = 10 * time.Second
	// Longer than the longest ?wait=.
	writeTimeout = 75 * time.Second
	idleTimeout  = 2 * time.Minute

	maxHeaderBytes = 16 << 10
)

// service is the set of loops that make up the process.
type service struct {
	log     *slog.Logger
	files   *files
	workers *worker.Manager
	session *session.Session
	login   *login.Manager
	boxes   *mailboxes
	crashes *crash.Recorder
	trace   *trace.Recorder
	// webhook is nil when none is set.
	webhook *webhook.Sender
	// forwarder is nil when Chrome needs none.
	forwarder *proxy.Forwarder
	handler   http.Handler
	draining  chan struct{}
	startedAt time.Time
	stderr    *logging.Writer
	// page is the address that a terminal shows, empty without one.
	page string
}

// newService is the composition root: leaves first, then what observes them.
func newService(cfg *config.Config, log *slog.Logger, begun time.Time, runtimeDir process.RuntimeDir, files *files, stderr *logging.Writer) (*service, error) {
	s := &service{log: log, files: files, draining: make(chan struct{}), startedAt: begun, stderr: stderr}
	group, contained := proctree.Delegated()
	log.Info(logid.ContainmentSelected, "control_group", contained, logging.KeyPath, group)
	chromeArgs, forwarder, err := openProxy(cfg, files.route, log)
	if err != nil {
		return nil, err
	}
	s.forwarder = forwarder
	workers := workerOptions(cfg, cfg.Tokens, runtimeDir, files, log)
	workers.ChromeArgs = chromeArgs
	workers.ControlGroup = group
	s.workers = worker.New(workers)
	crashes := crash.NewStore(cfg.Crashes)
	s.crashes = crash.NewRecorder(crash.Options{
		Store: crashes, Version: version, Logger: log,
		Screenshot: s.workers.Screenshot, Diagnose: s.workers.Diagnose,
	})
	s.trace = trace.New(cfg.Trace, begun, time.Now, log)

	s.session = session.New(sessionLimits(cfg), log)
	s.session.Begin(login.Status{Record: knownLogin(cfg.Tokens)})
	meter := metrics.New(version, s.session.Snapshot(), stderr.Dropped)
	changes := events.NewLog(rand.Text(), s.session.Snapshot())
	s.session.Subscribe(s.crashes.Observe, changes.Observe, meter.Observe, func(snapshot *session.Snapshot) {
		s.workers.Report(snapshot.Healthy)
	})
	folder, err := profile.View(cfg.Tokens)
	if err != nil {
		return nil, err
	}
	if s.webhook, err = newWebhook(cfg, files, profile.WebhookQueue(folder), changes, meter, log); err != nil {
		log.Warn(logid.WebhookWriteFailed, logging.KeyError, err)
	}
	box := outboxOptions(cfg, s.workers, s.session.Snapshot, changes, meter, log)
	box.Path, box.Media = folder.Outbox(), messageFiles(cfg, folder)
	if s.webhook != nil {
		box.Report = s.reportMessages
	}
	s.boxes = newMailboxes(cfg, outbox.New(box), folder, s.workers, s.webhook, changes, meter, log)
	meter.Outbox(s.boxes.Stats)
	s.login = login.New(s.workers, login.Options{
		Limits: login.Limits{SettleTime: cfg.SettleTime, BackupHour: cfg.HourOfBackup()}, Logger: log,
		Publish: s.session.SetLogin, Now: time.Now, EraseMessages: s.eraseMessages,
	})
	for _, observe := range []func(worker.Notice){s.crashes.Notice, s.trace.Notice, s.login.Notice, s.boxes.Notice, s.session.Notify} {
		s.workers.Subscribe(observe)
	}
	options := api.Options{
		Session: s.session, Workers: s.workers, Login: s.login, Outbox: s.boxes.Outbox, Mail: api.Mail{Files: box.Media, SendingOff: !s.boxes.sends},
		Crashes: crashes, Events: changes, Metrics: meter,
		AllowedHosts: cfg.AllowHosts, Keys: files.keys.InForce, ReadNeedsKey: cfg.Exposed(), Selectors: files.selectors,
		About: about(cfg), Logger: log, Draining: s.draining,
	}
	if s.boxes.receives {
		options.Inbox = s.boxes.inbox
	}
	s.handler, err = api.New(options)
	return s, err
}

// about returns what distinguishes this service from others.
func about(cfg *config.Config) api.About {
	host, _ := os.Hostname() // it is for people
	return api.About{Version: version, Instance: cfg.Listen, Host: host, KeyFile: cfg.APIKeyFile, URL: cfg.URL}
}

// workerOptions is how workers are run on a tokens folder, but for the way to the network.
func workerOptions(cfg *config.Config, tokens string, runtimeDir process.RuntimeDir, files *files, log *slog.Logger) worker.Options {
	return worker.Options{
		Tokens: tokens, Worker: cfg.Worker, Chrome: cfg.Chrome, Versions: &files.versions, ChromeArgs: cfg.ChromeArgs, URL: cfg.URL,
		Receive: cfg.Messages == "both", Selectors: files.selectors.Value, RuntimeDir: runtimeDir, MemoryLimit: cfg.MemoryBytes(), Logger: log,
		DeadlineFactor: rpc.DeadlineFactor(cfg.DeadlineFactor), Timings: worker.DefaultTimings(), Limits: restart.DefaultLimits(),
	}
}

func sessionLimits(cfg *config.Config) session.Limits {
	limits := session.DefaultLimits(cfg.QRTimeout)
	rpc.DeadlineFactor(cfg.DeadlineFactor).Stretch(&limits.Evidence, &limits.PageLoading, &limits.Unreachable, &limits.QRLate, &limits.Saving)
	return limits
}

// knownLogin returns what an earlier run knew of the login, so that messages are accepted at
// once. It is read again with the profile, so an error is reported then.
func knownLogin(tokens string) login.Record {
	ctx, cancel := context.WithTimeout(context.Background(), recordTimeout)
	defer cancel()
	record, err := wait.For(ctx, func() (login.Record, error) { return login.LoadRecord(tokens) })
	if err != nil {
		return login.Record{}
	}
	return record
}

// openProxy returns Chrome's flags, with those for its way to the network, and the
// forwarder that must run for them; nil where Chrome reaches its proxy without.
func openProxy(cfg *config.Config, route proxy.Route, log *slog.Logger) ([]string, *proxy.Forwarder, error) {
	upstream, bypass := route.ForChrome(cfg.URL)
	if upstream == nil || cfg.ChoosesProxy() {
		return cfg.ChromeArgs, nil, nil
	}
	server := proxy.Server(upstream)
	log.Info(logid.ProxySelected, "proxy", server, "user", upstream.User != nil)
	var forwarder *proxy.Forwarder
	if upstream.User != nil {
		var err error
		if forwarder, err = proxy.Listen(upstream, log); err != nil {
			return nil, nil, &config.Problem{Name: "--proxy", Allowed: err.Error() + "; a systemd unit with SocketBindDeny= must have SocketBindAllow=ipv4:tcp:32768-60999"}
		}
		server = forwarder.Server()
	}
	// Chrome uses the last of two flags, so the operator's come last.
	return append(proxy.Flags(server, bypass), cfg.ChromeArgs...), forwarder, nil
}

// chatPauses is how many times the pause between two messages that within one chat is, and
// newAccount what a new one may write of what it may write later.
const (
	chatPauses = 3
	newAccount = 5
)

// pacing returns how fast messages are sent.
func pacing(cfg *config.Config) outbox.Pacing {
	p := outbox.DefaultPacing()
	p.Any, p.Chat, p.FirstContact = cfg.MessagePause, chatPauses*cfg.MessagePause, cfg.NewChatPause
	p.PerDay, p.NewPerDay = cfg.NewChatsPerDay, cfg.NewChatsPerDay/newAccount+min(cfg.NewChatsPerDay%newAccount, 1)
	return p
}

// messageFiles returns the folder with the files of messages.
func messageFiles(cfg *config.Config, folder *profile.Profile) *media.Store {
	return media.New(profile.Media(folder), fileLimits(cfg))
}

func fileLimits(cfg *config.Config) media.Limits {
	sizes := media.DefaultLimits()
	sizes.File, sizes.Bytes = cfg.MediaBytes()
	return sizes
}

// outboxOptions is how messages are kept and sent.
func outboxOptions(cfg *config.Config, workers *worker.Manager, now func() *session.Snapshot, changes *events.Log, meter *metrics.Metrics, log *slog.Logger) outbox.Options {
	limits := outbox.DefaultLimits()
	limits.Waiting, limits.KeepText = cfg.OutboxLimit, cfg.MessageTextRetention
	limits.Messages, limits.Keep = max(limits.Messages, 2*limits.Waiting), max(limits.Keep, limits.KeepText)
	return outbox.Options{
		Sender: workers, Logger: log, Limits: limits, Pacing: pacing(cfg),
		LinkedAt: func() time.Time { return now().Login.LinkedAt.Time }, Changed: changes.Message, Typing: cfg.SendByTyping == "on", Count: meter.Attempt,
	}
}

// reportMessages has the webhook keep what became of messages.
func (s *service) reportMessages(ctx context.Context, account rpc.Account, all []outbox.Message) error {
	var reports []events.Report
	for _, m := range all {
		if r, ok := events.ReportOf(m); ok {
			reports = append(reports, r)
		}
	}
	return s.webhook.Keep(ctx, account, reports)
}

// eraseMessages erases every message, and what the webhook is still to report about any.
func (s *service) eraseMessages(ctx context.Context) error {
	err := s.boxes.Purge(ctx)
	if s.webhook != nil {
		err = errors.Join(err, s.webhook.Forget(ctx))
	}
	return err
}

// hooks are the login's, and have planned restarts wait for messages that are being sent, too.
type hooks struct {
	*login.Manager
	// sent returns the end of the time for which messages keep a restart waiting.
	sent func() time.Time
}

// Hold implements worker.Hooks.
func (h hooks) Hold(u worker.Urgency) time.Time {
	until, sent := h.Manager.Hold(u), h.sent()
	if sent.After(until) {
		return sent
	}
	return until
}

// newWebhook returns the sender of --webhook, or nil when none is set; then what waits for an
// earlier one is erased.
func newWebhook(cfg *config.Config, files *files, path string, log *events.Log, meter *metrics.Metrics, logger *slog.Logger) (*webhook.Sender, error) {
	if cfg.Webhook == "" {
		ctx, cancel := context.WithTimeout(context.Background(), recordTimeout)
		defer cancel()
		_, err := wait.For(ctx, func() (struct{}, error) { return struct{}{}, webhook.Discard(path) })
		return nil, err
	}
	own := about(cfg)
	return webhook.New(webhook.Options{
		Path: path, URL: cfg.Webhook, Proxy: files.route.Proxy, Key: files.webhookKey, Events: log,
		Timings: webhook.DefaultTimings(), Limits: webhook.DefaultLimits(), Count: meter.Delivery, Logger: logger,
		Version: own.Version, Host: own.Host, Instance: own.Instance,
	}), nil
}

// run serves until a signal asks it to stop or a loop fails. It stops in reverse: the
// worker first, while the API still answers, and the API last.
func (s *service) run(signals *signals, listeners []net.Listener, manager *systemd.Manager) error {
	ctx := signals.ctx
	signals.serving.Store(true)
	started := []any{"address", listeners[0].Addr().String(), "version", version, logging.KeyPID, os.Getpid()}
	for _, l := range listeners[1:] {
		started = append(started, "also_at", l.Addr().String())
	}
	s.log.Info(logid.ServiceStarted, started...)
	workersCtx, stopWorkers := context.WithCancel(ctx)
	defer stopWorkers()
	outboxCtx, stopOutbox := context.WithCancel(context.Background())
	defer stopOutbox()
	sessionCtx, stopSession := context.WithCancel(context.Background())
	defer stopSession()

	server := listen.NewServer(&http.Server{
		Handler:           s.handler,
		ReadHeaderTimeout: readHeaderTimeout, ReadTimeout: readTimeout,
		WriteTimeout: writeTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaderBytes,
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}, listeners...)
	failed := make(chan error, 2)
	outboxDone, workersDone := make(chan struct{}), make(chan struct{})
	var loops sync.WaitGroup
	loops.Go(func() {
		if err := server.Serve(); err != nil {
			failed <- err
		}
	})
	loops.Go(func() { s.session.Run(sessionCtx) })
	loops.Go(func() { manager.Run(sessionCtx, s.status, s.session.Alive) })
	loops.Go(func() { s.crashes.Run(sessionCtx) })
	if s.page != "" {
		loops.Go(func() { showOnTerminal(sessionCtx, s.stderr, s.page, s.session.Changed) })
	}
	if s.webhook != nil {
		loops.Go(func() { s.webhook.Run(sessionCtx) })
	}
	if s.forwarder != nil {
		loops.Go(func() { s.forwarder.Run(sessionCtx) })
	}
	loops.Go(func() { s.files.watch(sessionCtx, s.workers, s.session.Warn) })
	loops.Go(func() { s.restartOnHangup(workersCtx, signals.hangups) })
	go func() {
		defer close(outboxDone)
		s.boxes.Run(outboxCtx)
	}()
	go func() { // the last to start runs first: Chrome needs longer than all others
		defer close(workersDone)
		if err := s.workers.Run(workersCtx, hooks{s.login, s.boxes.Hold}); err != nil {
			failed <- err
		}
	}()

	s.trace.Listening()
	manager.Ready()
	var err error
	select {
	case <-ctx.Done():
		s.log.Info(logid.StopRequested, "cause", context.Cause(ctx).Error())
	case err = <-failed:
	}
	watchdog := time.AfterFunc(stopTimeout, s.abandon)
	defer watchdog.Stop()
	manager.Stopping()
	s.session.Stopping()
	close(s.draining)
	stopOutbox()
	select {
	case <-outboxDone:
	case <-time.After(sendTimeout):
	}
	stopWorkers()
	<-workersDone
	<-outboxDone
	drainCtx, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	server.Drain(drainCtx, requestGrace)
	stopSession()
	loops.Wait()
	s.log.Info(logid.ServiceStopped, logging.Millis("uptime_ms", time.Since(s.startedAt)))
	return err
}

// abandon ends the process without cleaning up. Nothing that it calls can keep it from
// that.
func (s *service) abandon() {
	time.AfterFunc(flushTimeout, func() { os.Exit(exitInternal) })
	s.log.Error(logid.ServiceStopFailed, logging.Millis("after_ms", stopTimeout))
	s.stderr.Flush(flushTimeout)
	os.Exit(exitInternal)
}

// status returns what systemctl status shows, and a channel that is closed when that
// may have changed.
func (s *service) status() (string, <-chan struct{}) {
	snapshot, changed := s.session.Changed()
	return inWords(snapshot), changed
}

// restartOnHangup restarts the worker cleanly after SIGHUP. Those that come within
// hangupPause of the last one that counted are one, after the pause.
func (s *service) restartOnHangup(ctx context.Context, hangups <-chan os.Signal) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangups:
			if _, err := s.workers.Restart(ctx, worker.WhenIdle); err != nil {
				s.log.Warn(logid.WorkerRestartFailed, logging.KeyError, err)
			}
			select {
			case <-ctx.Done():
			case <-time.After(hangupPause):
			}
		}
	}
}
