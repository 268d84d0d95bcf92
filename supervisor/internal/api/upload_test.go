package api

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"mime/multipart"
	"net"
	"net/http"
	"net/http/httptest"
	"net/textproto"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"session-manager/shared/rpc"
	"session-manager/supervisor/internal/media"
	"session-manager/supervisor/internal/outbox"
	"session-manager/supervisor/internal/session"
)

const (
	someFile = `{"to":"+5491123456789","type":"document","caption":" a secret caption "}`
	// png is how a PNG begins.
	png = "\x89PNG\r\n\x1a\n"
)

// uploading is an API with a real outbox, and the folder of its files.
type uploading struct {
	*httptest.Server
	t     *testing.T
	api   *api
	files *media.Store
}

func newUploading(t *testing.T, l media.Limits) uploading {
	t.Helper()
	dir := t.TempDir()
	files := media.New(filepath.Join(dir, "media"), l)
	box := outbox.New(outbox.Options{Path: filepath.Join(dir, "outbox"), Media: files, Logger: slog.New(slog.DiscardHandler)})
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); box.Run(ctx) }()
	t.Cleanup(func() { stop(); <-done })
	a := made(t, Options{
		Session: newFakeSession(session.Snapshot{State: session.Ready}), Outbox: box, Mail: Mail{Files: files}, Draining: make(chan struct{}),
	})
	s := httptest.NewServer(a.router())
	t.Cleanup(s.Close)
	return uploading{s, t, a, files}
}

// part is one part of a body.
type part struct{ name, file, kind, content string }

func encoded(parts ...part) (body, contentType string) {
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	for _, p := range parts {
		h := textproto.MIMEHeader{"Content-Disposition": {fmt.Sprintf(`form-data; name=%q`, p.name)}}
		if p.file != "" {
			h["Content-Disposition"][0] += fmt.Sprintf(`; filename="%s"`, p.file)
		}
		if p.kind != "" {
			h.Set("Content-Type", p.kind)
		}
		one, _ := w.CreatePart(h)
		_, _ = io.WriteString(one, p.content)
	}
	_ = w.Close()
	return b.String(), w.FormDataContentType()
}

func (u uploading) send(body, contentType, key string) answered {
	u.t.Helper()
	return ask(u.t, u.Server, http.MethodPost, "/messages", func(r *http.Request) {
		post(body)(r)
		r.Header.Set("Content-Type", contentType)
		if key != "" {
			r.Header.Set("Idempotency-Key", key)
		}
	})
}

// kept returns the contents of the files.
func (u uploading) kept() (all []string) {
	u.t.Helper()
	entries, err := os.ReadDir(u.files.Path("."))
	if err != nil && !os.IsNotExist(err) {
		u.t.Fatal(err)
	}
	for _, e := range entries {
		content, err := os.ReadFile(u.files.Path(e.Name()))
		if os.IsNotExist(err) {
			continue // it was removed meanwhile
		}
		if err != nil {
			u.t.Fatal(err)
		}
		all = append(all, string(content))
	}
	return all
}

func TestFileIsKeptWithItsMessage(t *testing.T) {
	u := newUploading(t, media.DefaultLimits())
	content := strings.Repeat("content ", 100_000)
	send := func(key, file, kind, content string) answered {
		body, contentType := encoded(part{name: "message", content: someFile}, part{"media", file, kind, content})
		return u.send(body, contentType, key)
	}
	first := send("key", "plan.pdf", "application/pdf", content)
	id := strings.TrimPrefix(first.header.Get("Location"), "/messages/")
	if stored, err := os.ReadFile(u.files.Path(id)); first.status != 202 || err != nil || string(stored) != content {
		t.Fatalf("got %d %s, %v", first.status, first.body, err)
	}
	again := send("key", "plan.pdf", "application/pdf", content)
	if again.status != 200 || again.header.Get("Location") != first.header.Get("Location") {
		t.Errorf("the same: got %d %s", again.status, again.body)
	}
	for name, got := range map[string]answered{
		"bytes": send("key", "plan.pdf", "application/pdf", content+"."),
		"name":  send("key", "plan2.pdf", "application/pdf", content),
		"type":  send("key", "plan.pdf", "text/plain", content),
	} {
		if got.status != 422 || !strings.Contains(got.body, "idempotency_conflict") {
			t.Errorf("other %s: got %d %s", name, got.status, got.body)
		}
	}
	if n := len(u.kept()); n != 1 {
		t.Errorf("%d files are kept", n)
	}
}

