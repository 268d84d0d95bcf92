package api

import (
	"context"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"session-manager/shared/rpc"
	"session-manager/supervisor/internal/inbox"
	"session-manager/supervisor/internal/media"
	"session-manager/supervisor/internal/session"
	"session-manager/supervisor/internal/worker"
)

// fakeFiles has one file, or an error instead.
type fakeFiles struct {
	Inbox
	about  inbox.Media
	path   string
	err    error
	opened int
}

func (f *fakeFiles) File(_ context.Context, id string) (inbox.Media, error) {
	if id != f.about.ID {
		return inbox.Media{}, inbox.ErrUnknownFile
	}
	return f.about, nil
}

func (f *fakeFiles) Open(ctx context.Context, _ string) (*os.File, error) {
	if f.opened++; f.err != nil {
		return nil, f.err
	}
	if f.path == "" {
		<-ctx.Done()
		return nil, inbox.ErrFilePending
	}
	return os.Open(f.path)
}

const fileContent = "0123456789"

func serveFiles(t *testing.T, f *fakeFiles, draining chan struct{}) *httptest.Server {
	t.Helper()
	o := Options{Session: newFakeSession(session.Snapshot{}), Draining: draining}
	o.Inbox = f
	s := httptest.NewServer(made(t, o).router())
	t.Cleanup(s.Close)
	return s
}

func newFakeFile(t *testing.T) *fakeFiles {
	t.Helper()
	f := &fakeFiles{path: filepath.Join(t.TempDir(), "file")}
	f.about = inbox.Media{ID: "cafe", MIME: "application/pdf", Size: int64(len(fileContent)), Name: "plan.pdf", SHA256: strings.Repeat("ab", 32)}
	if err := os.WriteFile(f.path, []byte(fileContent), 0o600); err != nil {
		t.Fatal(err)
	}
	return f
}

func TestFilesAreServedInRanges(t *testing.T) {
	f := newFakeFile(t)
	s := serveFiles(t, f, nil)
	tag := `"` + f.about.SHA256 + `"`
	for _, tc := range []struct {
		method, header, value string
		status                int
		body, length          string
		opens                 bool
	}{
		{"GET", "", "", 200, fileContent, "10", true},
		{"GET", "Range", "bytes=2-4", 206, "234", "3", true},
		{"GET", "Range", "bytes=-1", 206, "9", "1", true},
		{"GET", "Range", "bytes=10-", 416, "", "", true},
		{"GET", "If-None-Match", tag, 304, "", "", false},
		{"GET", "If-None-Match", "odd" + tag, 304, "", "", false},
		{"GET", "If-None-Match", `"other"`, 200, fileContent, "10", true},
		{"GET", "If-None-Match", "*", 304, "", "", true},
		{"HEAD", "", "", 200, "", "10", false},
		{"HEAD", "Range", "bytes=0-1", 206, "", "2", false},
	} {
		before := f.opened
		got := ask(t, s, tc.method, "/media/cafe", func(r *http.Request) {
			if tc.header != "" {
				r.Header.Set(tc.header, tc.value)
			}
		})
		if got.status != tc.status || tc.status < 300 && (got.body != tc.body || got.header.Get("Content-Length") != tc.length) || f.opened > before != tc.opens {
			t.Errorf("%+v: %d %q %v", tc, got.status, got.body, got.header)
		}
		if got.status < 400 && (got.header.Get("ETag") != tag || got.header.Get("Cache-Control") != "no-store") {
			t.Errorf("%+v: %v", tc, got.header)
		}
	}
}

func TestUnknownFilesAreNotFound(t *testing.T) {
	s := serveFiles(t, newFakeFile(t), nil)
	if got := get(t, s, "/media/beef"); got.status != 404 || !strings.Contains(got.body, "no_such_media") {
		t.Errorf("no file: %d %s", got.status, got.body)
	}
	off := serve(t, newFakeSession(session.Snapshot{}), fakeCommands{})
	if got := get(t, off, "/media/cafe"); got.status != 409 || !strings.Contains(got.body, "receiving_off") {
		t.Errorf("where nothing is received: %d %s", got.status, got.body)
	}
}

