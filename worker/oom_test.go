package main

import (
	"os"
	"path/filepath"
	"testing"
)

func TestRaiseOOMScoreRaisesAndNeverLowers(t *testing.T) {
	for before, after := range map[string]string{"-500\n": "300", "0\n": "300", "300\n": "300\n", "1000\n": "1000\n"} {
		path := filepath.Join(t.TempDir(), "oom_score_adj")
		if err := os.WriteFile(path, []byte(before), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := raiseOOMScore(path); err != nil {
			t.Error(err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != after {
			t.Errorf("%q became %q, %v", before, got, err)
		}
	}
	if err := raiseOOMScore(filepath.Join(t.TempDir(), "absent")); err == nil {
		t.Error("a missing file is no error")
	}
}
