package worker

import (
	"session-manager/shared/chrome"
	"session-manager/shared/reason"
)

// upgraded looks whether the browser was replaced on disk, or another one is what
// the setting leads to. A Chrome that runs on would start new helpers from the new
// files, and mix two versions. It must have stayed the same since the last look: a
// package has many files.
func (g *instance) upgraded() (RestartRequest, bool) {
	found, err := chrome.Find(g.s.o.Chrome)
	settled := err == nil && found == g.newChrome
	g.newChrome = found
	if !settled || found == g.plan.browser {
		return RestartRequest{}, false
	}
	return RestartRequest{Reason: reason.BrowserReplaced, Detail: "its file is a new one"}, true
}