func TestNothingOfSendersIsTrusted(t *testing.T) {
	f := newFakeFile(t)
	s := serveFiles(t, f, nil)
	for declared, want := range map[string]string{
		"image/png": "image/png", "audio/ogg; codecs=opus": "audio/ogg", "IMAGE/JPEG": "image/jpeg", "text/html": anyBytes, "image/svg+xml": anyBytes,
		"": anyBytes, "image/png\r\nX-Evil: 1": anyBytes, "image/png; x=\"\r\nX-Evil: 1\"": anyBytes, "application/xhtml+xml": anyBytes,
	} {
		f.about.MIME = declared
		got := get(t, s, "/media/cafe")
		if got.header.Get("Content-Type") != want || got.header.Get("X-Evil") != "" || got.header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%q: %v", declared, got.header)
		}
	}
	f.about.MIME = "image/png"
	for name, want := range map[string]string{
		"plan.pdf": "plan.pdf", "": "cafe.png", "..": "cafe.png", "/": "cafe.png", "../../etc/passwd": "passwd", `C:\temp\a.exe`: "a.exe", ".bashrc": "bashrc",
		"a\r\nX-Evil: 1": "aX-Evil 1", "ünïcode – 😀.pdf": "ünïcode – 😀.pdf", "a\u202egpj.exe": "agpj.exe", "a\x00b": "ab", "\xff": "cafe.png", `"; filename="evil`: "; filename=evil",
		strings.Repeat("é", 300) + ".pdf": strings.Repeat("é", 125) + ".pdf",
	} {
		f.about.Name = name
		got := get(t, s, "/media/cafe")
		kind, params, err := mime.ParseMediaType(got.header.Get("Content-Disposition"))
		if err != nil || kind != "attachment" || params["filename"] != want || got.header.Get("X-Evil") != "" {
			t.Errorf("%q: %q, %v", name, got.header.Get("Content-Disposition"), err)
		}
	}
}

func TestMissingFilesAreExplained(t *testing.T) {
	f := newFakeFile(t)
	s := serveFiles(t, f, nil)
	code := func(c rpc.SendCode) error {
		return fmt.Errorf("cannot: %w", &rpc.SendError{Code: c, Detail: fileContent})
	}
	for _, tc := range []struct {
		err    error
		status int
		code   string
		again  bool
	}{
		{worker.ErrNoWorker, 503, "no_page", true},
		{rpc.ErrNoPage, 503, "no_page", true},
		{code(rpc.SendNotReady), 503, "no_page", true},
		{inbox.ErrFilePending, 503, "media_pending", true},
		{inbox.ErrUnavailable, 503, "inbox_unavailable", true},
		{code(rpc.SendMediaGone), 410, "media_gone", false},
		{code(rpc.SendMessageNotFound), 410, "media_gone", false},
		{code(rpc.SendMediaTooLarge), 413, "media_too_large", false},
		{media.ErrTooLarge, 413, "media_too_large", false},
		{code(rpc.SendPagePathGone), 501, "page_path_gone", false},
		{code(rpc.SendMediaFailed), 502, "media_failed", false},
		{code(rpc.SendLookupFailed), 502, "media_failed", false},
		{inbox.ErrFileDamaged, 502, "media_damaged", false},
		{media.ErrNoSpace, 507, "disk_full", false},
		{media.ErrFull, 503, "media_pending", true},
		{errors.New(fileContent), 502, "media_failed", false},
	} {
		f.err = tc.err
		got := get(t, s, "/media/cafe")
		if got.status != tc.status || !strings.Contains(got.body, `"code":"`+tc.code+`"`) || (got.header.Get("Retry-After") != "") != tc.again ||
			strings.Contains(got.body, fileContent) || got.header.Get("Content-Disposition") != "" {
			t.Errorf("%v: %d %s %v", tc.err, got.status, got.body, got.header)
		}
	}
}

func TestDrainingEndsTheWaitForFile(t *testing.T) {
	f := newFakeFile(t)
	f.path = ""
	draining := make(chan struct{})
	s := serveFiles(t, f, draining)
	time.AfterFunc(10*time.Millisecond, func() { close(draining) })
	if got := get(t, s, "/media/cafe"); got.status != 503 || !strings.Contains(got.body, "media_pending") {
		t.Errorf("got %d %s", got.status, got.body)
	}
}
