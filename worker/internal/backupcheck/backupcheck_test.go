package backupcheck_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-rod/rod/lib/proto"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"session-manager/scripts/simulator"
	"session-manager/shared/rpc"
	"session-manager/worker/internal/backupcheck"
	"session-manager/worker/internal/browser"
	"session-manager/worker/internal/browser/browsertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds every wait; it only matters when something is broken.
const patience = 2 * time.Minute

// rig is a profile that was linked and closed, and what to open it with.
type rig struct {
	chrome browser.Options
	url    string
	// asked counts the requests that the page's server has got.
	asked atomic.Int64
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{chrome: browsertest.Options(t)}
	sim, err := simulator.New(simulator.Options{Speed: 50})
	if err != nil {
		t.Fatal(err)
	}
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.asked.Add(1)
		sim.ServeHTTP(w, req)
	}))
	t.Cleanup(func() {
		sim.Close()
		site.Close()
	})
	r.url = site.URL + "/"
	r.link(t, sim)
	return r
}

// link makes the phone scan the page's code, and closes Chrome.
func (r *rig) link(t *testing.T, sim *simulator.Server) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	b := browsertest.Start(t, r.chrome)
	if _, err := b.Rod().Context(ctx).Page(proto.TargetCreateTarget{URL: r.url}); err != nil {
		t.Fatal(err)
	}
	if _, err := sim.Shown(ctx); err != nil {
		t.Fatal(err)
	}
	if err := sim.Scan(ctx); err != nil {
		t.Fatal(err)
	}
	if err := sim.Await(ctx, func(s simulator.Screen) bool { return s.Name == "MAIN" }); err != nil {
		t.Fatal(err)
	}
	if err := b.Close(ctx); err != nil {
		t.Fatal(err)
	}
}

// request is for a copy of the profile that change has had its way with.
func (r *rig) request(t *testing.T, change func(t *testing.T, profile string)) rpc.RunRequest {
	t.Helper()
	dir := browsertest.ShortDir(t)
	req := rpc.RunRequest{
		BackupDir: dir + "/copy", ProfileDir: dir + "/r", ScratchDir: dir + "/s",
		ChromePath: r.chrome.Path, ChromeVersion: r.chrome.Version, URL: r.url, VerifyLimit: patience,
	}
	if err := os.CopyFS(req.BackupDir, os.DirFS(r.chrome.ProfileDir)); err != nil {
		t.Fatal(err)
	}
	for _, folder := range []string{req.ProfileDir, req.ScratchDir} {
		if err := os.Mkdir(folder, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	change(t, filepath.Join(req.BackupDir, "Default"))
	return req
}

// sums are the checksums of what is below folder.
func sums(t *testing.T, folder string) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		found[path] = fmt.Sprintf("%x", sha256.Sum256(data))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// files are those of one of the page's databases.
func files(t *testing.T, profile, pattern string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(profile, pattern))
	if err != nil || len(found) == 0 {
		t.Fatalf("%s: %v, %v", pattern, found, err)
	}
	return found
}

func removing(pattern string) func(*testing.T, string) {
	return func(t *testing.T, profile string) {
		for _, path := range files(t, profile, pattern) {
			if err := os.RemoveAll(path); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// tearing overwrites the middle half of each file, so that the lengths of
// records that are read there are short: LevelDB takes a record that reaches beyond the
// end of its file as left by a writer that died, not as damage (log_reader.cc).
func tearing(pattern string) func(*testing.T, string) {
	return func(t *testing.T, profile string) {
		for _, path := range files(t, profile, pattern) {
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			copy(data[len(data)/4:], bytes.Repeat([]byte{1}, len(data)/2))
			if err := os.WriteFile(path, data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func whole(*testing.T, string) {}

// picky is a browser that does not start on a profile which holds the file "odd".
func picky(t *testing.T, chrome string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "chrome")
	script := `#!/bin/sh
for arg; do case "$arg" in --user-data-dir=*) [ ! -e "${arg#*=}/odd" ] || exit 1;; esac; done
exec ` + chrome + ` "$@"
`
	if err := os.WriteFile(path, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestOnlyACompleteBackupIsVerified(t *testing.T) {
	r := newRig(t)
	asked := r.asked.Load()
	odd := func(t *testing.T, profile string) {
		if err := os.WriteFile(profile+"/../odd", nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct {
		name   string
		change func(*testing.T, string)
		chrome string
		want   rpc.Outcome
		reason string
	}{
		{"it is whole", whole, r.chrome.Path, rpc.BackupVerified, ""},
		{"localStorage is gone", removing("Local Storage"), r.chrome.Path, rpc.BackupRejected, "localStorage lacks WANoiseInfo"},
		{"the databases are gone", removing("IndexedDB"), r.chrome.Path, rpc.BackupRejected, "no database"},
		{"the databases are torn", tearing("IndexedDB/*.leveldb/*.log"), r.chrome.Path, rpc.BackupRejected, "can't be opened"},
		{"Chrome does not start on it", odd, picky(t, r.chrome.Path), rpc.BackupRejected, "starts on an empty profile"},
		{"Chrome does not start at all", whole, "/bin/false", rpc.BackupInconclusive, "cannot start Chrome"},
		{"there is no Chrome", whole, "/nowhere", rpc.BackupInconclusive, "cannot run /nowhere"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			req := r.request(t, tt.change)
			req.ChromePath = tt.chrome
			before := sums(t, filepath.Dir(req.BackupDir))
			got := backupcheck.Check(t.Context(), req, slog.New(slog.DiscardHandler))
			if got.Outcome != tt.want || !strings.Contains(got.Detail, tt.reason) || (got.Detail == "") != (tt.want == rpc.BackupVerified) {
				t.Errorf("got %+v", got)
			}
			// The backup has not changed, and nothing is left next to it.
			if d := cmp.Diff(before, sums(t, filepath.Dir(req.BackupDir))); d != "" {
				t.Error(d)
			}
		})
	}
	if again := r.asked.Load(); again != asked {
		t.Errorf("the page's server was asked %d times", again-asked)
	}
}
