// Package monitoring tests the alerts for Prometheus with its own tool.
package monitoring

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"session-manager/scripts/harness"
)

func TestEachAlertIsForOneInstance(t *testing.T) {
	alerts, err := os.ReadFile("alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	tests, err := os.ReadFile("alerts_test.yml")
	if err != nil {
		t.Fatal(err)
	}
	for _, alert := range regexp.MustCompile(`alert: (\w+)`).FindAllStringSubmatch(string(alerts), -1) {
		if !strings.Contains(string(tests), `alertname="`+alert[1]+`"`) {
			t.Errorf("%s is not tested", alert[1])
		}
	}
	promtool, err := harness.Tool(t.Context(), "promtool")
	if err != nil {
		t.Skip(err)
	}
	if out, err := exec.CommandContext(t.Context(), promtool, "test", "rules", "alerts_test.yml").CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}
