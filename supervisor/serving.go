package main

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"session-manager/shared/chrome"
	"session-manager/shared/logging"
	"session-manager/shared/reason"
	"session-manager/shared/selectors"
	"session-manager/supervisor/internal/apikey"
	"session-manager/supervisor/internal/config"
	"session-manager/supervisor/internal/listen"
	"session-manager/supervisor/internal/logid"
	"session-manager/supervisor/internal/proxy"
	"session-manager/supervisor/internal/smallfile"
	"session-manager/supervisor/internal/systemd"
	"session-manager/supervisor/internal/watch"
	"session-manager/supervisor/internal/webhook"
	"session-manager/supervisor/internal/worker"
)

// files are those that settings name. Those that are watched may change while the
// service runs. Files that are not set are never loaded.
type files struct {
	log         *slog.Logger
	keys        *apikey.File
	certificate *watch.File[*tls.Certificate]
	selectors   *watch.File[[]byte]
	webhookKey  []byte
	// versions are the browser's.
	versions chrome.Versions
	// route is the way to the network.
	route proxy.Route
	// secret are those that are for the service's user alone.
	secret []string

	mu sync.Mutex
	// warnings are what is wrong with them. Guarded by mu.
	warnings [slots]reason.Warning
}

// What may be wrong with the files, each at its place in files.warnings.
const (
	keysSlot = iota
	certificateSlot
	selectorsSlot
	secretsSlot
	slots
)

// startTimeout bounds the reading of all files at the start: systemd waits 30 s for it.
const startTimeout = 20 * time.Second

// newFiles returns the files that settings name, none of which has been read.
func newFiles(cfg *config.Config, log *slog.Logger) *files {
	return &files{
		log: log, keys: apikey.Open(cfg.APIKeyFile), certificate: listen.Certificate(cfg.TLSCert, cfg.TLSKey),
		selectors: watch.New(func(contents [][]byte) ([]byte, error) {
			if contents[0] == nil {
				return nil, nil
			}
			_, err := selectors.Parse(contents[0])
			return contents[0], err
		}, cfg.Selectors).Optional(),
		secret: cfg.SecretFiles(),
	}
}

// open reads the files that are set, until ctx ends. Without its keys, its
// certificate and its webhook the service must not run; without its selectors it uses the
// built-in ones.
func (f *files) open(ctx context.Context, cfg *config.Config) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startTimeout, smallfile.ErrSlow)
	defer cancel()
	if cfg.APIKeyFile != "" {
		if err := f.keys.Load(ctx); err != nil {
			return cfg.FileProblem("--api-key-file", err)
		}
	}
	if cfg.TLSCert != "" {
		if err := f.certificate.Load(ctx); err != nil {
			return cfg.FileProblem("--tls-cert and --tls-key", err)
		}
	} else if cfg.Exposed() {
		f.log.Warn(logid.KeysExposed, logging.KeyDetail, "other machines reach the API without TLS; set --tls-cert, or use a reverse proxy")
	}
	if cfg.Selectors != "" {
		if err := f.selectors.Load(ctx); err != nil {
			f.log.Warn(logid.SelectorsRejected, logging.KeyError, err)
			f.warnings[selectorsSlot] = unusable(reason.SelectorsUnusable, err)
		} else if f.selectors.Value() != nil {
			f.log.Info(logid.SelectorsLoaded, logging.KeyPath, cfg.Selectors)
		}
	}
	var err error
	if f.route, err = cfg.ReadProxy(ctx); err != nil {
		return err
	}
	return f.readWebhook(ctx, cfg)
}

// readWebhook reads the webhook's URL and key.
func (f *files) readWebhook(ctx context.Context, cfg *config.Config) error {
	if err := cfg.ReadWebhook(ctx); err != nil {
		return err
	}
	if cfg.WebhookKeyFile == "" {
		return nil
	}
	content, err := smallfile.ReadSetting(ctx, cfg.WebhookKeyFile)
	if err == nil {
		f.webhookKey, err = webhook.ParseKey(content)
	}
	if err != nil {
		return cfg.FileProblem("--webhook-key-file", err)
	}
	return nil
}

