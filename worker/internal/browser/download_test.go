package browser_test

import (
	"io/fs"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-rod/rod"
	"github.com/go-rod/rod/lib/proto"

	"session-manager/worker/internal/browser/browsertest"
)

// downloads is a page with every way to download. Each answer under /file continues until
// Chrome closes the connection, which is then counted.
const downloads = `<body style="margin:0">
<a id="attribute" href="/file/attribute" download>x</a><br>
<a id="attachment" href="/file/attachment">x</a><br>
<a id="popup" href="/file/popup" target="_blank">x</a><br>
<a id="blob" download="blob.bin">x</a><br>
<a id="data" href="data:application/octet-stream;base64,AAAA" download="data.bin">x</a><br>
<a id="frame" href="/file/frame" target="frame">x</a><iframe name="frame"></iframe>
<script>blob.href = URL.createObjectURL(new Blob([new Uint8Array(1 << 20).fill(77)]))</script>`

// offer serves the page, and files of which closed receives the paths when they were not
// taken.
func offer(t *testing.T, closed chan<- string) *httptest.Server {
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.URL.Path, "/file") {
			w.Header().Set("Content-Type", "text/html")
			_, _ = w.Write([]byte(downloads))
			return
		}
		w.Header().Set("Content-Type", "application/octet-stream")
		w.Header().Set("Content-Disposition", "attachment")
		block := make([]byte, 1<<20)
		for range 1000 {
			if _, err := w.Write(block); err != nil {
				closed <- r.URL.Path
				return
			}
		}
	}))
	t.Cleanup(site.Close)
	return site
}

func TestClicksDownloadNothing(t *testing.T) {
	closed := make(chan string, 100)
	site := offer(t, closed)
	o := browsertest.Options(t)
	b := browsertest.Start(t, o)
	page, err := b.Rod().Page(proto.TargetCreateTarget{URL: site.URL})
	if err != nil {
		t.Fatal(err)
	}
	page = page.Timeout(time.Minute)
	for _, id := range []string{"attribute", "attachment", "popup", "blob", "data", "frame"} {
		if err := click(page, id); err != nil {
			t.Fatal(err)
		}
		if id == "blob" || id == "data" {
			continue
		}
		select {
		case <-closed:
		case <-time.After(30 * time.Second):
			t.Errorf("%s: the download was not refused", id)
		}
	}
	if err := b.Close(t.Context()); err != nil {
		t.Error(err)
	}
	wantNoDownload(t, o.ScratchDir, o.ProfileDir)
}

// wantNoDownload looks for what a download leaves.
func wantNoDownload(t *testing.T, folders ...string) {
	t.Helper()
	for _, folder := range folders {
		err := filepath.WalkDir(folder, func(path string, _ fs.DirEntry, err error) error {
			if err == nil && (strings.Contains(path, "crdownload") || strings.Contains(path, "Downloads/") || strings.HasSuffix(path, ".bin")) {
				t.Errorf("left: %s", path)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
}

// click presses the mouse on an element, as a person would.
func click(page *rod.Page, id string) error {
	link, err := page.Element("#" + id)
	if err != nil {
		return err
	}
	box, err := link.Shape()
	if err != nil {
		return err
	}
	if err := page.Mouse.MoveTo(*box.OnePointInside()); err != nil {
		return err
	}
	return page.Mouse.Click(proto.InputMouseButtonLeft, 1)
}
