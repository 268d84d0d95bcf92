package metrics

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"session-manager/supervisor/internal/session"
)

// The dashboard can't be loaded here, but its metrics must exist, as those of the alerts
// must, and be of the instance that was chosen.
func TestAlertsAndDashboardUseExistingMetrics(t *testing.T) {
	now := time.Now()
	all := &session.Snapshot{
		State: session.QRRequired, Since: moment(now), Warnings: []session.Reason{{Code: "disk_full"}},
		Login: session.Login{PersistedAt: moment(now), BackupAt: moment(now), BackupVerifiedAt: moment(now)}, Evidence: session.Evidence{EvidenceAt: moment(now)}, Messaging: session.Messaging{Sending: &session.Sending{Possible: true}}, Reason: session.Reason{Code: "scan_qr"},
		QR: &session.QR{Generation: 1, Seq: 1, Reader: "dom", IssuedAt: moment(now), ExpiresAt: moment(now.Add(time.Hour))},
		Processes: session.Processes{
			Worker:   session.Worker{Generation: 1, PID: os.Getpid(), StartedAt: moment(now), HeartbeatAt: moment(now)},
			LastExit: &session.Exit{Generation: 1},
		},
	}
	m := fresh(t, all)
	m.Observe(&session.Snapshot{State: session.Init})
	m.Observe(all)
	m.Request("/status", "GET", 200, time.Millisecond)
	m.Delivery("delivered")
	families, err := m.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, f := range families {
		known[f.GetName()] = true
	}
	for _, name := range []string{"alerts.yml", "dashboard.json"} {
		content, err := os.ReadFile(filepath.Join("../../../scripts/monitoring", name))
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(name, ".json") && !json.Valid(content) {
			t.Errorf("%s is not valid JSON", name)
		}
		for _, expr := range regexp.MustCompile(`"expr": .*`).FindAllString(string(content), -1) {
			if strings.Count(expr, namespace) != strings.Count(expr, `{instance=~\"$instance\"`) {
				t.Errorf("%s has all instances in %s", name, expr)
			}
		}
		for _, metric := range regexp.MustCompile(`\bsession_manager_\w+`).FindAllString(string(content), -1) {
			if !known[strings.TrimSuffix(metric, "_bucket")] {
				t.Errorf("%s uses %s, which does not exist", name, metric)
			}
		}
	}
}
