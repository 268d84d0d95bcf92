package override

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const good = "../../../shared/selectors/selectors.json"

func TestLastGoodFileStaysInForce(t *testing.T) {
	valid, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "selectors.json")
	f := New(path)
	put := func(content string) error {
		t.Helper()
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return f.Load()
	}
	if err := f.Load(); err != nil || f.State().File != nil {
		t.Fatalf("without a file: %v", err)
	}
	if err := put(string(valid)); err != nil || string(f.State().File) != string(valid) {
		t.Fatalf("a valid file: %v", err)
	}
	for name, bad := range map[string]string{
		"empty": "", "cut": string(valid[:len(valid)/2]), "a key more": strings.Replace(string(valid), `"format"`, `"fromat": 1, "format"`, 1),
		"too large": string(valid) + strings.Repeat(" ", maxSize),
	} {
		err := put(bad)
		if err == nil || f.State().Refused == "" || string(f.State().File) != string(valid) {
			t.Errorf("%s: got %v, %q", name, err, f.State().Refused)
		}
		if name != "too large" && !strings.Contains(f.State().Refused, "line ") {
			t.Errorf("%s: %q names no line", name, f.State().Refused)
		}
	}
	if err := put(string(valid)); err != nil || f.State().Refused != "" {
		t.Errorf("mended: %v", err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := f.Load(); err != nil || f.State().File != nil {
		t.Errorf("removed: %v", err)
	}
}
