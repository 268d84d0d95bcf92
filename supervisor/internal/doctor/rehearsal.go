package doctor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"session-manager/shared/lease"
	"session-manager/shared/logging"
	"session-manager/shared/reason"
	"session-manager/shared/rpc"
	"session-manager/supervisor/internal/profile"
	"session-manager/supervisor/internal/restart"
	"session-manager/supervisor/internal/session"
	"session-manager/supervisor/internal/worker"
)

// rehearsalTimeout bounds a rehearsal. A page that does not load is given up after a
// minute and a half.
const rehearsalTimeout = 150 * time.Second

// act is how far a rehearsal went.
type act struct {
	// spoke: the worker has shaken hands. browser is nil until Chrome has started.
	spoke   bool
	browser *rpc.BrowserStarted
	// page is the session as it was at the end, and showsQR whether it had a QR then.
	page    session.Snapshot
	showsQR bool
	// why is what ended the rehearsal early, with phase and what Chrome wrote last; its code
	// is empty when the page was understood.
	why    session.Reason
	phase  string
	stderr []string
	took   time.Duration
}

// rehearsal follows the worker and the session of a rehearsal.
type rehearsal struct {
	mu     sync.Mutex
	act    act // guarded by mu
	failed chan struct{}
}

// rehearse runs what the service runs, except for its API, on a new profile next to the real
// one, until the page is understood or something has failed. Nothing of it is left. The
// error is of this rehearsal, not of the service.
func (o Options) rehearse(ctx context.Context) (act, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, rehearsalTimeout, errors.New("nothing was decided in time"))
	defer cancel()
	folder, err := o.stage()
	if err != nil {
		return act{}, err
	}
	defer func() { _ = os.RemoveAll(folder) }()
	workers, release, err := o.Workers(folder)
	if err != nil {
		return act{}, err
	}
	defer release()
	r := &rehearsal{failed: make(chan struct{}, 1)}
	begun := time.Now()
	manager, s := worker.New(workers), session.New(o.Limits, slog.New(slog.DiscardHandler))
	manager.Subscribe(r.observe)
	manager.Subscribe(s.Notify)
	running, stop := context.WithCancel(ctx)
	var loops sync.WaitGroup
	defer loops.Wait()
	ended := make(chan error, 1)
	loops.Go(func() { s.Run(running) })
	loops.Go(func() { ended <- manager.Run(running, noHooks{}) })
	defer stop()
	for {
		snapshot, changed := s.Changed()
		if settled(snapshot) {
			return r.end(snapshot, begun), nil
		}
		select {
		case <-changed:
		case <-r.failed:
			return r.end(snapshot, begun), nil
		case err := <-ended:
			return act{}, cmp.Or(err, context.Cause(ctx))
		case <-ctx.Done():
			return act{}, context.Cause(ctx)
		}
	}
}

// stagePrefix begins the names of the folders of rehearsals.
const stagePrefix = "doctor-"

// stage makes a folder for a rehearsal in the tokens folder, so that it is on the same file
// system, or in the one for temporary files when that is missing. Those that a killed doctor
// left are removed.
func (o Options) stage() (string, error) {
	parent := o.Config.Tokens
	if profile.TryWrite(parent) != nil {
		parent = os.TempDir()
	}
	left, _ := filepath.Glob(filepath.Join(parent, stagePrefix+"*"))
	for _, folder := range left {
		lock := filepath.Join(folder, "admin.lock")
		info, err := os.Lstat(folder)
		if err != nil || time.Since(info.ModTime()) < 2*rehearsalTimeout || !ownFile(folder, unix.S_IFDIR) || !ownFile(lock, unix.S_IFREG) {
			continue
		}
		if free, err := lease.Free(lock); err == nil && free {
			_ = os.RemoveAll(folder)
		}
	}
	folder, err := os.MkdirTemp(parent, stagePrefix)
	if err != nil {
		return "", fmt.Errorf("cannot make folder: %w", err)
	}
	return folder, nil
}

// ownFile reports whether path is a file of this type and of this user: in the folder for
// temporary files others choose names too.
func ownFile(path string, kind uint32) bool {
	var stat unix.Stat_t
	return unix.Lstat(path, &stat) == nil && stat.Mode&unix.S_IFMT == kind && int(stat.Uid) == os.Geteuid()
}

