package persist_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/go-rod/rod/lib/proto"

	"session-manager/worker/internal/browser"
	"session-manager/worker/internal/browser/browsertest"
	"session-manager/worker/internal/persist"
)

func serve(t *testing.T) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = w.Write([]byte("<!doctype html><title>t</title>"))
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func start(t *testing.T, o browser.Options) *browser.Browser {
	t.Helper()
	b, err := browser.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close(context.Background()) })
	return b
}

// write has the page put the keys into its localStorage.
func write(t *testing.T, b *browser.Browser, url string, keys ...string) {
	t.Helper()
	page, err := b.Rod().Context(t.Context()).Page(proto.TargetCreateTarget{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	if err := page.WaitLoad(); err != nil {
		t.Fatal(err)
	}
	if _, err := page.Eval(`keys => keys.forEach(k => localStorage.setItem(k, "v"))`, keys); err != nil {
		t.Fatal(err)
	}
}

// awaitStored asks until the keys are on disk. There is no event when
// Chrome commits them.
func awaitStored(t *testing.T, o browser.Options, url string, keys ...string) {
	t.Helper()
	for deadline := time.Now().Add(90 * time.Second); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		stored, err := persist.Stored(o.ProfileDir, o.ScratchDir, url, keys)
		if err != nil {
			t.Logf("this time: %v", err)
		}
		if stored {
			return
		}
	}
	t.Fatal("the keys never reached the disk")
}

func TestStoredKeysSurviveAKillOfChrome(t *testing.T) {
	browsertest.InChrome(t)
	o := browsertest.Options(t)
	url := serve(t)
	b := start(t, o)
	write(t, b, url, "first", "second")
	awaitStored(t, o, url, "first", "second")
	if err := syscall.Kill(b.PID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-b.Done()
	again := start(t, o)
	page, err := again.Rod().Context(t.Context()).Page(proto.TargetCreateTarget{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	if err := page.WaitLoad(); err != nil {
		t.Fatal(err)
	}
	got, err := page.Eval(`() => [localStorage.getItem("first"), localStorage.getItem("second")].join()`)
	if err != nil || got.Value.Str() != "v,v" {
		t.Errorf("got %v, %v", got, err)
	}
}

// Chrome's own limit is one write a minute, so that the second one shows whether it was
// lifted.
func TestChromeWritesWithoutWaitingForAMinute(t *testing.T) {
	browsertest.InChrome(t)
	o := browsertest.Options(t)
	url := serve(t)
	b := start(t, o)
	write(t, b, url, "first")
	awaitStored(t, o, url, "first")
	write(t, b, url, "second")
	begun := time.Now()
	awaitStored(t, o, url, "second")
	if took := time.Since(begun); took > 30*time.Second {
		t.Errorf("the second write took %v", took)
	}
}

// A page that rewrites four megabytes without pause must not hide what else is there.
func TestKeysOfAFloodingPageAreFound(t *testing.T) {
	o := browsertest.Options(t)
	url := serve(t)
	b := start(t, o)
	page, err := b.Rod().Context(t.Context()).Page(proto.TargetCreateTarget{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	if err := page.WaitLoad(); err != nil {
		t.Fatal(err)
	}
	const flood = `() => {
		const megabyte = "x".repeat(1 << 20);
		let n = 0;
		setInterval(() => localStorage.setItem("flood" + n++ % 4, n + megabyte), 100);
	}`
	if _, err := page.Eval(flood); err != nil {
		t.Fatal(err)
	}
	awaitStored(t, o, url, "flood0", "flood3")
	if _, err := page.Eval(`() => localStorage.setItem("login", "v")`); err != nil {
		t.Fatal(err)
	}
	awaitStored(t, o, url, "login")
	size := int64(0)
	files, err := filepath.Glob(filepath.Join(o.ProfileDir, "Default", "Local Storage", "leveldb", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if info, err := os.Stat(file); err == nil { // or Chrome has just removed it
			size += info.Size()
		}
	}
	t.Logf("%d MB in %d files", size>>20, len(files))
}

func TestStoredFindsKeysAfterACleanClose(t *testing.T) {
	o := browsertest.Options(t)
	url := serve(t)
	b := start(t, o)
	write(t, b, url, "first")
	if err := b.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		url  string
		keys []string
		want bool
	}{
		"the key":          {url, []string{"first"}, true},
		"its path differs": {url + "/chat?x=1", []string{"first"}, true},
		"one is missing":   {url, []string{"first", "second"}, false},
		"a part of it":     {url, []string{"firs"}, false},
		"another origin":   {"http://127.0.0.1:1", []string{"first"}, false},
	} {
		if got, err := persist.Stored(o.ProfileDir, o.ScratchDir, tt.url, tt.keys); err != nil || got != tt.want {
			t.Errorf("%s: got %v, %v", name, got, err)
		}
	}
	left, err := filepath.Glob(filepath.Join(o.ScratchDir, "ls*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestStoredInAFreshOrBrokenProfile(t *testing.T) {
	profile, scratch := t.TempDir(), t.TempDir()
	if got, err := persist.Stored(profile, scratch, "https://x.example", []string{"k"}); got || err != nil {
		t.Errorf("fresh: got %v, %v", got, err)
	}
	dir := filepath.Join(profile, "Default", "Local Storage", "leveldb")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "CURRENT"), []byte("torn"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := persist.Stored(profile, scratch, "https://x.example", []string{"k"}); got || err == nil {
		t.Errorf("broken: got %v, %v", got, err)
	}
	if _, err := persist.Stored(profile, scratch, "nowhere", []string{"k"}); err == nil {
		t.Error("an address without origin was taken")
	}
}
