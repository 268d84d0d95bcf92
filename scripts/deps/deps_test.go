// Package deps holds the dependency rules of the tree as tests, each with its
// reason.
package deps

import (
	"os/exec"
	"strings"
	"testing"
)

// listed returns the import paths that pattern depends on, tests left out.
func listed(t *testing.T, pattern string) map[string]bool {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", pattern).Output()
	if err != nil {
		t.Fatalf("go list -deps %s: %v", pattern, err)
	}
	deps := map[string]bool{}
	for dep := range strings.FieldsSeq(string(out)) {
		deps[dep] = true
	}
	return deps
}

func TestDependenciesPointTheRightWay(t *testing.T) {
	tests := []struct{ from, never, because string }{
		{"session-manager/supervisor", "session-manager/worker", "the two processes meet in shared/ only"},
		{"session-manager/supervisor", "github.com/go-rod/rod", "the supervisor never touches a browser"},
		{"session-manager/worker", "session-manager/supervisor", "the two processes meet in shared/ only"},
		{"session-manager/worker", "github.com/gorilla/mux", "the worker speaks no HTTP"},
		{"session-manager/supervisor", "session-manager/scripts", "no shipped binary knows the simulator"},
		{"session-manager/worker", "session-manager/scripts", "no shipped binary knows the simulator"},
		{"session-manager/shared/...", "session-manager/supervisor", "shared is below both processes"},
		{"session-manager/shared/...", "session-manager/worker", "shared is below both processes"},
		{"session-manager/scripts/simulator/...", "session-manager/shared", "a simulator that shares constants with the product agrees with its typos"},
		{"session-manager/scripts/simulator/...", "session-manager/worker", "a simulator that shares constants with the product agrees with its typos"},
		{"session-manager/scripts/simulator/...", "session-manager/supervisor", "a simulator that shares constants with the product agrees with its typos"},
	}
	for _, tt := range tests {
		t.Run(tt.from+" without "+tt.never, func(t *testing.T) {
			for dep := range listed(t, tt.from) {
				if dep == tt.never || strings.HasPrefix(dep, tt.never+"/") {
					t.Errorf("%s depends on %s, but %s", tt.from, dep, tt.because)
				}
			}
		})
	}
}
