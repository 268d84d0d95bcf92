package api

import (
	"fmt"
	"net/http"
	"time"

	"session-manager/supervisor/internal/session"
)

// maxWait bounds ?wait=. The server's write timeout is longer.
const maxWait = 60 * time.Second

// wait returns the present snapshot, or, with ?wait=25s, the first one that has
// what the caller waits for, or what there is after that time. enough is told
// the first snapshot, too.
func (a *api) wait(r *http.Request, enough func(first, now *session.Snapshot) bool) (*session.Snapshot, *problem) {
	snapshot, changed := a.Session.Changed()
	text := r.URL.Query().Get("wait")
	if text == "" {
		return snapshot, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 || d > maxWait {
		return nil, &problem{
			status: http.StatusBadRequest, code: "bad_wait",
			detail: fmt.Sprintf("wait=%.40q is no duration that is allowed.", text),
			hint:   fmt.Sprintf("Use a duration from 0s to %s, such as 25s.", maxWait),
		}
	}
	timeout := time.NewTimer(d)
	defer timeout.Stop()
	for first := snapshot; !enough(first, snapshot); snapshot, changed = a.Session.Changed() {
		select {
		case <-changed:
		case <-timeout.C:
			return a.Session.Snapshot(), nil
		case <-a.Draining:
			return a.Session.Snapshot(), nil
		case <-r.Context().Done():
			return a.Session.Snapshot(), nil
		}
	}
	return snapshot, nil
}
