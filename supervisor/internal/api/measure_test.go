package api

import (
	"strings"
	"testing"

	"session-manager/supervisor/internal/session"
)

func TestRequestsAreCountedByRouteMethodAndStatus(t *testing.T) {
	s := serve(t, newFakeSession(session.Snapshot{State: session.Init, Evidence: session.Evidence{Progress: -1}}), fakeCommands{})
	for _, path := range []string{"/status", "/status", "/qr.png", "/status?wait=x", "/nowhere", "/elsewhere"} {
		get(t, s, path)
	}
	ask(t, s, "PUT", "/status", nil)
	got := get(t, s, "/metrics")
	for _, want := range []string{
		`{method="GET",route="/status",status="200"} 2`,
		`{method="GET",route="/status",status="400"} 1`,
		`{method="other",route="/status",status="405"} 1`,
		`{method="GET",route="/qr.png",status="404"} 1`,
		`{method="GET",route="none",status="404"} 2`,
		"session_manager_http_requests_in_flight 1",
	} {
		if !strings.Contains(got.body, want) {
			t.Errorf("no %s", want)
		}
	}
}
