package page

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"testing"

	"session-manager/scripts/simulator"
	"session-manager/shared/rpc"
)

// mostFile is the size of the largest file that these tests want.
const mostFile = 2 << 20

// withFile has a message with a file arrive, and returns what was read of it.
func (r *reader) withFile(f simulator.IncomingFile) rpc.Received {
	r.t.Helper()
	r.sim.Deliver(simulator.Incoming{From: phoneOfAda, Kind: "document", Text: "see this", File: &f})
	return r.next(1)[0]
}

// fetch fetches a whole file, or as much of it as most bytes.
func (r *reader) fetch(key rpc.Secret) (content []byte, err error) {
	r.t.Helper()
	for ctx := r.context(); ; {
		got, err := r.read(rpc.ReceiveQuery{Keys: []rpc.Secret{key}, Errand: rpc.Fetch, Offset: int64(len(content)), Most: mostFile})
		if err != nil {
			return nil, err
		}
		content = append(content, got.Part...)
		switch {
		case !got.More:
			return content, nil
		case len(got.Part) > rpc.MaxPart || len(content) > mostFile || ctx.Err() != nil:
			return content, errors.New("it does not end")
		}
	}
}

// TestReceivedFilesAreFetchedInParts follows one page.
func TestReceivedFilesAreFetchedInParts(t *testing.T) {
	t.Parallel()
	r := openReceiver(t)
	content := make([]byte, 2*rpc.MaxPart+7)
	_, _ = rand.Read(content)
	m := r.withFile(simulator.IncomingFile{MIME: "application/pdf", Name: "plan.pdf", Content: content})
	sum := sha256.Sum256(content)
	if m.Media != (rpc.ReceivedMedia{MIME: "application/pdf", Size: int64(len(content)), Name: "plan.pdf", SHA256: hex.EncodeToString(sum[:])}) || m.Text != "see this" {
		t.Errorf("reported as %+v", m)
	}
	for range 2 { // the second time the page has it
		if got, err := r.fetch(m.Key); err != nil || !bytes.Equal(got, content) {
			t.Errorf("%d bytes, %v", len(got), err)
		}
	}
	if n := len(r.sim.Downloads()); n != 1 {
		t.Errorf("it was downloaded %d times", n)
	}
	r.checkLinks(content[:10])
	r.checkOddFiles(m.Key)
	r.checkHostileFiles(content[:10])
	if done := r.sim.Errands(); slices.ContainsFunc(done, func(s string) bool { return !strings.HasPrefix(s, "reupload ") }) {
		t.Errorf("the page has done %v", done)
	}
}

// checkLinks has links that have expired, and a server that refuses.
func (r *reader) checkLinks(content []byte) {
	r.t.Helper()
	for _, tc := range []struct {
		fault string
		want  rpc.SendCode
		asked int // how often the sender was
	}{
		{"download=expired", "", 1},
		{"download=gone", rpc.SendMediaGone, 1},
		{"download=403", rpc.SendMediaFailed, 0},
		{"download=lost", rpc.SendMediaFailed, 0},
	} {
		r.sim.ClearFaults()
		if err := r.sim.SetFault(tc.fault); err != nil {
			r.t.Fatal(err)
		}
		before := len(r.sim.Errands())
		m := r.withFile(simulator.IncomingFile{MIME: "image/png", Content: content})
		got, err := r.fetch(m.Key)
		if sendCode(err) != tc.want || tc.want == "" && !bytes.Equal(got, content) {
			r.t.Errorf("%s: %d bytes, %v", tc.fault, len(got), err)
		}
		if asked := len(r.sim.Errands()) - before; asked != tc.asked {
			r.t.Errorf("%s: the sender was asked %d times", tc.fault, asked)
		}
	}
	r.sim.ClearFaults()
}

