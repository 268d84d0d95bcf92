// Package trace shows where the time of a start goes: a file in the trace event
// format, which ui.perfetto.dev and chrome://tracing open.
package trace

import (
	"encoding/json"
	"fmt"
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
// writes its file then. Its methods may be called from any goroutine; a nil
// Recorder does nothing.
type Recorder struct {
	file  string
	begun time.Time
	now   func() time.Time
	log   *slog.Logger

	mu    sync.Mutex
	spans []span // guarded by mu; the last one of a track is open
	done  bool   // guarded by mu
}

// Tracks, from the outside in.
const (
	trackSupervisor = "supervisor"
	trackWorker     = "worker"
	trackChrome     = "chrome"
	trackPage       = "page"
)

// tracks in the order in which they are drawn.
var tracks = []string{trackSupervisor, trackWorker, trackChrome, trackPage}

type span struct {
	track, name string
	from, until time.Time // until is zero while it lasts
}

// New returns a Recorder that writes to file, or nil when that is empty. begun is
// when the process was started.
func New(file string, begun time.Time, now func() time.Time, log *slog.Logger) *Recorder {
	if file == "" {
		return nil
	}
	r := &Recorder{file: file, begun: begun, now: now, log: log}
	r.spans = []span{{track: trackSupervisor, name: "settings, keys, listener", from: begun}}
	return r
}

// Listening says that the API answers.
func (r *Recorder) Listening() {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	r.next(trackSupervisor, "serving", now)
	r.next(trackWorker, "preflight, with chrome --version", now)
}

// Notice takes in what the supervisor tells of its worker.
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
		r.next(trackWorker, "spawn", now)
	case worker.WorkerStarted:
		r.next(trackWorker, "handshake", now)
	case worker.FromWorker:
		r.next(trackWorker, "serving", now)
		r.event(n.Event.Body, now, now.Add(-n.Event.Waited))
	case worker.Exiting:
		r.next(trackPage, "", now)
		r.next(trackChrome, "", now)
		r.next(trackWorker, "ending", now)
	}
}

// event takes in what happened at a time, and was heard of later.
func (r *Recorder) event(body rpc.EventBody, now, at time.Time) {
	switch b := body.(type) {
	case rpc.PhaseChanged:
		r.next(trackChrome, string(b.Phase), at)
	case rpc.PageObserved:
		name := string(b.Condition)
		if b.Reason != "" {
			name += ": " + string(b.Reason)
		}
		r.next(trackPage, name, at)
		if b.Condition == rpc.PageReady {
			r.write("READY", now)
		}
	case rpc.QRShown:
		r.write("QR", now)
	}
}

// next ends the track's present span and begins another, unless it is the same or
// has no name.
func (r *Recorder) next(track, name string, now time.Time) {
	for i := len(r.spans) - 1; i >= 0; i-- {
		if s := &r.spans[i]; s.track == track && s.until.IsZero() {
			if s.name == name {
				return
			}
			s.until = now
			break
		}
	}
	if name != "" {
		r.spans = append(r.spans, span{track: track, name: name, from: now})
	}
}

// event is one entry of the format ("Trace Event Format", Google, 2016): times in
// microseconds.
type event struct {
	Name  string         `json:"name"`
	Phase string         `json:"ph"`
	At    int64          `json:"ts"`
	Lasts int64          `json:"dur,omitempty"`
	PID   int            `json:"pid"`
	TID   int            `json:"tid"`
	Scope string         `json:"s,omitempty"`
	Args  map[string]any `json:"args,omitempty"`
}

// write ends the recording. It is called with mu held.
func (r *Recorder) write(reached string, now time.Time) {
	r.done = true
	if err := r.save(r.events(reached, now)); err != nil {
		r.log.Warn(logid.TraceWriteFailed, logging.KeyPath, r.file, logging.KeyError, err)
		return
	}
	r.log.Info(logid.TraceWritten, slog.String(logging.KeyPath, r.file), logging.Millis("start_ms", now.Sub(r.begun)))
}

func (r *Recorder) events(reached string, now time.Time) []event {
	var all []event
	numbers := map[string]int{}
	for i, track := range tracks {
		numbers[track] = i + 1
		all = append(all, event{Name: "thread_name", Phase: "M", PID: 1, TID: i + 1, Args: map[string]any{"name": track}})
	}
	for _, s := range r.spans {
		if s.until.IsZero() {
			s.until = now
		}
		all = append(all, event{
			Name: s.name, Phase: "X", PID: 1, TID: numbers[s.track],
			At: s.from.Sub(r.begun).Microseconds(), Lasts: s.until.Sub(s.from).Microseconds(),
		})
	}
	return append(all, event{Name: reached, Phase: "i", Scope: "g", PID: 1, TID: 1, At: now.Sub(r.begun).Microseconds()})
}

func (r *Recorder) save(events []event) error {
	content, err := json.Marshal(map[string]any{"displayTimeUnit": "ms", "traceEvents": events})
	if err != nil {
		return fmt.Errorf("cannot encode trace: %w", err)
	}
	if err := renameio.WriteFile(r.file, content, 0o600); err != nil {
		return fmt.Errorf("cannot write trace: %w", err)
	}
	return nil
}
