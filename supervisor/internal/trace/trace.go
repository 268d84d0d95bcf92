// Package trace records how long the phases of a start take, in a file of the trace
// event format, which ui.perfetto.dev and chrome://tracing open.
package trace

import (
	"encoding/json"
	"log/slog"
	"sync"
	"time"

	"github.com/google/renameio/v2"

	"session-manager/shared/logging"
	"session-manager/shared/rpc"
	"session-manager/supervisor/internal/logid"
	"session-manager/supervisor/internal/worker"
)

// Recorder follows the first start, up to the first QR or the first READY, and
// then writes its file in the background. Its methods may be called from any goroutine; a nil
// Recorder does nothing.
type Recorder struct {
	file  string
	begun time.Time
	now   func() time.Time
	log   *slog.Logger

	mu     sync.Mutex
	events []event       // guarded by mu
	open   map[track]int // guarded by mu; the index of a track's event that still lasts
	done   bool          // guarded by mu
}

// track is a row of the trace.
type track int

// The tracks, in the order in which they are drawn. They count from 1, as thread
// ids do.
const (
	trackSupervisor track = iota + 1
	trackWorker
	trackChrome
	trackPage
)

var trackNames = map[track]string{trackSupervisor: "supervisor", trackWorker: "worker", trackChrome: "chrome", trackPage: "page"}

// event is one entry of the format ("Trace Event Format", Google, 2016): times in
// microseconds.
type event struct {
	Name  string         `json:"name"`
	Phase string         `json:"ph"`
	At    int64          `json:"ts"`
	Lasts int64          `json:"dur,omitempty"`
	PID   int            `json:"pid"`
	TID   track          `json:"tid"`
	Scope string         `json:"s,omitempty"`
	Args  map[string]any `json:"args,omitempty"`
}

// New returns a Recorder that writes to file, or nil when that is empty. begun is
// when the process was started.
func New(file string, begun time.Time, now func() time.Time, log *slog.Logger) *Recorder {
	if file == "" {
		return nil
	}
	r := &Recorder{file: file, begun: begun, now: now, log: log, open: map[track]int{}}
	for t := trackSupervisor; t <= trackPage; t++ {
		r.events = append(r.events, event{Name: "thread_name", Phase: "M", PID: 1, TID: t, Args: map[string]any{"name": trackNames[t]}})
	}
	r.nextLocked(trackSupervisor, "settings, keys, listener", begun)
	return r
}

// Listening records that the API responds.
func (r *Recorder) Listening() {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.done {
		return
	}
	now := r.now()
	r.nextLocked(trackSupervisor, "serving", now)
	r.nextLocked(trackWorker, "preflight, with chrome --version", now)
}

// Notice records a notice of the worker.
func (r *Recorder) Notice(n worker.Notice) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.done {
		return
	}
	now := r.now()
	switch n := n.(type) {
	case worker.Spawning:
		r.nextLocked(trackWorker, "spawn", now)
	case worker.WorkerStarted:
		r.nextLocked(trackWorker, "handshake", now)
	case worker.FromWorker:
		r.nextLocked(trackWorker, "serving", now)
		r.eventLocked(n.Event.Body, now, now.Add(-n.Event.Waited))
	case worker.Exiting:
		r.nextLocked(trackPage, "", now)
		r.nextLocked(trackChrome, "", now)
		r.nextLocked(trackWorker, "exiting", now)
	}
}

// eventLocked records an event that happened at a time, and arrived now.
func (r *Recorder) eventLocked(body rpc.EventBody, now, at time.Time) {
	switch b := body.(type) {
	case rpc.PhaseChanged:
		r.nextLocked(trackChrome, string(b.Phase), at)
	case rpc.PageObserved:
		name := string(b.Condition)
		if b.Reason != "" {
			name += ": " + string(b.Reason)
		}
		r.nextLocked(trackPage, name, at)
		if b.Condition == rpc.PageReady {
			r.finishLocked("READY", now)
		}
	case rpc.QRShown:
		r.finishLocked("QR", now)
	}
}

// nextLocked ends the track's open event and begins the next, unless that has the same
// name, or none.
func (r *Recorder) nextLocked(t track, name string, now time.Time) {
	at := now.Sub(r.begun).Microseconds()
	if i, ok := r.open[t]; ok {
		if r.events[i].Name == name {
			return
		}
		r.events[i].Lasts = at - r.events[i].At
		delete(r.open, t)
	}
	if name != "" {
		r.open[t] = len(r.events)
		r.events = append(r.events, event{Name: name, Phase: "X", PID: 1, TID: t, At: at})
	}
}

// finishLocked ends the recording.
func (r *Recorder) finishLocked(reached string, now time.Time) {
	r.done = true
	for t := range trackNames {
		r.nextLocked(t, "", now)
	}
	r.events = append(r.events, event{Name: reached, Phase: "i", Scope: "g", PID: 1, TID: trackSupervisor, At: now.Sub(r.begun).Microseconds()})
	// In the background, since the disk may be slow, and the notices are those of the
	// goroutine that looks after the worker.
	go r.write(r.events, now.Sub(r.begun))
}

func (r *Recorder) write(events []event, took time.Duration) {
	content, err := json.Marshal(map[string]any{"displayTimeUnit": "ms", "traceEvents": events})
	if err == nil {
		err = renameio.WriteFile(r.file, content, 0o600)
	}
	if err != nil {
		r.log.Warn(logid.TraceWriteFailed, logging.KeyPath, r.file, logging.KeyError, err)
		return
	}
	r.log.Info(logid.TraceWritten, slog.String(logging.KeyPath, r.file), logging.Millis("start_ms", took))
}
