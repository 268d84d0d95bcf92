package events

import (
	"time"

	"session-manager/supervisor/internal/session"
	"session-manager/supervisor/internal/view"
)

// State is the body of StateChanged.
type State struct {
	Status session.State `json:"status"`
	// Previous is the state before this event; the same when only the reason
	// changed.
	Previous session.State `json:"previous_status"`
	Since    time.Time     `json:"since"`
	Reason   view.Reason   `json:"reason"`
}

// Progress is the body of ProgressChanged.
type Progress struct {
	Phase view.Phase `json:"phase"`
	// Percent is nil while there is none to show.
	Percent *int `json:"progress_percent"`
}

// QR is the body of QRChanged.
type QR struct {
	Available bool `json:"available"`
	// QR is nil when none is available.
	QR *view.QR `json:"qr"`
}

// Worker is the body of WorkerChanged.
type Worker struct {
	Worker  view.Worker   `json:"worker"`
	Browser *view.Browser `json:"browser"`
	LastEnd *view.End     `json:"last_end"`
	RetryAt *time.Time    `json:"retry_at"`
}

type change struct {
	kind Type
	body any
}

// changes returns what differs between two snapshots, for a nil one everything.
// A heartbeat by itself is no change.
func changes(from, to *session.Snapshot) []change {
	var list []change
	if from == nil || keyOf(from) != keyOf(to) {
		list = append(list, change{WorkerChanged, Worker{
			view.WorkerOf(to.Worker), view.BrowserOf(to.Browser), view.EndOf(to.LastEnd), view.Moment(to.RetryAt),
		}})
	}
	if from == nil || from.State != to.State || from.Reason != to.Reason || from.Detail != to.Detail {
		previous := to.State
		if from != nil {
			previous = from.State
		}
		list = append(list, change{StateChanged, State{to.State, previous, to.Since.UTC(), view.ReasonOf(to)}})
	}
	if from == nil || from.Phase != to.Phase || from.Progress != to.Progress {
		list = append(list, change{ProgressChanged, Progress{view.PhaseOf(to), view.ProgressOf(to)}})
	}
	if from == nil || !sameQR(shown(from), shown(to)) {
		list = append(list, change{QRChanged, QR{shown(to) != nil, view.QROf(shown(to))}})
	}
	return list
}

// shown is the QR that is served in s. The loop drops it at its expiry.
func shown(s *session.Snapshot) *session.QR {
	if s.State != session.QRRequired {
		return nil
	}
	return s.QR
}

// sameQR says that no reader has to be told. A worker that repeats itself moves
// the expiry by the way's few milliseconds.
func sameQR(a, b *session.QR) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Generation == b.Generation && a.Seq == b.Seq && a.ExpiresAt.Sub(b.ExpiresAt).Abs() < time.Second
}

type workerKey struct {
	generation  uint64
	pid, chrome int
	ended       uint64
	retryAt     time.Time
}

func keyOf(s *session.Snapshot) workerKey {
	k := workerKey{generation: s.Worker.Generation, pid: s.Worker.PID, chrome: s.Browser.PID, retryAt: s.RetryAt}
	if s.LastEnd != nil {
		k.ended = s.LastEnd.Generation
	}
	return k
}
