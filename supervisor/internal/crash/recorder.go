package crash

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"session-manager/shared/logging"
	"session-manager/shared/reason"
	"session-manager/shared/rpc"
	"session-manager/supervisor/internal/logid"
	"session-manager/supervisor/internal/restart"
	"session-manager/supervisor/internal/session"
	"session-manager/supervisor/internal/worker"
)

const (
	// steps is the length of the timeline.
	steps = 100
	// backlog is how many reports may wait to be written. Recovery never waits
	// for them: one too many is dropped and logged.
	backlog = 8
	// incidentPause is the least time between two incidents of one reason.
	incidentPause = 10 * time.Minute
	// inspectTimeout bounds each request to the page of an incident.
	inspectTimeout = 5 * time.Second
)

// Options of a Recorder.
type Options struct {
	Store   *Store
	Version string
	Logger  *slog.Logger
	// Screenshot and Diagnose inspect the page of an incident.
	Screenshot func(context.Context) ([]byte, error)
	Diagnose   func(context.Context) (rpc.Diagnosis, error)
}

// Recorder turns what happens into reports. Notice and Observe never block; Run
// writes.
type Recorder struct {
	o    Options
	jobs chan job

	mu       sync.Mutex
	timeline []Step // guarded by mu
	// page is the text of the last step of the event page.
	page string // guarded by mu
	// last is the newest snapshot, from before the notice that is being handled.
	last *session.Snapshot // guarded by mu
	// before is the last one of a generation that is exiting.
	before *session.Snapshot // guarded by mu
	// incidents has the time of the last one of each reason.
	incidents map[reason.Code]time.Time // guarded by mu
}

type job struct {
	report Report
	files  map[string][]byte
	// inspect reports whether the page is to be inspected first.
	inspect bool
}

// NewRecorder returns a Recorder that writes nothing before Run.
func NewRecorder(o Options) *Recorder {
	return &Recorder{o: o, jobs: make(chan job, backlog), last: &session.Snapshot{}, incidents: map[reason.Code]time.Time{}}
}

// Run writes reports until ctx ends, and then those that still wait.
func (r *Recorder) Run(ctx context.Context) {
	for {
		select {
		case j := <-r.jobs:
			r.write(ctx, j)
		case <-ctx.Done():
			if len(r.jobs) == 0 {
				return
			}
		}
	}
}

func (r *Recorder) write(ctx context.Context, j job) {
	if j.inspect {
		r.inspectPage(ctx, &j)
	}
	id, err := r.o.Store.Add(j.report, j.files)
	if err != nil {
		r.o.Logger.Error(logid.ReportWriteFailed, logging.KeyGeneration, j.report.Generation, logging.KeyError, err)
	}
	if id != "" {
		r.o.Logger.Info(logid.ReportWritten, logging.KeyGeneration, j.report.Generation, "kind", string(j.report.Kind),
			logging.KeyReason, string(j.report.Reason), "id", id)
	}
}

// inspectPage adds what the page shows and is made of. What cannot be had is left
// out: a page that is not understood may not respond either.
func (r *Recorder) inspectPage(ctx context.Context, j *job) {
	photographing, cancel := context.WithTimeout(ctx, inspectTimeout)
	png, err := r.o.Screenshot(photographing)
	cancel()
	if err != nil {
		r.o.Logger.Warn(logid.ReportScreenshotFailed, logging.KeyError, err)
	}
	j.files["screenshot.png"] = png
	ctx, cancel = context.WithTimeout(ctx, inspectTimeout)
	defer cancel()
	d, err := r.o.Diagnose(ctx)
	if err != nil {
		r.o.Logger.Warn(logid.ReportDiagnoseFailed, logging.KeyError, err)
		return
	}
	j.report.URL, j.report.Versions.UserAgent = logging.Redact(d.URL), d.UserAgent
	j.report.Versions.Page = cmp.Or(d.PageVersion, j.report.Versions.Page)
	for _, reader := range d.Readers {
		j.report.Readers = append(j.report.Readers, Reader{Name: reader.Reader, Saw: logging.Redact(reader.Saw)})
	}
	j.files["outline.txt"] = lines([]string{d.Outline})
	j.files["console.txt"] = lines(d.Console)
}

// Notice records a notice of the worker. It must be called before the session gets
// the same notice.
func (r *Recorder) Notice(n worker.Notice) {
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	if event, text := describe(n); event != "" {
		r.noteLocked(now, event, text)
	}
	switch n := n.(type) {
	case worker.Exiting:
		r.before = r.last
	case worker.Exited:
		if n.Class != restart.Planned {
			r.enqueueLocked(r.exitLocked(n, now))
		}
	}
}