// checkOddFiles asks for files of messages without one, and for too large ones, whether they claim it or not.
func (r *reader) checkOddFiles(known rpc.Secret) {
	r.t.Helper()
	r.sim.Receive(phoneOfAda, "a text")
	text := r.next(1)[0]
	deleted := r.withFile(simulator.IncomingFile{MIME: "image/png", Content: []byte("x")})
	r.sim.Deliver(simulator.Incoming{From: phoneOfAda, Changes: deleted.ID, Kind: "revoked"})
	if m := r.changes(1)[0]; m.Media != (rpc.ReceivedMedia{}) {
		r.t.Errorf("a deleted file: %+v", m.Media)
	}
	claimed := r.withFile(simulator.IncomingFile{MIME: "image/png", Content: []byte("x"), Size: mostFile + 1})
	larger := r.withFile(simulator.IncomingFile{MIME: "image/png", Content: make([]byte, mostFile+1), Size: 1})
	for key, want := range map[rpc.Secret]rpc.SendCode{
		text.Key: rpc.SendMediaGone, deleted.Key: rpc.SendMediaGone, claimed.Key: rpc.SendMediaTooLarge, larger.Key: rpc.SendMediaTooLarge,
		"false_1@c.us_3A": rpc.SendMessageNotFound,
	} {
		if got, err := r.fetch(key); sendCode(err) != want {
			r.t.Errorf("%d bytes, %v, not %s", len(got), err, want)
		}
	}
	if got, err := r.read(rpc.ReceiveQuery{Keys: []rpc.Secret{known}, Errand: rpc.Fetch, Offset: mostFile, Most: mostFile}); err != nil || len(got.Part) > 0 || got.More {
		r.t.Errorf("after the end: %+v, %v", got, err)
	}
}

// checkUnasked has a link that has expired where the page's message does not ask its sender.
func (r *reader) checkUnasked(content []byte) {
	r.t.Helper()
	if err := r.sim.SetFault("download=gone"); err != nil {
		r.t.Fatal(err)
	}
	defer r.sim.ClearFaults()
	r.spoil(`m("WAWebCollections").Msg.modelClass.prototype.downloadMedia = async () => {}`)
	m := r.withFile(simulator.IncomingFile{MIME: "image/png", Content: content})
	if got, err := r.fetch(m.Key); sendCode(err) != rpc.SendMediaFailed {
		r.t.Errorf("nobody was asked: %d bytes, %v", len(got), err)
	}
}

// checkHostileFiles has the page's functions missing, changed, or against us.
func (r *reader) checkHostileFiles(content []byte) {
	r.t.Helper()
	r.checkUnasked(content)
	const method = `m("WAWebCollections").Msg.modelClass.prototype.downloadMedia = `
	for _, tc := range first([]struct {
		page string
		want rpc.SendCode
	}{
		{method + `undefined`, ""},
		{method + `async () => {}`, ""},
		{method + `() => { throw { get status() { throw 1; } }; }`, rpc.SendMediaFailed},
		{method + `async function () { this.mediaData.mediaStage = "RESOLVED"; this.mediaData.mediaBlob = { forceToBlob: () => new Blob(["x".repeat(1e7)]) }; }`, rpc.SendMediaTooLarge},
		{method + `undefined; FileReader.prototype.readAsDataURL = function () { Object.defineProperty(this, "result", { value: "," + "A".repeat(1e7) }); this.onload(); };`, "too long"},
		{`m("WAWebCollections").Msg.getMessagesById = async () => ({ messages: [{ id: "false_1@c.us_3A", filehash: "x", size: 1 }] })`, rpc.SendMessageNotFound},
		{"modules=missing:WAWebDownloadManager", rpc.SendPagePathGone},
	}, 4) {
		if strings.HasPrefix(tc.page, "modules=") {
			r.again(true, tc.page)
			r.spoil(method + "undefined")
		} else {
			r.spoil(tc.page)
		}
		m := r.withFile(simulator.IncomingFile{MIME: "image/png", Content: content})
		got, err := r.fetch(m.Key)
		ok := sendCode(err) == tc.want && (err != nil || bytes.Equal(got, content))
		if tc.want == "too long" {
			ok = err != nil && strings.Contains(err.Error(), "too long")
		}
		if !ok || err != nil && strings.Contains(err.Error(), string(m.Key)) {
			r.t.Errorf("%s: %d bytes, %v", tc.page, len(got), err)
		}
	}
}