func TestBadUploadsLeaveNothing(t *testing.T) {
	u := newUploading(t, media.Limits{File: 1000, Bytes: 1500, Files: 10})
	message := part{name: "message", content: someFile}
	file := part{"media", "a.txt", "text/plain", "content"}
	of := func(kind string, f part) []part {
		return []part{{name: "message", content: `{"to":"+5491123456789","type":"` + kind + `"}`}, f}
	}
	for name, tc := range map[string]struct {
		parts []part
		want  string
	}{
		"nothing":               {nil, "400 bad_body"},
		"no file":               {[]part{message}, "400 bad_body"},
		"no message":            {[]part{file}, "400 bad_body"},
		"wrong order":           {[]part{file, message}, "400 bad_body"},
		"two files":             {[]part{message, file, file}, "400 bad_body"},
		"two messages":          {[]part{message, message, file}, "400 bad_body"},
		"message not JSON":      {[]part{{name: "message", content: "{"}, file}, "400 bad_body"},
		"message is too large":  {[]part{{name: "message", content: strings.Repeat(" ", maxMessageBody+1)}, file}, "413 body_too_large"},
		"empty file":            {[]part{message, {name: "media", file: "a"}}, "400 invalid_field"},
		"large file":            {[]part{message, {"media", "a", "", strings.Repeat("x", 1001)}}, "413 media_too_large"},
		"much larger file":      {[]part{message, {"media", "a", "", strings.Repeat("x", 1<<20)}}, "413 media_too_large"},
		"text with a file":      {of("text", file), "400 invalid_field"},
		"no such type":          {of("sticker", file), "422 unsupported_type"},
		"text as an image":      {of("image", part{"media", "a.png", "image/png", "content"}), "422 unsupported_type"},
		"another image":         {of("image", part{"media", "a.jpg", "image/jpeg", png}), "422 unsupported_type"},
		"page as a video":       {of("video", part{"media", "a.mp4", "video/mp4", "<html>"}), "422 unsupported_type"},
		"unknown video":         {of("video", part{"media", "a.mp4", "application/octet-stream", "\x00\x01"}), "422 unsupported_type"},
		"very long type":        {of("document", part{"media", "a", "application/" + strings.Repeat("x", 300), "content"}), "422 unsupported_type"},
		"very long header":      {of("document", part{"media", "a", "text/plain; x=" + strings.Repeat("x", maxMessageBody+maxParts), "content"}), "413 body_too_large"},
		"type of no form":       {of("document", part{"media", "a", "text", "content"}), "422 unsupported_type"},
		"name with a line":      {of("document", part{"media", "a\tb", "text/plain", "content"}), "400 invalid_field"},
		"long name":             {of("document", part{"media", strings.Repeat("x", 256), "text/plain", "content"}), "400 invalid_field"},
		"text next to caption":  {[]part{{name: "message", content: `{"to":"+5491123456789","type":"document","text":{"body":"x"}}`}, file}, "400 invalid_field"},
		"long caption":          {[]part{{name: "message", content: `{"to":"+5491123456789","type":"document","caption":"` + strings.Repeat("x", rpc.MaxMessageText+1) + `"}`}, file}, "413 text_too_long"},
		"nobody to send it to":  {[]part{{name: "message", content: `{"type":"document"}`}, file}, "400 invalid_recipient"},
		"from an URL":           {[]part{{name: "message", content: `{"to":"+5491123456789","type":"document","media":{"url":"http://x"}}`}, file}, "422 unsupported_type"},
		"not a boundary at all": {nil, "400 bad_body"},
	} {
		body, contentType := encoded(tc.parts...)
		if name == "not a boundary at all" {
			contentType = "multipart/form-data"
		}
		got := u.send(body, contentType, "")
		code := strings.Fields(tc.want)[1]
		if fmt.Sprint(got.status) != tc.want[:3] || !strings.Contains(got.body, `"`+code+`"`) {
			t.Errorf("%s: got %d %s, want %s", name, got.status, got.body, tc.want)
		}
		if strings.Contains(got.body, "content") && !strings.Contains(got.body, "content type") && !strings.Contains(got.body, "Content") {
			t.Errorf("%s: the answer has the file: %s", name, got.body)
		}
	}
	body, contentType := encoded(message, file)
	for cut := 0; cut < len(body)-2; cut += 1 + cut%7 { // the last line break need not be there
		if got := u.send(body[:cut], contentType, ""); got.status != 400 {
			t.Errorf("cut after %d of %d bytes: got %d %s", cut, len(body), got.status, got.body)
		}
	}
	if all := u.kept(); len(all) != 0 {
		t.Errorf("left are %d files", len(all))
	}
	large, contentType := encoded(message, part{"media", "a", "", strings.Repeat("x", 800)})
	for i, want := range []int{202, 503} { // all files together may have 1500 bytes
		if got := u.send(large, contentType, ""); got.status != want {
			t.Errorf("file %d: got %d %s", i, got.status, got.body)
		}
	}
}

