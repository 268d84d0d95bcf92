package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"image"
	"image/png"
	"io"
	"mime/multipart"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"session-manager/scripts/simulator"
)

// fileMessage is a message with a file.
type fileMessage struct {
	kind, caption, name string
	content             []byte
}

// aFile returns one of each kind in turn, with a content of its own.
func aFile(t *testing.T, n int, caption string) fileMessage {
	t.Helper()
	kinds := []struct{ kind, name, head string }{
		{"document", "plan.pdf", "%PDF-1.7"}, {"video", "clip.mp4", "\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom"}, {"audio", "voice.ogg", "OggS\x00"}, {"image", "photo.png", ""},
	}
	k := kinds[n%len(kinds)]
	f := fileMessage{k.kind, caption, marker + "-" + k.name, []byte(k.head + strings.Repeat(marker+caption, 5000))}
	if k.kind == "image" {
		var b bytes.Buffer
		if err := png.Encode(&b, image.NewGray(image.Rect(0, 0, 40+n, 30))); err != nil {
			t.Fatal(err)
		}
		f.content = b.Bytes()
	}
	return f
}

// form is the body of POST /messages for f.
func (f fileMessage) form(to string) (body *bytes.Buffer, contentType string) {
	body = &bytes.Buffer{}
	w := multipart.NewWriter(body)
	_ = w.WriteField("message", fmt.Sprintf(`{"to":%q,"type":%q,"caption":%q}`, to, f.kind, f.caption))
	part, _ := w.CreateFormFile("media", f.name)
	_, _ = part.Write(f.content)
	_ = w.Close()
	return body, w.FormDataContentType()
}

func (s *service) trySubmitFile(ctx context.Context, key, to string, f fileMessage) (message, int, error) {
	body, contentType := f.form(to)
	return s.tryPost(ctx, "/messages", key, contentType, body)
}

func (s *service) submitFile(key, to string, f fileMessage) message {
	s.t.Helper()
	m, status, err := s.trySubmitFile(within(s.t), key, to, f)
	if err != nil || status != http.StatusAccepted {
		s.t.Fatalf("a file: %d %v", status, err)
	}
	return m
}

// arrivedAs reports whether what the server has is f: images were drawn again, all else is as it was.
func (f fileMessage) arrivedAs(one simulator.Sent) bool {
	got := one.Media
	if got == nil || got.Type != f.kind || one.Text != f.caption || one.Altered {
		return false
	}
	sum := sha256.Sum256(f.content)
	same := got.SHA256 == hex.EncodeToString(sum[:]) && got.Size == int64(len(f.content))
	return same && (f.kind != "document" || got.Name == f.name) || f.kind == "image" && got.MIME == "image/jpeg" && got.Size > 0
}

// file checks that the server has a message with a file once, as it was sent.
func (p *phone) file(t *testing.T, id string, f fileMessage) {
	t.Helper()
	n := 0
	for _, one := range p.Sent() {
		if one.ID != id {
			continue
		}
		if n++; !f.arrivedAs(one) {
			t.Errorf("the %s arrived as %+v", f.kind, one.Media)
		}
	}
	if n != 1 {
		t.Errorf("the server has %d messages with the %s", n, f.kind)
	}
}

// filesAreErased checks that the files of messages that were sent are erased at a start with
// --message-text-retention 0s, and that those of no message are.
func filesAreErased(t *testing.T, p *phone, tokens string) {
	t.Helper()
	folder := filepath.Join(tokens, "admin.media")
	write(t, filepath.Join(folder, ".draft-1"), "of an upload that was cut")
	write(t, filepath.Join(folder, "3EB0FFFFFFFFFFFFFFFFFF"), "of no message")
	s := start(t, p.URL, tokens, append([]string{"--message-text-retention", "0s"}, eager...)...)
	if m, status := s.submit("last", ada, "the last"); status != http.StatusAccepted {
		t.Errorf("got %d %+v", status, m)
	}
	eventually(t, "an empty folder", func() bool {
		left, err := os.ReadDir(folder)
		return err == nil && len(left) == 0
	})
	s.stop()
}

// tryPost posts a message, or an act on one.
func (s *service) tryPost(ctx context.Context, path, key, contentType string, body io.Reader) (m message, status int, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.Base+path, body)
	if err != nil {
		return m, 0, err
	}
	r.Header.Set("Content-Type", contentType)
	r.Header.Set("Idempotency-Key", key)
	return accepted(r)
}
