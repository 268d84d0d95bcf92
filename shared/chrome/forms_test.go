package chrome

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"session-manager/shared/reason"
)

// placeholder is what Ubuntu's chromium-browser does.
const placeholder = `
if ! [ -x /snap/bin/chromium ]; then
    echo "Command '$0' requires the chromium snap to be installed." >&2
    exit 1
fi
exec /snap/bin/chromium "$@"`

func TestConfinedChromeIsExplainedOrPassedOver(t *testing.T) {
	for name, make := range map[string]func(t *testing.T, dir string){
		"snap": func(t *testing.T, dir string) {
			program(t, dir, "snap", "echo snap 2.63+22.04")
			if err := os.Symlink("snap", filepath.Join(dir, "chromium")); err != nil {
				t.Fatal(err)
			}
		},
		"placeholder for the snap": func(t *testing.T, dir string) { program(t, dir, "chromium", placeholder) },
		"flatpak": func(t *testing.T, dir string) {
			program(t, dir, "chromium", `exec /usr/bin/flatpak run --branch=stable --command=/app/bin/chromium org.chromium.Chromium "$@"`)
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			t.Setenv("PATH", dir)
			make(t, dir)
			what, _, _ := strings.Cut(name, " ")
			for _, setting := range []string{"", "chromium", filepath.Join(dir, "chromium")} {
				_, err := Find(setting)
				if reason.Of(err, "") != reason.BrowserMissing || !strings.Contains(err.Error(), what) ||
					!strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), "google-chrome-stable") {
					t.Errorf("%q: got %v", setting, err)
				}
			}
			want := program(t, dir, "chromium-browser", `exec /usr/lib/chromium-browser/chromium-browser "$@"`)
			if b, err := Find(""); err != nil || b.Path != want {
				t.Errorf("got %s, %v; want the next browser, %s", b.Path, err, want)
			}
		})
	}
}

func TestHugeOrUnreadableBrowserIsNoScript(t *testing.T) {
	path := filepath.Join(t.TempDir(), "chrome")
	if err := os.WriteFile(path, []byte("\x7fELF /snap/bin/"+strings.Repeat("x", 1<<20)), 0o711); err != nil {
		t.Fatal(err)
	}
	if b, err := Find(path); err != nil || b.Path != path {
		t.Errorf("got %s, %v", b.Path, err)
	}
}
