package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"session-manager/shared/logging"
	"session-manager/shared/reason"
	"session-manager/shared/selectors"
	"session-manager/supervisor/internal/apikey"
	"session-manager/supervisor/internal/config"
	"session-manager/supervisor/internal/listen"
	"session-manager/supervisor/internal/logid"
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
	// secret are those that are for the service's user alone.
	secret []string

	mu sync.Mutex
	// unusable is why the keys' file can't be used, and exposed are the secret files that
	// every user can read or write. Guarded by mu.
	unusable string
	exposed  []string
}

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
			f.log.Error(logid.SelectorsRejected, logging.KeyError, err)
		} else if f.selectors.Value() != nil {
			f.log.Info(logid.SelectorsLoaded, logging.KeyPath, cfg.Selectors)
		}
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
func (f *files) watch(ctx context.Context, workers *worker.Manager, warn func(reason.Code, string)) {
	report := func(what string, err error) {
		if err != nil {
			f.log.Error(logid.FileReloadFailed, "what", what, logging.KeyError, err)
			return
		}
		f.log.Info(logid.FileReloaded, "what", what)
	}
	var loops sync.WaitGroup
	loops.Go(func() {
		f.keys.Watch(ctx, func(s watch.State[*apikey.Keys]) {
			report("api_keys", s.Err)
			f.update(warn, func() { f.unusable = describeKeys(s) })
		})
	})
	loops.Go(func() {
		f.certificate.Watch(ctx, func(s watch.State[*tls.Certificate]) { report("certificate", s.Err) })
	})
	loops.Go(func() {
		f.selectors.Watch(ctx, func(s watch.State[[]byte]) {
			err := s.Err
			if err == nil {
				ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), selectorsTimeout)
				defer cancel()
				err = workers.SetSelectors(ctx)
			}
			report("selectors", err)
		})
	})
	loops.Go(func() {
		watch.Exposed(ctx, f.secret, func(exposed []string) {
			for _, path := range exposed {
				f.log.Warn(logid.SecretFileExposed, logging.KeyPath, path)
			}
			f.update(warn, func() { f.exposed = exposed })
		})
	})
	loops.Wait()
}

// describeKeys explains to a person why the file of keys can't be used; empty when it can.
func describeKeys(s watch.State[*apikey.Keys]) string {
	if s.Err == nil {
		return ""
	}
	return fmt.Sprintf("%v; no key is valid from %s", s.Err, s.ReadAt.Add(apikey.Grace).UTC().Format(time.RFC3339))
}

// update notes a change with set, and warns of the worst of what is wrong.
func (f *files) update(warn func(reason.Code, string), set func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	set()
	switch {
	case f.unusable != "":
		warn(reason.KeysUnusable, f.unusable)
	case len(f.exposed) > 0:
		warn(reason.SecretFileExposed, strings.Join(f.exposed, ", "))
	default:
		warn("", "")
	}
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
			return nil, explainListen(cfg.Listen, err)
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