func TestFullDiskTakesNoFiles(t *testing.T) {
	l := media.DefaultLimits()
	l.Reserve = 1 << 62
	u := newUploading(t, l)
	body, contentType := encoded(part{name: "message", content: someFile}, part{"media", "a", "", "x"})
	if got := u.send(body, contentType, ""); got.status != 507 || !strings.Contains(got.body, "disk_full") || len(u.kept()) != 0 {
		t.Errorf("got %d %s", got.status, got.body)
	}
}

// open begins an upload, of which body has not come yet.
func (u uploading) open(length int, body string) net.Conn {
	u.t.Helper()
	_, contentType := encoded()
	boundary := contentType[strings.Index(contentType, "=")+1:]
	conn, err := (&net.Dialer{}).DialContext(u.t.Context(), "tcp", u.Listener.Addr().String())
	if err != nil {
		u.t.Fatal(err)
	}
	u.t.Cleanup(func() { _ = conn.Close() })
	start := fmt.Sprintf("POST /messages HTTP/1.1\r\nHost: localhost\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n", contentType, length)
	start += strings.ReplaceAll(body, "BOUNDARY", boundary)
	if _, err := io.WriteString(conn, start); err != nil {
		u.t.Fatal(err)
	}
	return conn
}

const halfFile = "--BOUNDARY\r\nContent-Disposition: form-data; name=\"message\"\r\n\r\n" + someFile +
	"\r\n--BOUNDARY\r\nContent-Disposition: form-data; name=\"media\"; filename=\"a\"\r\n\r\nhalf of"

func TestUploadsOfClientsThatLeaveOrAreSlow(t *testing.T) {
	u := newUploading(t, media.DefaultLimits())
	conn := u.open(3<<30, "")
	if answer := make([]byte, 12); readAll(conn, answer) != nil || string(answer) != "HTTP/1.1 413" {
		t.Errorf("3 GB: got %q", answer)
	}
	var conns []net.Conn
	for range mostUploadsEach {
		conns = append(conns, u.open(10_000_000, halfFile+strings.Repeat("x", sniffed)))
	}
	for len(u.kept()) < mostUploadsEach {
		time.Sleep(time.Millisecond)
	}
	body, contentType := encoded(part{name: "message", content: someFile}, part{"media", "a", "", "x"})
	if got := u.send(body, contentType, ""); got.status != 429 || !strings.Contains(got.body, "too_many_bodies") {
		t.Errorf("one too many: got %d %s", got.status, got.body)
	}
	if got := submit(t, u.Server, someBody); got.status != 202 {
		t.Errorf("a text meanwhile: got %d", got.status)
	}
	for _, conn := range conns {
		_ = conn.Close()
	}
	for len(u.kept()) > 0 { // what had come of them is removed
		time.Sleep(time.Millisecond)
	}
	if got := u.send(body, contentType, ""); got.status != 202 {
		t.Errorf("afterwards: got %d %s", got.status, got.body)
	}
}

