package config

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func script(t *testing.T) string {
	t.Helper()
	var out bytes.Buffer
	if err := WriteCompletion(&out); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "completion")
	if err := os.WriteFile(path, out.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestBashCompletesFlagsCommandsAndValues(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("bash is missing")
	}
	path := script(t)
	for words, want := range map[string]string{
		"supervisor --lis":                  "--listen",
		"supervisor --tls":                  "--tls-cert --tls-key",
		"supervisor doc":                    "doctor",
		"supervisor --log-level w":          "warn",
		"supervisor --log-format j":         "json",
		"session-manager --log-f":           "--log-format",
		"supervisor --log-format t":         "text",
		"supervisor --log-level = w":        "warn",
		"supervisor --tokens /etc/pas":      "/etc/passwd",
		"supervisor --headl":                "",
		"supervisor st":                     "status",
		"supervisor send --id":              "--idempotency-key",
		"supervisor status --w":             "--wait",
		"supervisor qr --w":                 "",
		"supervisor pair --key /etc/pas":    "",
		"supervisor qr --key-file /etc/pas": "/etc/passwd",
	} {
		list := strings.Fields(words)
		code := `source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($#-1)); complete -p "$1" >/dev/null && _supervisor; echo "${COMPREPLY[@]}"`
		args := append([]string{"--norc", "-c", code, "bash", path}, list...)
		out, err := exec.CommandContext(t.Context(), bash, args...).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		got := strings.TrimSpace(string(out))
		if want == "/etc/passwd" && strings.Contains(got, want) {
			continue
		}
		if got != want {
			t.Errorf("%s: got %q, want %q", words, got, want)
		}
	}
}
