package outbox

import (
	"context"
	"database/sql"
	"encoding/json"
	"time"

	"session-manager/shared/logging"
	"session-manager/shared/rpc"
	"session-manager/supervisor/internal/database"
	"session-manager/supervisor/internal/logid"
	"session-manager/supervisor/internal/wait"
)

const (
	// maxReport is how many messages are reported at once, and maxUnreported how many changes
	// are kept for a reader that takes none.
	maxReport, maxUnreported = 100, 100_000
	// reportPause is the time until the next attempt after a failure.
	reportPause = 2 * time.Second
)

// note keeps a change until it was reported.
func (t *transaction) note(c change) error {
	if !t.reporting || c.before.shown() == c.after.shown() {
		return nil
	}
	return t.keepReport(c.after)
}

// keepReport keeps that a message has changed until it was reported.
func (db messages) keepReport(e entry) error {
	text, err := json.Marshal(e)
	if err != nil {
		return err
	}
	return db.Exec("INSERT INTO report (entry) VALUES (?)", string(text))
}

// forgetReports erases what nobody will be told.
func (t *transaction) forgetReports() error {
	kept := maxUnreported
	if !t.reporting {
		kept = 0
	}
	return t.Exec("DELETE FROM report WHERE seq <= (SELECT max(seq) FROM report) - ?", kept)
}

// batch is what is reported at once.
type batch struct {
	account rpc.Account // that is linked
	changed []Message
	last    int64 // the position of the last one
}

// unreported returns the oldest changes that were not reported.
func (db messages) unreported() (b batch, err error) {
	s, err := db.settings()
	if err != nil {
		return b, err
	}
	b.account = s.linked()
	var damaged []int64
	err = db.Query(func(r *sql.Rows) error {
		var text string
		if err := r.Scan(&b.last, &text); err != nil {
			return err
		}
		if e, ok := parse(text); ok {
			b.changed = append(b.changed, e.message())
		} else {
			damaged = append(damaged, b.last)
		}
		return nil
	}, "SELECT seq, entry FROM report ORDER BY seq LIMIT ?", maxReport)
	if err == nil {
		err = database.SetAside(db.DB, damaged, "SELECT entry FROM report WHERE seq = ?1", "DELETE FROM report WHERE seq = ?1")
	}
	return b, err
}

// mayReport wakes report. It does not block.
func (o *Outbox) mayReport() {
	select {
	case o.unsaid <- struct{}{}:
	default:
	}
}

// report hands on what has changed until ctx ends.
func (o *Outbox) report(ctx context.Context) {
	var linked rpc.Account
	next := func(ctx context.Context) (bool, error) {
		account, more, err := o.reportNext(ctx, linked)
		if err == nil && more {
			linked = account
		}
		return more, err
	}
	wait.Drain(ctx, o.unsaid, reportPause, next, func(err error) {
		o.o.Logger.Warn(logid.OutboxReportFailed, logging.KeyError, err)
	})
}

// reportNext hands on what was changed first, and reports whether there was anything. It is
// forgotten afterwards, so that nothing gets lost in between.
func (o *Outbox) reportNext(ctx context.Context, linked rpc.Account) (account rpc.Account, more bool, err error) {
	found := make(chan batch, 1)
	err = o.store.ask(ctx, job{read: func(db messages) error {
		b, err := db.unreported()
		if err == nil {
			found <- b
		}
		return err
	}})
	if err != nil {
		return account, false, err
	}
	b := <-found
	if b.last == 0 && b.account == linked {
		return linked, false, nil
	}
	if err := o.o.Report(ctx, b.account, b.changed); err != nil || b.last == 0 {
		return b.account, true, err
	}
	return b.account, true, o.store.ask(ctx, job{write: func(t *transaction) error {
		return t.Exec("DELETE FROM report WHERE seq <= ?", b.last)
	}})
}
