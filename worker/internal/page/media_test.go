package page

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"image"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"session-manager/scripts/simulator"
	"session-manager/shared/rpc"
)

// fileOf makes a message with a file.
func fileOf(t *testing.T, id rpc.MessageID, kind rpc.MediaKind, mime string, content []byte) rpc.Message {
	t.Helper()
	path := filepath.Join(t.TempDir(), string(id))
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return rpc.Message{ID: id, To: ada, Text: secret, Media: rpc.Media{Path: path, Kind: kind, MIME: mime, Name: "the plan.pdf", Size: int64(len(content))}}
}

// picture is a PNG of random pixels.
func picture(t *testing.T, width, height int) []byte {
	t.Helper()
	img := image.NewGray(image.Rect(0, 0, width, height))
	_, _ = rand.Read(img.Pix)
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestFilesAreUploadedAndSent uses one page for all kinds and all faults.
func TestFilesAreUploadedAndSent(t *testing.T) {
	t.Parallel()
	r := openSender(t)
	content := make([]byte, 1<<20)
	_, _ = rand.Read(content)
	for i, m := range []rpc.Message{
		fileOf(t, ourID(1), rpc.MediaDocument, "application/pdf", content),
		fileOf(t, ourID(2), rpc.MediaVideo, "video/mp4", content[:1000]),
		fileOf(t, ourID(3), rpc.MediaAudio, "audio/ogg", content[:2000]),
		fileOf(t, ourID(4), rpc.MediaImage, "image/png", picture(t, 1700, 10)),
	} {
		r.mustSendFile(m)
		got := r.arrived(m.ID, 1)
		want := simulator.SentMedia{Type: string(m.Media.Kind), MIME: m.Media.MIME, Size: m.Media.Size, SHA256: shaOf(t, m.Media.Path)}
		switch m.Media.Kind {
		case rpc.MediaDocument:
			want.Name = "the plan.pdf"
		case rpc.MediaImage: // WhatsApp draws them again.
			want.MIME, want.Size, want.SHA256 = "image/jpeg", got.Media.Size, got.Media.SHA256
		}
		if got.Media == nil || *got.Media != want {
			t.Errorf("the server has %+v, want %+v", got.Media, want)
		}
		r.mustSendFile(m) // What has a row is not uploaded again.
		if n := len(r.sim.Uploads()); n != i+1 {
			t.Errorf("after %d files there were %d uploads", i+1, n)
		}
	}
	bare := fileOf(t, ourID(5), rpc.MediaDocument, "text/plain", content[:1])
	bare.Text, bare.ReplyTo = "", string(ourID(1))
	r.mustSendFile(bare)
	check(t, r.sim.AwaitSent(r.context(), func(all []simulator.Sent) bool { return len(all) > 4 }))
	if got := r.sim.Sent()[4]; got.Text != "" || got.Quoted != string(ourID(1)) || got.Media == nil {
		t.Errorf("without a caption: %+v", got)
	}
	r.checkFailedUploads()
	r.checkTraces()
}

// checkFailedUploads checks what each failure is reported as, and that nothing is sent.
func (r *rig) checkFailedUploads() {
	r.t.Helper()
	good := func(n int) rpc.Message {
		return fileOf(r.t, ourID(n), rpc.MediaDocument, "text/plain", []byte("content"))
	}
	gone, short, empty := good(41), good(42), fileOf(r.t, ourID(43), rpc.MediaImage, "image/png", []byte("no picture"))
	_ = os.Remove(gone.Media.Path)
	short.Media.Size++
	for _, tc := range []struct {
		fault string
		m     rpc.Message
		want  rpc.SendCode
	}{
		{"", gone, rpc.SendMediaFailed},
		{"", short, rpc.SendMediaFailed},
		{"", empty, rpc.SendMediaFailed},
		{"upload=403", good(44), rpc.SendMediaFailed},
		{"upload=lost", good(45), rpc.SendMediaFailed},
	} {
		r.sim.ClearFaults()
		if tc.fault != "" {
			if err := r.sim.SetFault(tc.fault); err != nil {
				r.t.Fatal(err)
			}
		}
		_, err := r.sendWhole(tc.m)
		if sendCode(err) != tc.want || strings.Contains(err.Error(), "plan") || strings.Contains(err.Error(), tc.m.Media.Path) {
			r.t.Errorf("%s %s: %v", tc.fault, tc.m.ID, err)
		}
		r.never(tc.m.ID)
	}
	r.sim.ClearFaults()
	for i, tc := range []struct {
		page string
		want rpc.SendCode
	}{
		{`m("WAWebMediaMmsV4Upload").uploadMedia = async () => ({ mediaEntry: {} })`, rpc.SendMediaFailed},
		{`m("WAWebMediaMmsV4Upload").uploadMedia = () => { throw { name: { toString() { throw 1; } } }; }`, rpc.SendMediaFailed},
		{`m("WAWebPrepRawMedia").prepRawMedia = () => ({ waitForPrep: async () => ({ type: "chat", filehash: "x" }) })`, rpc.SendMediaFailed},
		{`document.createElement = (tag) => Document.prototype.createElement.call(document, tag === "input" ? "div" : tag)`, rpc.SendNotReady},
	} {
		r.spoil(tc.page)
		m := good(60 + i)
		if _, err := r.sendWhole(m); sendCode(err) != tc.want {
			r.t.Errorf("%s: %v", tc.page, err)
		}
		r.never(m.ID)
	}
	r.again(true)
	r.checkSlowUpload(good(46))
	for i, tc := range first([]struct {
		fault, detail string
		want          rpc.SendCode
	}{
		{"upload=limit:6", "", rpc.SendMediaTooLarge},
		{"modules=missing:WAWebMediaMmsV4Upload", "WAWebMediaMmsV4Upload.uploadMedia", rpc.SendPagePathGone},
		{"signature=changed:WAWebPrepRawMedia", "WAWebPrepRawMedia.prepRawMedia", rpc.SendPagePathGone},
	}, 2) {
		r.again(true, tc.fault)
		if _, err := r.sendWhole(good(50 + i)); sendCode(err) != tc.want || !strings.Contains(err.Error(), tc.detail) {
			r.t.Errorf("%s: %v", tc.fault, err)
		}
	}
}

// checkSlowUpload checks that a text passes a file that is being uploaded.
func (r *rig) checkSlowUpload(m rpc.Message) {
	r.t.Helper()
	r.sim.ClearFaults()
	if err := r.sim.SetFault("upload=slow:600000"); err != nil {
		r.t.Fatal(err)
	}
	done := make(chan error, 1)
	var begun atomic.Bool
	go func() {
		var last error
		err := r.whenReady(func(ctx context.Context) error {
			if _, last = r.page.Send(ctx, m); begun.Load() {
				return nil
			}
			return last
		})
		done <- cmp.Or(last, err)
	}()
	for deadline := time.Now().Add(patience / 2); r.sim.Uploading() == 0; {
		if time.Now().After(deadline) {
			r.t.Fatal("the upload has not begun")
		}
		r.pause()
	}
	begun.Store(true)
	r.mustSend(ourID(59), ada)
	select {
	case err := <-done:
		r.t.Errorf("the upload ended: %v", err)
	default:
	}
	r.again(true) // The page reloads in the middle of it.
	// What fails first as a document goes away differs.
	if err := <-done; sendCode(err) != rpc.SendNotReady && sendCode(err) != rpc.SendMediaFailed {
		r.t.Errorf("the page was reloaded: %v", err)
	}
	r.never(m.ID)
	r.mustSendFile(m)
}

func (r *rig) mustSendFile(m rpc.Message) {
	r.t.Helper()
	if s, err := r.sendWhole(m); err != nil || s.ID != m.ID || !s.Stored {
		r.t.Fatalf("Send() = %+v, %v", s, err)
	}
}

func shaOf(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}
