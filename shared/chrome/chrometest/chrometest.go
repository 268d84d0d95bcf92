// Package chrometest chooses the browser of tests that do not depend on the engine.
package chrometest

import (
	"os/exec"

	"session-manager/shared/chrome"
)

// Light returns the path of chromium-headless-shell, which takes half of the processor time
// that chromium takes. It is empty where that is missing, and where google-chrome-stable is
// installed: with that, and as that with each engine of make test-engines, everything is tested.
func Light() string {
	if _, err := exec.LookPath("google-chrome-stable"); err == nil {
		return ""
	}
	found, err := chrome.Find("chromium-headless-shell")
	if err != nil {
		return ""
	}
	return found.Path
}
