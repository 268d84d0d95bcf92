package crash

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"session-manager/shared/reason"
	"session-manager/shared/rpc"
	"session-manager/supervisor/internal/restart"
	"session-manager/supervisor/internal/session"
	"session-manager/supervisor/internal/worker"
)

var t0 = time.Date(2026, 11, 24, 3, 0, 0, 0, time.UTC)

func report(n int) Report {
	return Report{
		Kind: Exit, Exit: session.Exit{At: session.Moment{Time: t0.Add(time.Duration(n) * time.Second)}, Generation: uint64(n), Reason: reason.BrowserCrashed},
		Timeline: []Step{}, Files: []string{},
	}
}

func TestReportComesBackAsItWasAdded(t *testing.T) {
	s := NewStore(filepath.Join(t.TempDir(), "crashes"))
	want := report(1)
	id, err := s.Add(want, map[string][]byte{"worker.stderr": []byte("x"), "chrome.stderr": nil})
	if err != nil {
		t.Fatal(err)
	}
	want.ID, want.Files = id, []string{"worker.stderr"}
	got, err := s.Get(id)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if content, err := s.File(id, "worker.stderr"); err != nil || string(content) != "x" {
		t.Errorf("got %q, %v", content, err)
	}
}

func TestReportsAreForTheServicesUserOnly(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "crashes")
	if _, err := NewStore(dir).Add(report(1), map[string][]byte{"worker.stderr": []byte("x")}); err != nil {
		t.Fatal(err)
	}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestOnlyTheNewestReportsAreKept(t *testing.T) {
	dir := t.TempDir()
	s := NewStore(dir)
	if err := os.Mkdir(filepath.Join(dir, ".unfinished-left"), 0o700); err != nil {
		t.Fatal(err)
	}
	for n := range keep + 5 {
		if _, err := s.Add(report(n), nil); err != nil {
			t.Fatal(err)
		}
	}
	list, err := s.List()
	if err != nil || len(list) != keep || list[0].Generation != keep+4 || list[keep-1].Generation != 5 {
		t.Errorf("%d reports, %v", len(list), err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != keep {
		t.Errorf("%d entries, %v", len(entries), err)
	}
}

func TestListWithoutReportsIsEmpty(t *testing.T) {
	list, err := NewStore("/nonexistent").List()
	if err != nil || list == nil || len(list) != 0 {
		t.Errorf("got %v, %v", list, err)
	}
}

func TestNamesCantLeaveTheFolder(t *testing.T) {
	dir := t.TempDir()
	s := NewStore(filepath.Join(dir, "crashes"))
	id, err := s.Add(report(1), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"", "..", "../x", "a/b", ".unfinished-1", strings.Repeat("a", 200), "a\x00b", id + "/.."} {
		if _, err := s.Get(bad); !errors.Is(err, ErrNotFound) {
			t.Errorf("report %q: got %v", bad, err)
		}
		if _, err := s.File(id, bad); !errors.Is(err, ErrNotFound) {
			t.Errorf("file %q: got %v", bad, err)
		}
	}
	if _, err := s.File(id, reportFile); !errors.Is(err, ErrNotFound) {
		t.Errorf("got %v", err)
	}
}

func TestAddReturnsItsWriteError(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := NewStore(file).Add(report(1), nil); err == nil {
		t.Error("it wrote into a file")
	}
}

// recorded runs a Recorder over what feed does, and returns the reports.
func recorded(t *testing.T, o Options, feed func(*Recorder)) []Report {
	t.Helper()
	o.Store, o.Version = NewStore(t.TempDir()), "v1"
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Screenshot == nil {
		o.Screenshot, o.Diagnose = noPhoto, noDiagnosis
	}
	r := NewRecorder(o)
	feed(r)
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // Run writes what waits
	r.Run(ctx)
	list, err := o.Store.List()
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func because(c reason.Code, detail string) session.Reason { return session.NewReason(c, detail, t0) }

func noPhoto(context.Context) ([]byte, error) { return nil, errors.New("no page") }

func noDiagnosis(context.Context) (rpc.Diagnosis, error) {
	return rpc.Diagnosis{}, errors.New("no page")
}

func event(body rpc.EventBody) worker.Notice {
	return worker.FromWorker{Event: rpc.Event{Generation: 3, Body: body}}
}

func TestAbnormalExitIsReported(t *testing.T) {
	list := recorded(t, Options{}, func(r *Recorder) {
		r.Notice(worker.Spawning{Generation: 3})
		r.Notice(event(rpc.BrowserStarted{PID: 42, Product: "Chrome/156"}))
		for range 5 {
			r.Notice(event(rpc.PageObserved{Condition: rpc.PageReady}))
		}
		r.Observe(&session.Snapshot{
			State: session.Ready, Page: session.Page{Version: "2.3000"},
			Processes: session.Processes{
				Worker: session.Worker{Generation: 3, ResidentBytes: 77}, Browser: &session.Browser{Product: "Chrome/156"},
			},
		})
		r.Notice(worker.Exiting{Generation: 3, Reason: reason.BrowserCrashed})
		r.Observe(&session.Snapshot{State: session.Init, Reason: because(reason.BrowserCrashed, "")})
		r.Notice(worker.Exited{
			Generation: 3, Reason: reason.BrowserCrashed, Class: restart.Transient, Phase: "page", Uptime: time.Minute,
			WorkerExit: "exit 70", ChromeExit: "signal killed", WorkerStderr: []string{"a", "b"}, Failures: 1,
		})
	})
	if len(list) != 1 {
		t.Fatalf("%d reports", len(list))
	}
	got := list[0]
	var events []string
	for _, s := range got.Timeline {
		events = append(events, s.Event)
	}
	if d := cmp.Diff([]string{"spawning", "browser_started", "page", "state", "exiting", "state", "exited"}, events); d != "" {
		t.Error(d)
	}
	want := Report{
		ID: got.ID, Kind: Exit, Message: reason.Describe(reason.BrowserCrashed).Message, StateBefore: "READY", Phase: "page", WorkerBytes: 77,
		Exit: session.Exit{
			Generation: 3, At: got.At, Reason: reason.BrowserCrashed, Class: "transient", UptimeMS: 60000,
			WorkerExit: "exit 70", ChromeExit: "signal killed", Failures: 1,
		},
		Versions: Versions{Service: "v1", Browser: "Chrome/156", Page: "2.3000"},
		Timeline: got.Timeline, Files: []string{"worker.stderr"},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestPlannedExitLeavesNoReport(t *testing.T) {
	list := recorded(t, Options{}, func(r *Recorder) {
		r.Notice(worker.Exited{Generation: 1, Reason: reason.RestartRequested, Class: restart.Planned})
	})
	if len(list) != 0 {
		t.Errorf("got %v", list)
	}
}

func TestIncidentIsInspectedOnceInAWhile(t *testing.T) {
	photos := 0
	o := Options{Diagnose: func(context.Context) (rpc.Diagnosis, error) {
		return rpc.Diagnosis{
			URL: "https://web.whatsapp.com/", PageVersion: "2.3000", UserAgent: "Chrome", Outline: "html\n body",
			Console: []string{"an error about +49 151 12345678"}, Readers: []rpc.ReaderView{{Reader: "screenshot", Saw: "nothing"}},
		}, nil
	}, Screenshot: func(context.Context) ([]byte, error) {
		photos++
		return []byte("png"), nil
	}}
	list := recorded(t, o, func(r *Recorder) {
		for range 5 {
			r.Observe(&session.Snapshot{State: session.QRRequired, Reason: because(reason.ScanQR, "")})
			r.Observe(&session.Snapshot{State: session.QRRequired, Reason: because(reason.QRUnreadable, "")})
		}
	})
	if len(list) != 1 || photos != 1 || list[0].Kind != Incident || list[0].Reason != reason.QRUnreadable {
		t.Fatalf("%d photos, %+v", photos, list)
	}
	got := list[0]
	if got.URL == "" || got.Versions.Page != "2.3000" || got.Versions.UserAgent != "Chrome" || len(got.Readers) != 1 || got.Readers[0].Name != "screenshot" {
		t.Errorf("got %+v", got)
	}
	if want := []string{"console.txt", "outline.txt", "screenshot.png"}; !slices.Equal(got.Files, want) {
		t.Errorf("got the files %q, want %q", got.Files, want)
	}
}

func TestTimelineIsBounded(t *testing.T) {
	list := recorded(t, Options{}, func(r *Recorder) {
		for n := range 1000 {
			r.Notice(worker.Spawning{Generation: uint64(n)})
		}
		r.Notice(worker.Exited{Generation: 999, Reason: reason.WorkerCrashed, Class: restart.Transient})
	})
	if len(list) != 1 || len(list[0].Timeline) != steps {
		t.Errorf("got %d reports", len(list))
	}
}

func TestTimelineHasWarningsAndTheirEnd(t *testing.T) {
	list := recorded(t, Options{}, func(r *Recorder) {
		r.Notice(worker.Warned{Warnings: []reason.Warning{{Code: reason.DiskFull, Detail: "5 MiB are left"}, {Code: reason.WorkerUnusable, Detail: "x"}}})
		r.Notice(worker.Warned{})
		r.Notice(worker.Exited{Generation: 1, Reason: reason.WorkerCrashed, Class: restart.Transient})
	})
	var got []string
	for _, step := range list[0].Timeline {
		got = append(got, step.Event+" "+step.Text)
	}
	want := []string{"warned disk_full: 5 MiB are left; worker_unusable: x", "warned of nothing", "exited worker_crashed, worker , Chrome "}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestTooManyReportsAreDroppedAndLogged(t *testing.T) {
	var log bytes.Buffer
	list := recorded(t, Options{Logger: slog.New(slog.NewTextHandler(&log, nil))}, func(r *Recorder) {
		for n := range backlog + 1 {
			r.Notice(worker.Exited{Generation: uint64(n), Reason: reason.WorkerCrashed, Class: restart.Transient})
		}
	})
	if len(list) != backlog || !strings.Contains(log.String(), "report_dropped") {
		t.Errorf("%d reports, log %s", len(list), &log)
	}
}

func TestNoSecretGetsIntoAReport(t *testing.T) {
	key := strings.Repeat("A", 43) + "="
	login := "https://wa.me/settings/linked_devices#2@abcdefghijklmnop," + key + "," + key + "," + key + ",1"
	secrets := fmt.Sprintf("%s and ABCD-1234 and +54 9 11 5555 1234", login) // a report has times, in which four digits alone can come up
	o := Options{Store: NewStore(t.TempDir())}
	dir := o.Store.dir
	r := NewRecorder(Options{
		Store: o.Store, Screenshot: noPhoto, Diagnose: noDiagnosis, Logger: slog.New(slog.DiscardHandler),
	})
	r.Notice(event(rpc.QRShown{Payload: rpc.QRPayload(login), Seq: 1, Reader: "dom"}))
	r.Notice(event(rpc.PageObserved{Condition: rpc.PageUnlinked, Detail: secrets}))
	r.Notice(event(rpc.Failure{Reason: reason.PageCrashed, Detail: secrets}))
	r.Observe(&session.Snapshot{Reason: because(reason.QRUnreadable, secrets)})
	r.Notice(worker.Exiting{Reason: reason.PageCrashed, Detail: secrets})
	r.Notice(worker.Exited{
		Reason: reason.PageCrashed, Detail: secrets, Class: restart.Transient,
		WorkerStderr: []string{secrets}, ChromeStderr: []string{secrets},
	})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r.Run(ctx)
	files := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		files++
		content, err := os.ReadFile(path)
		for _, secret := range []string{"2@abc", "AAAAAAAA", "ABCD-1234", "11 5555", "5555 1234"} {
			if strings.Contains(string(content), secret) {
				t.Errorf("%s holds %q", filepath.Base(path), secret)
			}
		}
		return err
	})
	if err != nil || files < 4 {
		t.Errorf("%d files, %v", files, err)
	}
}
