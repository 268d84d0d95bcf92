package api

import (
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"session-manager/shared/reason"
	"session-manager/supervisor/internal/crash"
	"session-manager/supervisor/internal/session"
)

// withReport serves a report, and returns its id.
func withReport(t *testing.T) (*httptest.Server, string) {
	t.Helper()
	store := crash.NewStore(t.TempDir())
	id, err := store.Add(crash.Report{
		Kind: crash.Exit, Exit: session.Exit{At: moment(time.Now()), Generation: 3, Reason: reason.BrowserCrashed}, Message: "m", StateBefore: "READY",
		Timeline: []crash.Step{{At: time.Now(), Event: "spawning"}}, Files: []string{},
	}, map[string][]byte{"worker.stderr": []byte("last words"), "screenshot.png": []byte("\x89PNG")})
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(made(t, Options{Session: newFakeSession(session.Snapshot{}), Crashes: store}).router())
	t.Cleanup(s.Close)
	return s, id
}

func TestReportsAreListedAndRead(t *testing.T) {
	s, id := withReport(t)
	var list struct{ Crashes []crash.Report }
	if err := json.Unmarshal([]byte(get(t, s, "/crashes").body), &list); err != nil {
		t.Fatal(err)
	}
	if len(list.Crashes) != 1 || list.Crashes[0].ID != id || len(list.Crashes[0].Timeline) != 0 {
		t.Errorf("list: %+v", list)
	}
	var whole crash.Report
	if err := json.Unmarshal([]byte(get(t, s, "/crashes/"+id).body), &whole); err != nil {
		t.Fatal(err)
	}
	if whole.ID != id || len(whole.Timeline) != 1 || len(whole.Files) != 2 {
		t.Errorf("report: %+v", whole)
	}
}

func TestOnlyFilesOfReportsAreServed(t *testing.T) {
	s, id := withReport(t)
	if got := get(t, s, "/crashes/"+id+"/worker.stderr"); got.body != "last words" || !strings.HasPrefix(got.header.Get("Content-Type"), "text/plain") {
		t.Errorf("stderr: %d %s", got.status, got.body)
	}
	if got := get(t, s, "/crashes/"+id+"/screenshot.png"); got.body != "\x89PNG" || got.header.Get("Content-Type") != "image/png" {
		t.Errorf("screenshot: %d", got.status)
	}
	for _, path := range []string{"/crashes/none", "/crashes/..%2f..", "/crashes/" + id + "/none", "/crashes/" + id + "/report.json", "/crashes/" + id + "/..%2freport.json"} {
		if got := get(t, s, path); got.status != 404 {
			t.Errorf("%s: %d", path, got.status)
		}
	}
}
