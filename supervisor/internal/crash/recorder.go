package crash

import (
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
	// for them: one too many is dropped, and said so in the log.
	backlog = 8
	// incidentPause is the least time between two incidents of one reason.
	incidentPause = 10 * time.Minute
	// lookTimeout bounds each of the looks at the page of an incident.
	lookTimeout = 5 * time.Second
)

// Options of a Recorder.
type Options struct {
	Store *Store
	// Version of the service.
	Version string
	// Screenshot photographs the page, for incidents. It may be nil.
	Screenshot func(context.Context) ([]byte, error)
	// Diagnose tells what the page is made of, for incidents. It may be nil.
	Diagnose func(context.Context) (rpc.Diagnosis, error)
	Logger   *slog.Logger
}

// Recorder turns what happens into reports. Notice and Observe only take note,
// and never block; Run writes.
type Recorder struct {
	o    Options
	jobs chan job

	mu       sync.Mutex
	timeline []Step // guarded by mu
	// last is the newest snapshot, before the one that the present notice makes.
	last      *session.Snapshot         // guarded by mu
	before    *session.Snapshot         // guarded by mu; at the beginning of the end
	incidents map[reason.Code]time.Time // guarded by mu
}

type job struct {
	report Report
	files  map[string][]byte
	// page says that the page is worth a look before the report is written.
	page bool
}

// NewRecorder returns a Recorder that writes nothing before Run.
func NewRecorder(o Options) *Recorder {
	return &Recorder{o: o, jobs: make(chan job, backlog), last: &session.Snapshot{}, incidents: map[reason.Code]time.Time{}}
}

// Run writes reports until ctx ends, and then those that wait.
func (r *Recorder) Run(ctx context.Context) {
	for {
		select {
		case j := <-r.jobs:
			r.write(ctx, j)
			continue
		case <-ctx.Done():
		}
		for {
			select {
			case j := <-r.jobs:
				r.write(ctx, j)
			default:
				return
			}
		}
	}
}

func (r *Recorder) write(ctx context.Context, j job) {
	if j.page {
		r.lookAtPage(ctx, &j)
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

// lookAtPage adds what the page shows and is made of. What can't be had is left
// out: a page that is not understood may not answer either.
func (r *Recorder) lookAtPage(ctx context.Context, j *job) {
	if r.o.Screenshot != nil {
		ctx, cancel := context.WithTimeout(ctx, lookTimeout)
		png, err := r.o.Screenshot(ctx)
		cancel()
		if err != nil {
			r.o.Logger.Warn(logid.ReportScreenshotFailed, logging.KeyError, err)
		}
		j.files["screenshot.png"] = png
	}
	if r.o.Diagnose == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	d, err := r.o.Diagnose(ctx)
	if err != nil {
		r.o.Logger.Warn(logid.ReportDiagnoseFailed, logging.KeyError, err)
		return
	}
	j.report.URL, j.report.Versions.UserAgent = logging.Redact(d.URL), d.UserAgent
	if d.PageVersion != "" {
		j.report.Versions.Page = d.PageVersion
	}
	for _, view := range d.Readers {
		j.report.Readers = append(j.report.Readers, Reader{Name: view.Reader, Saw: logging.Redact(view.Saw)})
	}
	j.files["outline.txt"] = lines([]string{d.Outline})
	j.files["console.txt"] = lines(d.Console)
}

// Notice takes note of what the supervisor of workers tells. It is called before
// the session is told the same.
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
			r.enqueueLocked(r.endLocked(n, now))
		}
	}
}

// Observe takes note of the session's newest snapshot.
func (r *Recorder) Observe(s *session.Snapshot) {
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	from := r.last
	r.last = s
	if s.State != from.State || s.Reason != from.Reason {
		r.noteLocked(now, "state", fmt.Sprintf("%s (%s)", s.State, s.Reason))
	}
	if s.Reason == from.Reason || !slices.Contains(incidentReasons, s.Reason) || now.Sub(r.incidents[s.Reason]) < incidentPause {
		return
	}
	r.incidents[s.Reason] = now
	report := r.reportLocked(Incident, s, now)
	r.enqueueLocked(job{report: report, files: map[string][]byte{}, page: true})
}

// incidentReasons are those for which a page that lives is worth a report.
var incidentReasons = []reason.Code{
	reason.QRUnreadable, reason.PageUnrecognised, reason.PageLoadFailed, reason.PasskeyRequired,
	reason.UnsupportedBrowser, reason.ProxyBlocked, reason.StorageFailed, reason.Banned, reason.TermsRequired,
}

func (r *Recorder) endLocked(n worker.Exited, now time.Time) job {
	before := r.before
	if before == nil {
		before = r.last
	}
	r.before = nil
	report := r.reportLocked(End, before, now)
	report.Generation, report.Reason, report.Detail = n.Generation, n.Reason, logging.Redact(n.Detail)
	report.Message = reason.Describe(n.Reason).Message
	report.Class, report.Phase, report.UptimeMS = string(n.Class), n.Phase, n.Uptime.Milliseconds()
	report.WorkerExit, report.ChromeExit = n.WorkerExit, n.ChromeExit
	report.DelayMS, report.Failures = n.Delay.Milliseconds(), n.Failures
	return job{report: report, files: map[string][]byte{
		"worker.stderr": lines(n.WorkerStderr), "chrome.stderr": lines(n.ChromeStderr),
	}}
}

func (r *Recorder) reportLocked(kind Kind, s *session.Snapshot, now time.Time) Report {
	return Report{
		Kind: kind, At: now.UTC(), Generation: s.Worker.Generation,
		Reason: s.Reason, Message: reason.Describe(s.Reason).Message, Detail: logging.Redact(s.Detail),
		StateBefore: string(s.State), Phase: s.Phase,
		Versions:    Versions{Service: r.o.Version, Browser: s.Browser.Product, Page: s.PageVersion},
		WorkerBytes: s.Worker.ResidentBytes,
		Timeline:    slices.Clone(r.timeline), Files: []string{},
	}
}

func (r *Recorder) enqueueLocked(j job) {
	select {
	case r.jobs <- j:
	default:
		r.o.Logger.Warn(logid.ReportDropped, logging.KeyGeneration, j.report.Generation, logging.KeyReason, string(j.report.Reason))
	}
}

func (r *Recorder) noteLocked(now time.Time, event, text string) {
	if event == "page" && r.saidLocked(event) == logging.Redact(text) {
		return // the worker repeats itself as evidence
	}
	if len(r.timeline) == steps {
		r.timeline = slices.Delete(r.timeline, 0, 1)
	}
	r.timeline = append(r.timeline, Step{At: now.UTC(), Event: event, Text: logging.Redact(text)})
}

// saidLocked is the text of the last step of that event.
func (r *Recorder) saidLocked(event string) string {
	for _, step := range slices.Backward(r.timeline) {
		if step.Event == event {
			return step.Text
		}
	}
	return ""
}

// describe puts a notice into words; an empty event means that it is not worth
// an entry. It never names a login string.
func describe(n worker.Notice) (event, text string) {
	switch n := n.(type) {
	case worker.Spawning:
		return "spawning", fmt.Sprintf("generation %d", n.Generation)
	case worker.WorkerStarted:
		return "worker_started", fmt.Sprintf("pid %d", n.PID)
	case worker.Exiting:
		return "ending", fmt.Sprintf("%s: %s", n.Reason, n.Detail)
	case worker.Exited:
		return "ended", fmt.Sprintf("%s, worker %s, Chrome %s", n.Reason, n.WorkerExit, n.ChromeExit)
	case worker.WorkerBinary:
		return "worker_binary", n.Refused
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