// Observe records the session's newest snapshot.
func (r *Recorder) Observe(s *session.Snapshot) {
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	from := r.last
	r.last = s
	if s.State != from.State || s.Reason.Code != from.Reason.Code {
		r.noteLocked(now, "state", fmt.Sprintf("%s (%s)", s.State, s.Reason.Code))
	}
	code := s.Reason.Code
	if code == from.Reason.Code || !slices.Contains(incidentReasons, code) || now.Sub(r.incidents[code]) < incidentPause {
		return
	}
	r.incidents[code] = now
	r.enqueueLocked(job{report: r.reportLocked(Incident, s, now), files: map[string][]byte{}, inspect: true})
}

// incidentReasons are those for which a page that responds is worth a report.
var incidentReasons = []reason.Code{
	reason.QRUnreadable, reason.PageUnrecognised, reason.WrongOrigin, reason.PageLoadFailed, reason.PasskeyRequired,
	reason.UnsupportedBrowser, reason.ProxyBlocked, reason.StorageFailed, reason.Banned, reason.TermsRequired,
}

func (r *Recorder) exitLocked(n worker.Exited, now time.Time) job {
	report := r.reportLocked(Exit, cmp.Or(r.before, r.last), now)
	r.before = nil
	report.Exit = session.NewExit(n, now)
	report.Detail = logging.Redact(n.Detail)
	report.Message, report.Phase = reason.Describe(n.Reason).Message, n.Phase
	return job{report: report, files: map[string][]byte{
		"worker.stderr": lines(n.WorkerStderr), "chrome.stderr": lines(n.ChromeStderr),
	}}
}

func (r *Recorder) reportLocked(kind Kind, s *session.Snapshot, now time.Time) Report {
	report := Report{
		Kind: kind, Message: s.Reason.Message, StateBefore: s.State, Phase: s.Phase.Name,
		Exit: session.Exit{
			Generation: s.Worker.Generation, At: session.Moment{Time: now.UTC()},
			Reason: s.Reason.Code, Detail: logging.Redact(s.Reason.Detail),
		},
		Versions:    Versions{Service: r.o.Version, Page: s.Page.Version},
		WorkerBytes: s.Worker.ResidentBytes,
		Timeline:    slices.Clone(r.timeline), Files: []string{},
	}
	if s.Browser != nil {
		report.Versions.Browser = s.Browser.Product
	}
	return report
}

func (r *Recorder) enqueueLocked(j job) {
	select {
	case r.jobs <- j:
	default:
		r.o.Logger.Warn(logid.ReportDropped, logging.KeyGeneration, j.report.Generation, logging.KeyReason, string(j.report.Reason))
	}
}

func (r *Recorder) noteLocked(now time.Time, event, text string) {
	text = logging.Redact(text)
	if event == "page" {
		if r.page == text {
			return // the worker repeats its observations as evidence
		}
		r.page = text
	}
	if len(r.timeline) == steps {
		r.timeline = slices.Delete(r.timeline, 0, 1)
	}
	r.timeline = append(r.timeline, Step{At: now.UTC(), Event: event, Text: text})
}

// describe puts a notice into words, without the QR payload. An empty event means
// that the notice is not worth an entry.
func describe(n worker.Notice) (event, text string) {
	switch n := n.(type) {
	case worker.Spawning:
		return "spawning", fmt.Sprintf("generation %d", n.Generation)
	case worker.WorkerStarted:
		return "worker_started", fmt.Sprintf("pid %d", n.PID)
	case worker.Exiting:
		return "exiting", fmt.Sprintf("%s: %s", n.Reason, n.Detail)
	case worker.Exited:
		return "exited", fmt.Sprintf("%s, worker %s, Chrome %s", n.Reason, n.WorkerExit, n.ChromeExit)
	case worker.Warned:
		var all []string
		for _, w := range n.Warnings {
			all = append(all, fmt.Sprintf("%s: %s", w.Code, w.Detail))
		}
		return "warned", cmp.Or(strings.Join(all, "; "), "of nothing")
	case worker.Blocked:
		return "blocked", fmt.Sprintf("%s: %s", n.Reason, n.Detail)
	case worker.FromWorker:
		return describeEvent(n.Event.Body)
	default:
		return "", ""
	}
}

func describeEvent(body rpc.EventBody) (event, text string) {
	switch b := body.(type) {
	case rpc.PhaseChanged:
		return "phase", string(b.Phase)
	case rpc.BrowserStarted:
		return "browser_started", fmt.Sprintf("pid %d, %s", b.PID, b.Product)
	case rpc.PageObserved:
		return "page", strings.TrimSpace(fmt.Sprintf("%s %s %s", b.Condition, b.Reason, b.Detail))
	case rpc.QRShown:
		return "qr_shown", fmt.Sprintf("number %d, by %s", b.Seq, b.Reader)
	case rpc.QRGone:
		return "qr_gone", b.Cause
	case rpc.Failure:
		return "failure", fmt.Sprintf("%s: %s", b.Reason, b.Detail)
	default:
		return "", ""
	}
}

func lines(list []string) []byte {
	text := strings.Join(list, "\n")
	if text == "" {
		return nil
	}
	return []byte(logging.Redact(text) + "\n")
}
