package metrics

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"session-manager/shared/reason"
	"session-manager/supervisor/internal/outbox"
	"session-manager/supervisor/internal/session"
)

func moment(t time.Time) session.Moment { return session.Moment{Time: t} }

func fresh(t *testing.T, s *session.Snapshot) *Metrics {
	t.Helper()
	return New("v1", s, func() uint64 { return 7 })
}

func compare(t *testing.T, m *Metrics, want string, names ...string) {
	t.Helper()
	if err := testutil.GatherAndCompare(m.registry, strings.NewReader(want), names...); err != nil {
		t.Error(err)
	}
}

func TestTransitionsExitsAndCodesAreCountedOnce(t *testing.T) {
	m := fresh(t, &session.Snapshot{State: session.Init})
	start := time.Now()
	s := session.Snapshot{State: session.Init, Processes: session.Processes{Worker: session.Worker{Generation: 1, StartedAt: moment(start)}}}
	step := func(change func()) {
		change()
		next := s
		m.Observe(&next)
		m.Observe(&next)
	}
	step(func() {})
	step(func() {
		s.State = session.QRRequired
		s.QR = &session.QR{Generation: 1, Seq: 1, Reader: "dom", IssuedAt: moment(start.Add(4 * time.Second))}
	})
	step(func() {
		s.QR = &session.QR{Generation: 1, Seq: 2, Reader: "screenshot", IssuedAt: moment(start.Add(24 * time.Second))}
	})
	step(func() {
		s.State, s.QR = session.Init, nil
		s.LastExit = &session.Exit{Generation: 1, Class: "transient", Reason: reason.BrowserCrashed}
	})
	step(func() { s.Worker = session.Worker{Generation: 2, StartedAt: moment(start.Add(30 * time.Second))} })
	step(func() {
		s.State = session.QRRequired
		s.QR = &session.QR{Generation: 2, Seq: 1, Reader: "dom", IssuedAt: moment(start.Add(32 * time.Second))}
	})
	compare(t, m, `
# HELP session_manager_qr_codes_total Different QR codes that the page showed, by the reader that found them.
# TYPE session_manager_qr_codes_total counter
session_manager_qr_codes_total{reader="dom"} 2
session_manager_qr_codes_total{reader="screenshot"} 1
# HELP session_manager_session_transitions_total Changes of the session's state.
# TYPE session_manager_session_transitions_total counter
session_manager_session_transitions_total{from="INIT",to="QR_REQUIRED"} 2
session_manager_session_transitions_total{from="QR_REQUIRED",to="INIT"} 1
# HELP session_manager_worker_exits_total Workers that exited, by cause. Those of the class planned were asked to.
# TYPE session_manager_worker_exits_total counter
session_manager_worker_exits_total{class="transient",reason="browser_crashed"} 1
`, "session_manager_qr_codes_total", "session_manager_session_transitions_total", "session_manager_worker_exits_total")
	compare(t, m, `
# HELP session_manager_qr_first_seconds Time from the start of a worker to its first QR.
# TYPE session_manager_qr_first_seconds histogram
session_manager_qr_first_seconds_bucket{le="1"} 0
session_manager_qr_first_seconds_bucket{le="2"} 1
session_manager_qr_first_seconds_bucket{le="3"} 1
session_manager_qr_first_seconds_bucket{le="5"} 2
session_manager_qr_first_seconds_bucket{le="8"} 2
session_manager_qr_first_seconds_bucket{le="13"} 2
session_manager_qr_first_seconds_bucket{le="21"} 2
session_manager_qr_first_seconds_bucket{le="34"} 2
session_manager_qr_first_seconds_bucket{le="60"} 2
session_manager_qr_first_seconds_bucket{le="120"} 2
session_manager_qr_first_seconds_bucket{le="+Inf"} 2
session_manager_qr_first_seconds_sum 6
session_manager_qr_first_seconds_count 2
`, "session_manager_qr_first_seconds")
}

func TestHeartbeatsAreTimedWithinOneWorker(t *testing.T) {
	m := fresh(t, &session.Snapshot{})
	start := time.Now()
	for _, beat := range []struct {
		generation uint64
		after      time.Duration
	}{{1, 0}, {1, time.Second}, {1, time.Second}, {1, 3 * time.Second}, {2, 60 * time.Second}, {2, 61 * time.Second}} {
		m.Observe(&session.Snapshot{Processes: session.Processes{
			Worker: session.Worker{Generation: beat.generation, HeartbeatAt: moment(start.Add(beat.after))},
		}})
	}
	families, err := m.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "session_manager_worker_heartbeat_interval_seconds" {
			h := f.GetMetric()[0].GetHistogram()
			if h.GetSampleCount() != 3 || h.GetSampleSum() != 4 {
				t.Errorf("%d intervals of %g s", h.GetSampleCount(), h.GetSampleSum())
			}
		}
	}
}

func TestPresentStateIsOneOthersAreZero(t *testing.T) {
	m := fresh(t, &session.Snapshot{State: session.Ready})
	compare(t, m, `
# HELP session_manager_session_state 1 for the present state, 0 for the others.
# TYPE session_manager_session_state gauge
session_manager_session_state{state="AUTHENTICATED"} 0
session_manager_session_state{state="DISCONNECTED"} 0
session_manager_session_state{state="ERROR"} 0
session_manager_session_state{state="INIT"} 0
session_manager_session_state{state="QR_REQUIRED"} 0
session_manager_session_state{state="READY"} 1
# HELP session_manager_qr_available 1 while there is a QR that a phone could scan.
# TYPE session_manager_qr_available gauge
session_manager_qr_available 0
`, "session_manager_session_state", "session_manager_qr_available", "session_manager_qr_age_seconds", "session_manager_session_evidence_age_seconds")
}

