package supervise

import (
	"session-manager/shared/reason"
	"session-manager/supervisor/internal/watch"
)

// upgraded looks whether the browser was replaced on disk. A Chrome that runs on
// would start new helpers from the new files, and mix two versions. It must have
// stayed the same since the last look: a package has many files.
func (g *generation) upgraded() (Wish, bool) {
	file := watch.Sign(g.plan.browser.Path)
	settled := file == g.newChrome
	g.newChrome = file
	if !settled || file == g.plan.chrome || file == (watch.Signature{}) {
		return Wish{}, false
	}
	return Wish{Reason: reason.BrowserReplaced, Detail: "its file is a new one"}, true
}