// observe is called with every notice.
func (r *rehearsal) observe(n worker.Notice) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch n := n.(type) {
	case worker.FromWorker:
		r.act.spoke = true
		if b, ok := n.Event.Body.(rpc.BrowserStarted); ok {
			r.act.browser = &b
		}
	case worker.Blocked:
		r.fail(n.Reason, n.Detail, "", nil)
	case worker.Exited:
		if n.Class != restart.Planned {
			r.fail(n.Reason, cmp.Or(n.Detail, n.WorkerExit), n.Phase, n.ChromeStderr)
		}
	}
}

// fail notes the first failure; the caller holds mu.
func (r *rehearsal) fail(code reason.Code, detail, phase string, stderr []string) {
	if r.act.why.Code != "" {
		return
	}
	r.act.why, r.act.phase, r.act.stderr = session.NewReason(code, detail, time.Now()), phase, stderr
	r.failed <- struct{}{}
}

func (r *rehearsal) end(s *session.Snapshot, begun time.Time) act {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.act.page, r.act.showsQR, r.act.took = *s, s.FreshQR(time.Now()) != nil, time.Since(begun).Round(100*time.Millisecond)
	return r.act
}

// settled reports whether the service would stay in this state until somebody acts.
func settled(s *session.Snapshot) bool {
	switch s.State {
	case session.QRRequired:
		return s.FreshQR(time.Now()) != nil || s.Reason.Code != reason.ScanQR
	case session.Init:
		return false
	default:
		return true
	}
}

// noHooks leave the login alone, as there is nothing to care for.
type noHooks struct{}

func (noHooks) Hold(worker.Urgency) time.Time { return time.Time{} }

func (noHooks) BeforeStart(context.Context, *profile.Profile, worker.Start) error { return nil }

func (noHooks) AfterStop(context.Context, *profile.Profile, worker.Closing) {}

// checkRehearsal makes the findings of one rehearsal: of the worker, of Chrome, and of the page.
func (o Options) checkRehearsal(ctx context.Context) []Finding {
	a, err := o.rehearse(ctx)
	if err != nil {
		return []Finding{bad("no worker could be tried: %v", err).do("see the other findings").of("worker")}
	}
	w := a.worker().of("worker")
	w.Found = strings.ReplaceAll(w.Found, "{worker}", o.Config.Worker)
	return []Finding{w, a.start().of("Chrome's start"), a.shown().of("WhatsApp")}
}

// notTried is the finding of what a failure has prevented.
func notTried() Finding { return Finding{Found: "not tried, as something before it failed"} }

// failure is the finding of a reason of the service's.
func failure(r session.Reason) Finding {
	f := bad("%s (%s)", strings.TrimSuffix(r.Message, "."), r.Code)
	if r.Detail != "" {
		f.Found += ": " + logging.Redact(r.Detail)
	}
	return f.do("%s", cmp.Or(r.Action, "start the service; the log event worker_exited has more"))
}

func (a act) worker() Finding {
	switch {
	case a.spoke:
		return good("{worker}, which shakes hands")
	case a.why.Code == reason.BrowserMissing, a.why.Code == reason.BrowserUnsupported: // another finding has it
		return notTried()
	}
	return failure(a.why)
}

func (a act) start() Finding {
	switch {
	case !a.spoke:
		return notTried()
	case a.browser == nil && a.why.Code == reason.BrowserStartFailed && len(a.stderr) > 0:
		f := failure(a.why)
		return f.do("Chrome's last line was: %s", a.stderr[len(a.stderr)-1])
	case a.browser == nil:
		return failure(a.why)
	case !a.browser.Sandbox && os.Geteuid() == 0:
		return warning("%s starts, without its sandbox, as this is root", a.browser.Product).do("run the service as its own user")
	case !a.browser.Sandbox:
		return warning("%s starts, without its sandbox", a.browser.Product).do("remove --no-sandbox from --chrome-arg")
	}
	return good("%s starts, with its sandbox", a.browser.Product)
}

// shown is the finding of the page.
func (a act) shown() Finding {
	switch {
	case a.browser == nil:
		return notTried()
	case a.why.Code != "":
		return failure(a.why)
	case a.page.State == session.Error:
		return failure(a.page.Reason)
	case a.showsQR:
		return good("the page shows a QR after %s", a.took)
	case a.page.Reason.Code == reason.ScanQR:
		return good("the page asks for a phone after %s", a.took)
	}
	f := failure(a.page.Reason)
	f.Mark = Warning
	return f
}