func readAll(conn net.Conn, p []byte) error {
	_ = conn.SetReadDeadline(time.Now().Add(time.Minute))
	_, err := io.ReadFull(conn, p)
	return err
}

// deadlines is an answer's connection that notes its deadlines.
type deadlines struct {
	http.ResponseWriter
	read []time.Time
}

func (d *deadlines) SetReadDeadline(t time.Time) error {
	d.read = append(d.read, t)
	return nil
}

func TestPartsOfAnUploadMayTakeTime(t *testing.T) {
	d := &deadlines{ResponseWriter: httptest.NewRecorder()}
	end := time.Now().Add(uploadIdle + time.Hour)
	b := &patientBody{ReadCloser: io.NopCloser(strings.NewReader("ab")), control: http.NewResponseController(d), end: end, left: 2}
	_, _ = b.Read(make([]byte, 1))
	b.end = time.Now()
	_, _ = b.Read(make([]byte, 1))
	if len(d.read) != 2 || time.Until(d.read[0]) > uploadIdle || !d.read[0].After(b.end) || d.read[1] != b.end {
		t.Errorf("deadlines %v", d.read)
	}
}

func TestTypesOfFiles(t *testing.T) {
	const jpeg, mp4, ogg, mp3 = "\xff\xd8\xff", "\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom", "OggS\x00", "ID3\x03"
	for _, tt := range []struct {
		kind           rpc.MediaKind
		declared, head string
		want           string
	}{
		{rpc.MediaImage, "", png, "image/png"},
		{rpc.MediaImage, "application/octet-stream", jpeg, "image/jpeg"},
		{rpc.MediaImage, "image/png; a=b", png, "image/png"},
		{rpc.MediaImage, "image/svg+xml", "<svg", ""},
		{rpc.MediaImage, "image/gif", "GIF89a", ""},
		{rpc.MediaVideo, "", mp4, "video/mp4"},
		{rpc.MediaVideo, "video/3gpp", "\x00\x00\x00\x14ftyp3gp4", "video/3gpp"},
		{rpc.MediaVideo, "video/mp4", png, ""},
		{rpc.MediaVideo, "image/png", png, ""},
		{rpc.MediaAudio, "", ogg, "audio/ogg"},
		{rpc.MediaAudio, "audio/ogg; codecs=opus", ogg, "audio/ogg"},
		{rpc.MediaAudio, "", mp3, "audio/mpeg"},
		{rpc.MediaAudio, "audio/mp4", mp4, "audio/mp4"},
		{rpc.MediaAudio, "audio/amr", "#!AMR\n\x3c\x00", "audio/amr"},
		{rpc.MediaAudio, "", "\xff\xf1\x50", ""},
		{rpc.MediaAudio, "audio/aac", "\xff\xf1\x50\x80\x00\x1f", "audio/aac"},
		{rpc.MediaDocument, "", "x", "application/octet-stream"},
		{rpc.MediaDocument, "text/html", "<html>", "text/html"},
		{rpc.MediaDocument, "text/html\r\nx", "<html>", ""},
	} {
		got, bad := mediaType(tt.kind, tt.declared, []byte(tt.head))
		if got != tt.want || (bad != nil) != (tt.want == "") {
			t.Errorf("%s %q %q: got %q, %+v", tt.kind, tt.declared, tt.head, got, bad)
		}
	}
}

func TestNamesOfFiles(t *testing.T) {
	for name, want := range map[string]string{
		"": "document", "plan.pdf": "plan.pdf", "ärger 1.pdf": "ärger 1.pdf", "../../etc/passwd": "passwd", "/a/b": "b",
		".": "", "..": "", "/": "", "a\nb": "", "a\x00": "", "\xff": "", strings.Repeat("x", 256): "",
	} {
		if got, bad := fileName(name); string(got) != want || (bad != nil) != (want == "") {
			t.Errorf("%q: got %q, %+v", name, string(got), bad)
		}
	}
}
