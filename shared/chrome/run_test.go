package chrome

import (
	"testing"
)

func TestTryReportsWhetherABrowserStarts(t *testing.T) {
	if err := Try(t.Context(), "/bin/false", nil); err == nil {
		t.Error("one that fails is reported to start")
	}
	if err := Try(t.Context(), "/nonexistent", nil); err == nil {
		t.Error("one that is missing is reported to start")
	}
	browser, err := Find("")
	if err != nil {
		t.Skip("no browser: apt-get install chromium")
	}
	if err := Try(t.Context(), browser.Path, nil); err != nil {
		t.Error(err)
	}
}
