package trace

import (
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"session-manager/shared/reason"
	"session-manager/shared/rpc"
	"session-manager/supervisor/internal/worker"
)

// clock advances a millisecond each time it is read.
func clock(begun time.Time) func() time.Time {
	now := begun
	return func() time.Time {
		now = now.Add(time.Millisecond)
		return now
	}
}

// blocking holds up whoever logs until somebody receives.
type blocking chan []byte

func (b blocking) Write(line []byte) (int, error) {
	b <- line
	return len(line), nil
}

func from(body rpc.EventBody) worker.Notice {
	return worker.FromWorker{Event: rpc.Event{Generation: 1, Body: body}}
}

func TestTraceShowsEachPhaseUntilTheFirstQR(t *testing.T) {
	begun := time.Date(2026, 11, 24, 3, 0, 0, 0, time.UTC)
	file := filepath.Join(t.TempDir(), "trace.json")
	lines := make(blocking)
	r := New(file, begun, clock(begun), slog.New(slog.NewTextHandler(lines, nil)))
	r.Listening()                                         // 1
	r.Notice(worker.Spawning{Generation: 1})              // 2
	r.Notice(worker.WorkerStarted{Generation: 1, PID: 7}) // 3
	r.Notice(worker.FromWorker{Event: rpc.Event{          // 4, but it is of 2.5
		Generation: 1, Waited: 1500 * time.Microsecond, Body: rpc.PhaseChanged{Phase: rpc.PhaseBrowserStart},
	}})
	r.Notice(from(rpc.PhaseChanged{Phase: rpc.PhaseNavigate}))                                // 5
	r.Notice(from(rpc.PageObserved{Condition: rpc.PageLoading, Reason: reason.PageLoading}))  // 6
	r.Notice(from(rpc.PageObserved{Condition: rpc.PageLoading, Reason: reason.PageLoading}))  // 7
	r.Notice(from(rpc.QRShown{Payload: "2@secret"}))                                          // 8
	r.Notice(from(rpc.PageObserved{Condition: rpc.PageBlocked, Reason: reason.ScreenLocked})) // too late
	<-lines                                                                                   // It was written, and nobody waited for that.
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var got struct{ TraceEvents []event }
	if err := json.Unmarshal(content, &got); err != nil {
		t.Fatal(err)
	}
	want := []event{
		{Name: "thread_name", Phase: "M", PID: 1, TID: 1, Args: map[string]any{"name": "supervisor"}},
		{Name: "thread_name", Phase: "M", PID: 1, TID: 2, Args: map[string]any{"name": "worker"}},
		{Name: "thread_name", Phase: "M", PID: 1, TID: 3, Args: map[string]any{"name": "chrome"}},
		{Name: "thread_name", Phase: "M", PID: 1, TID: 4, Args: map[string]any{"name": "page"}},
		{Name: "settings, keys, listener", Phase: "X", PID: 1, TID: 1, At: 0, Lasts: 1000},
		{Name: "serving", Phase: "X", PID: 1, TID: 1, At: 1000, Lasts: 7000},
		{Name: "preflight, with chrome --version", Phase: "X", PID: 1, TID: 2, At: 1000, Lasts: 1000},
		{Name: "spawn", Phase: "X", PID: 1, TID: 2, At: 2000, Lasts: 1000},
		{Name: "handshake", Phase: "X", PID: 1, TID: 2, At: 3000, Lasts: 1000},
		{Name: "serving", Phase: "X", PID: 1, TID: 2, At: 4000, Lasts: 4000},
		{Name: "browser_start", Phase: "X", PID: 1, TID: 3, At: 2500, Lasts: 2500},
		{Name: "navigate", Phase: "X", PID: 1, TID: 3, At: 5000, Lasts: 3000},
		{Name: "loading: page_loading", Phase: "X", PID: 1, TID: 4, At: 6000, Lasts: 2000},
		{Name: "QR", Phase: "i", Scope: "g", PID: 1, TID: 1, At: 8000},
	}
	if d := cmp.Diff(want, got.TraceEvents); d != "" {
		t.Error(d)
	}
	if strings.Contains(string(content), "secret") {
		t.Error("the trace holds the QR payload")
	}
}

func TestTraceIncludesTheStartAfterAFailure(t *testing.T) {
	begun := time.Date(2026, 11, 24, 3, 0, 0, 0, time.UTC)
	file := filepath.Join(t.TempDir(), "trace.json")
	lines := make(blocking)
	r := New(file, begun, clock(begun), slog.New(slog.NewTextHandler(lines, nil)))
	for range 2 {
		r.Notice(worker.Spawning{Generation: 1})
		r.Notice(worker.Exiting{Generation: 1})
	}
	if _, err := os.Stat(file); !os.IsNotExist(err) {
		t.Errorf("written before anything was reached: %v", err)
	}
	r.Notice(from(rpc.PageObserved{Condition: rpc.PageReady}))
	<-lines // It was written, and nobody waited for that.
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(content), `"spawn"`); n != 2 || !strings.Contains(string(content), `"READY"`) {
		t.Errorf("%d spawns in %s", n, content)
	}
}

func TestWithoutAFileThereIsNoTrace(*testing.T) {
	r := New("", time.Time{}, time.Now, nil)
	r.Listening()
	r.Notice(worker.Spawning{})
}