// watch reads changed files again until ctx ends, hands new selectors to the worker, and
// calls warn with what a person should fix.
func (f *files) watch(ctx context.Context, workers *worker.Manager, warn func(...reason.Warning)) {
	report := func(what string, err error, slot int, warning reason.Warning) {
		if err != nil {
			f.log.Warn(logid.FileReloadFailed, "what", what, logging.KeyError, err)
		} else {
			f.log.Info(logid.FileReloaded, "what", what)
		}
		f.warn(warn, slot, warning)
	}
	f.warn(warn, selectorsSlot, f.warnings[selectorsSlot]) // since the start
	var loops sync.WaitGroup
	loops.Go(func() {
		f.keys.Watch(ctx, func(s watch.State[*apikey.Keys]) { report("api_keys", s.Err, keysSlot, unusableKeys(s)) })
	})
	loops.Go(func() {
		f.certificate.Watch(ctx, func(s watch.State[*tls.Certificate]) {
			report("certificate", s.Err, certificateSlot, unusable(reason.CertificateUnusable, s.Err))
		})
	})
	loops.Go(func() {
		f.selectors.Watch(ctx, func(s watch.State[[]byte]) {
			err := s.Err
			if err == nil {
				ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), selectorsTimeout)
				defer cancel()
				err = workers.SetSelectors(ctx)
			}
			report("selectors", err, selectorsSlot, unusable(reason.SelectorsUnusable, s.Err))
		})
	})
	loops.Go(func() {
		watch.Exposed(ctx, f.secret, func(exposed []string) {
			w := reason.Warning{Code: reason.SecretFileExposed, Detail: strings.Join(exposed, ", ")}
			if len(exposed) == 0 {
				w = reason.Warning{}
			}
			f.warn(warn, secretsSlot, w)
		})
	})
	loops.Wait()
}

// unusable is the warning about a file, none without an error.
func unusable(code reason.Code, err error) reason.Warning {
	if err == nil {
		return reason.Warning{}
	}
	return reason.Warning{Code: code, Detail: logging.Redact(err.Error())}
}

func unusableKeys(s watch.State[*apikey.Keys]) reason.Warning {
	w := unusable(reason.KeysUnusable, s.Err)
	if s.Err != nil {
		w.Detail += "; no key is valid from " + s.ReadAt.Add(apikey.Grace).UTC().Format(time.RFC3339)
	}
	return w
}

// warn notes a warning, or its end, and calls warn with all that there are.
func (f *files) warn(warn func(...reason.Warning), slot int, w reason.Warning) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.warnings[slot] = w
	all := f.warnings // a copy
	warn(slices.DeleteFunc(all[:], func(w reason.Warning) bool { return w.Code == "" })...)
}

// openListeners takes the sockets that systemd hands over, or opens them and hands
// those to systemd for the next process.
func openListeners(ctx context.Context, cfg *config.Config, manager *systemd.Manager, files *files, log *slog.Logger) ([]net.Listener, error) {
	wanted := listen.Addresses(cfg.Address())
	unit, listeners, err := manager.Listeners(func(have net.Addr) bool {
		return slices.ContainsFunc(wanted, func(a listen.Address) bool { return a.Is(have) })
	})
	if err != nil {
		return nil, err
	}
	if unit != nil {
		listen.Close(listeners)
		if err := cfg.ListenOn(unit.Addr()); err != nil {
			return nil, errors.Join(err, unit.Close())
		}
		listeners = []net.Listener{unit}
	} else {
		if listeners, err = listen.Open(ctx, wanted, listeners...); err != nil {
			return nil, explainListen(cfg, err)
		}
		for _, l := range listeners {
			if err := manager.Keep(l); err != nil {
				log.Warn(logid.SocketStoreFailed, logging.KeyError, err)
			}
		}
	}
	if cfg.TLSCert != "" {
		listeners = listen.TLS(listeners, files.certificate)
	}
	return listeners, nil
}