func TestOutboxAndSendingAreExported(t *testing.T) {
	m := fresh(t, &session.Snapshot{Messaging: session.Messaging{Sending: &session.Sending{NewChats: session.NewChats{Capped: true, Used: 3, Quota: 3}}}})
	m.Outbox(func() outbox.Stats {
		return outbox.Stats{ByStatus: map[outbox.Status]int{outbox.Queued: 2, outbox.Sent: 1}}
	})
	m.Attempt("stored")
	compare(t, m, `
# HELP session_manager_new_chats_quota New chats that WhatsApp allows in the present cycle, 0 for no limit.
# TYPE session_manager_new_chats_quota gauge
session_manager_new_chats_quota 3
# HELP session_manager_new_chats_restricted 1 while WhatsApp does not let the account write to new people.
# TYPE session_manager_new_chats_restricted gauge
session_manager_new_chats_restricted 1
# HELP session_manager_outbox_attempts_total Attempts to send a message: stored by the page, failed, unknown, or deferred; damaged: a message in the database could not be read.
# TYPE session_manager_outbox_attempts_total counter
session_manager_outbox_attempts_total{result="stored"} 1
# HELP session_manager_outbox_messages Messages that are kept, by status.
# TYPE session_manager_outbox_messages gauge
session_manager_outbox_messages{status="queued"} 2
session_manager_outbox_messages{status="sent"} 1
# HELP session_manager_sending_possible 1 while the page can send messages; absent while that is not known.
# TYPE session_manager_sending_possible gauge
session_manager_sending_possible 0
`, "session_manager_new_chats_quota", "session_manager_new_chats_restricted", "session_manager_outbox_attempts_total",
		"session_manager_outbox_messages", "session_manager_sending_possible", "session_manager_outbox_oldest_age_seconds")
}

func TestLoginAndWarningsAreExported(t *testing.T) {
	s := &session.Snapshot{Login: session.Login{PersistedAt: moment(time.Now())}, Warnings: session.Reasons{{Code: reason.DiskFull}, {Code: reason.SavingSlow}}}
	compare(t, fresh(t, s), `
# HELP session_manager_login_saved 1 while there is a login on disk.
# TYPE session_manager_login_saved gauge
session_manager_login_saved 1
# HELP session_manager_session_warning Always 1 while something needs attention but leaves the state alone, with the reason in its label.
# TYPE session_manager_session_warning gauge
session_manager_session_warning{reason="disk_full"} 1
session_manager_session_warning{reason="saving_slow"} 1
# HELP session_manager_session_warnings How many things need attention but leave the state alone.
# TYPE session_manager_session_warnings gauge
session_manager_session_warnings 2
`, "session_manager_login_saved", "session_manager_session_warning", "session_manager_session_warnings", "session_manager_login_backup_age_seconds")
	s.Login.LoggedOutAt = moment(time.Now())
	compare(t, fresh(t, s), `
# HELP session_manager_login_saved 1 while there is a login on disk.
# TYPE session_manager_login_saved gauge
session_manager_login_saved 0
`, "session_manager_login_saved")
}

func TestMemoryIncludesAllBelowTheWorker(t *testing.T) {
	// A shell for the worker, and two sleepers for Chrome.
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-c", "sleep 60 & sleep 60 & echo started; read end; kill %1 %2")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_, _ = io.WriteString(in, "\n")
		_ = cmd.Wait()
	}()
	if _, err := out.Read(make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	got, chrome := measure(cmd.Process.Pid)
	if chrome != 2 || got["chrome"] == 0 || got["worker"] == 0 || got["supervisor"] < 1<<20 {
		t.Errorf("got %+v", got)
	}
	if none, chrome := measure(0); chrome != 0 || none["worker"] != 0 || none["supervisor"] == 0 {
		t.Errorf("without a worker: got %+v", none)
	}
}

func TestMetricsAreNamedAndFormattedAsPrometheusWants(t *testing.T) {
	now := time.Now()
	m := fresh(t, &session.Snapshot{
		State: session.QRRequired, Since: moment(now), Reason: session.Reason{Code: reason.ScanQR}, Evidence: session.Evidence{EvidenceAt: moment(now)},
		QR:        &session.QR{Generation: 1, Seq: 1, Reader: "dom", IssuedAt: moment(now), ExpiresAt: moment(now.Add(time.Minute))},
		Processes: session.Processes{Worker: session.Worker{Generation: 1, PID: os.Getpid(), StartedAt: moment(now), HeartbeatAt: moment(now)}},
	})
	m.Request("/status", http.MethodGet, 200, time.Millisecond)
	m.Request("/status", "BREW", 405, time.Millisecond)
	m.Delivery("delivered")
	m.Listeners.Set(3)
	problems, err := testutil.GatherAndLint(m.registry)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil))
	for _, want := range []string{
		`session_manager_http_requests_total{method="other",route="/status",status="405"} 1`,
		`session_manager_qr_reader{reader="dom"} 1`, `session_manager_session_reason{reason="scan_qr"} 1`,
		`session_manager_build_info{go="go`, `session_manager_events_listeners 3`, "session_manager_qr_expires_in_seconds 59.",
	} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("no %s", want)
		}
	}
}

func TestInvalidUTF8InALabelIsHarmless(t *testing.T) {
	s := &session.Snapshot{
		State: session.QRRequired, QR: &session.QR{Generation: 1, Seq: 1, Reader: "\xff", ExpiresAt: moment(time.Now().Add(time.Hour))},
	}
	m := fresh(t, &session.Snapshot{})
	m.Observe(s)
	if _, err := m.registry.Gather(); err != nil {
		t.Error(err)
	}
}
