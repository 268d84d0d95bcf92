package events

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/go-rod/rod"
	"github.com/go-rod/rod/lib/proto"

	"session-manager/shared/logging"
	"session-manager/worker/internal/logid"
	"session-manager/worker/internal/page/target"
)

// Tidier closes other pages of the browser and answers dialogs. It does so next
// to the loop, since an observation can wait for just what it removes.
type Tidier struct {
	browser *rod.Browser
	target  *target.Target
	log     *slog.Logger
	within  time.Duration
	tasks   chan task
}

// task is a call to Chrome that an event asks for.
type task func(ctx context.Context) error

// NewTidier returns the Tidier of a page, whose calls may each take as long as
// within.
func NewTidier(browser *rod.Browser, t *target.Target, log *slog.Logger, within time.Duration) *Tidier {
	return &Tidier{browser: browser, target: t, log: log, within: within, tasks: make(chan task, 16)}
}

// Run carries out the tasks until the page's life ends.
func (t *Tidier) Run() {
	life := t.target.Life()
	for {
		select {
		case <-life.Done():
			return
		case do := <-t.tasks:
			ctx, cancel := context.WithTimeout(life, t.within)
			if err := do(ctx); err != nil && life.Err() == nil {
				t.log.Warn(logid.TidyFailed, logging.KeyError, err)
			}
			cancel()
		}
	}
}

func (t *Tidier) enqueue(do task) {
	select {
	case t.tasks <- do:
	default:
		t.log.Warn(logid.TidyDropped)
	}
}

// Handle is a Handler.
func (t *Tidier) Handle(msg *rod.Message) {
	var (
		created proto.TargetTargetCreated
		dialog  proto.PageJavascriptDialogOpening
	)
	switch {
	case msg.Load(&created) && target.IsPage(created.TargetInfo) && created.TargetInfo.TargetID != t.target.Page.TargetID:
		t.Close(created.TargetInfo.TargetID)
	case msg.Load(&dialog):
		t.dismiss(dialog.Type)
	}
}

// Close closes another page.
func (t *Tidier) Close(id proto.TargetTargetID) {
	t.enqueue(func(ctx context.Context) error {
		if _, err := (proto.TargetCloseTarget{TargetID: id}).Call(t.browser.Context(ctx)); err != nil {
			return fmt.Errorf("cannot close another page: %w", err)
		}
		t.log.Info(logid.TabClosed)
		return nil
	})
}

// dismiss answers a dialog, which holds up every script of the page. Only the
// question whether to leave is answered with yes: navigation is the worker's.
func (t *Tidier) dismiss(kind proto.PageDialogType) {
	t.enqueue(func(ctx context.Context) error {
		accept := kind == proto.PageDialogTypeBeforeunload
		if err := (proto.PageHandleJavaScriptDialog{Accept: accept}).Call(t.target.Page.Context(ctx)); err != nil {
			return fmt.Errorf("cannot dismiss dialog: %w", err)
		}
		return nil
	})
}
