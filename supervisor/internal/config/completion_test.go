package config

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func script(t *testing.T, shell string) string {
	t.Helper()
	var out bytes.Buffer
	if err := WriteCompletion(&out, shell); err != nil {
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
	path := script(t, "bash")
	for words, want := range map[string]string{
		"supervisor --lis":             "--listen",
		"supervisor --tls":             "--tls-cert --tls-key",
		"supervisor doc":               "doctor",
		"supervisor completion z":      "zsh",
		"supervisor --log-level w":     "warn",
		"supervisor --log-level = w":   "warn",
		"supervisor --tokens /etc/pas": "/etc/passwd",
		"supervisor --headl":           "",
	} {
		list := strings.Fields(words)
		code := `source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($#-1)); _supervisor; echo "${COMPREPLY[@]}"`
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

func TestEachShellsScriptNamesEverything(t *testing.T) {
	for shell := range strings.FieldsSeq(shells) {
		content, err := os.ReadFile(script(t, shell))
		if err != nil {
			t.Fatal(err)
		}
		for _, word := range []string{"listen", "api-key-file", "print-config", "doctor", "completion", "serve"} {
			if !strings.Contains(string(content), word) {
				t.Errorf("%s: no %s", shell, word)
			}
		}
		if strings.Contains(string(content), "headless") {
			t.Errorf("%s: a hidden flag is offered", shell)
		}
		check, err := exec.LookPath(shell)
		if err != nil {
			continue
		}
		if out, err := exec.CommandContext(t.Context(), check, "-n", script(t, shell)).CombinedOutput(); err != nil {
			t.Errorf("%s can't read its script: %v %s", shell, err, out)
		}
	}
}

func TestNoCompletionForAnUnknownShell(t *testing.T) {
	if err := WriteCompletion(&bytes.Buffer{}, "tcsh"); !errors.Is(err, ErrUsage) {
		t.Errorf("got %v", err)
	}
}
