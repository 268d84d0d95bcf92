package simulator

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"
)

// SentMedia is the file of a message. Size and SHA256 are those of what the page has
// uploaded, in bytes and hexadecimal digits.
type SentMedia struct {
	Type   string `json:"type"`
	MIME   string `json:"mime"`
	Name   string `json:"name,omitempty"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

// Upload is a file that a page has uploaded.
type Upload struct {
	Path   string `json:"path"`
	Type   string `json:"type"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

// Media is the host that takes files, and has those of messages to the account.
type Media struct {
	settings *Settings

	mu        sync.Mutex
	uploads   []Upload   // guarded by mu
	uploading int        // guarded by mu; how many wait
	offered   []*offered // guarded by mu
	downloads []string   // guarded by mu; the ids of messages
}

// IncomingFile is the file of a message to the account.
type IncomingFile struct {
	MIME    string `json:"mime"`
	Name    string `json:"name"`
	Content []byte `json:"content"`
	// Size and SHA256 are what the message claims; without them, those of Content.
	Size   int64  `json:"size"`
	SHA256 []byte `json:"sha256"`
}

// offered is a file that can be downloaded.
type offered struct {
	id, path string
	content  []byte
	// renewed: its sender has uploaded it again.
	renewed bool
}

// Downloads returns the ids of the messages whose files were asked for, in order.
func (m *Media) Downloads() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.downloads)
}

// offer lets the file of a message be downloaded, and returns how the page learns of it.
func (m *Media) offer(id, kind string, f *IncomingFile) *stanzaMedia {
	m.mu.Lock()
	defer m.mu.Unlock()
	one := &offered{id: id, path: fmt.Sprintf("/mms/%s/in-%d", kind, len(m.offered)), content: f.Content}
	m.offered = append(m.offered, one)
	said := &stanzaMedia{Type: kind, MIME: f.MIME, Filename: f.Name, Path: one.path, Key: true, Size: f.Size, Hash: f.SHA256}
	if said.Size == 0 {
		said.Size = int64(len(f.Content))
	}
	if said.Hash == nil {
		sum := sha256.Sum256(f.Content)
		said.Hash = sum[:]
	}
	return said
}

// renew has the sender of a message upload its file again, and returns where it is then.
func (m *Media) renew(id string) (path string, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	i := slices.IndexFunc(m.offered, func(one *offered) bool { return one.id == id })
	if i < 0 || m.settings.isOn("download", "gone") {
		return "", false
	}
	m.offered[i].renewed = true
	m.offered[i].path += "-again"
	return m.offered[i].path, true
}

// give answers with a file, unless a switch keeps it from that.
func (m *Media) give(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	i := slices.IndexFunc(m.offered, func(one *offered) bool { return one.path == r.URL.Path })
	var one offered
	if i >= 0 {
		one = *m.offered[i]
		m.downloads = append(m.downloads, one.id)
	}
	m.mu.Unlock()
	fault, _ := m.settings.fault("download")
	switch {
	case i < 0, fault.Value == "gone":
		http.NotFound(w, r)
		return
	case fault.Value == "403":
		http.Error(w, "forbidden", http.StatusForbidden)
		return
	case fault.Value == "expired" && !one.renewed:
		http.Error(w, "gone", http.StatusGone)
		return
	case fault.Value == "slow" && !pause(r.Context(), time.Duration(fault.number())*time.Millisecond):
		return
	}
	content := slices.Clone(one.content)
	switch fault.Value {
	case "corrupt":
		content[0] ^= 1
	case "longer":
		content = append(content, 0)
	case "lost":
		w.Header().Set("Content-Length", strconv.Itoa(len(content)))
		_, _ = w.Write(content[:len(content)/2])
		hangUp(w)
		return
	}
	_, _ = w.Write(content)
}

// Uploads returns what was uploaded, in order.
func (m *Media) Uploads() []Upload {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.uploads)
}

// Uploading returns how many uploads wait because of the switch upload=slow.
func (m *Media) Uploading() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.uploading
}

// wait delays an upload, and reports whether its page waits for so long.
func (m *Media) wait(ctx context.Context, d time.Duration) bool {
	add := func(n int) {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.uploading += n
	}
	add(1)
	defer add(-1)
	return pause(ctx, d)
}

// take takes a file, unless a switch keeps it from that.
func (m *Media) take(w http.ResponseWriter, r *http.Request) {
	if fault, on := m.settings.fault("upload"); on {
		switch fault.Value {
		case "403":
			http.Error(w, "forbidden", http.StatusForbidden)
			return
		case "slow":
			content, err := io.ReadAll(r.Body) // A server that has not read it does not notice that the page has gone.
			if err != nil || !m.wait(r.Context(), time.Duration(fault.number())*time.Millisecond) {
				return
			}
			r.Body = io.NopCloser(bytes.NewReader(content))
		case "lost":
			_, _ = io.CopyN(io.Discard, r.Body, 1<<10) // as far as it has come
			hangUp(w)
			return
		}
	}
	sum := sha256.New()
	size, err := io.Copy(sum, r.Body)
	if err != nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	one := Upload{Type: r.PathValue("type"), Size: size, SHA256: hex.EncodeToString(sum.Sum(nil))}
	one.Path = fmt.Sprintf("/mms/%s/%d", one.Type, len(m.uploads))
	m.uploads = append(m.uploads, one)
	answerJSON(w, http.StatusOK, map[string]string{"path": one.Path})
}

// stanzaMedia is the file of a message, as the page describes it.
type stanzaMedia struct {
	Type     string `json:"type"`
	MIME     string `json:"mimetype"`
	Filename string `json:"filename"`
	Path     string `json:"path"`
	// Key reports whether the recipient gets the key to it.
	Key bool `json:"key"`
	// Size and Hash, a SHA-256, are those of a file to the account.
	Size int64  `json:"size,omitempty"`
	Hash []byte `json:"filehash,omitempty"`
}

// errNoUpload means that a message names a file that nobody can download.
var errNoUpload = errors.New("the message's file was not uploaded, or has no key")

// of returns what was uploaded for a message, nil for a text.
func (m *Media) of(s stanza) (*SentMedia, error) {
	if s.Media == nil {
		return nil, nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	i := slices.IndexFunc(m.uploads, func(u Upload) bool { return u.Path == s.Media.Path })
	if i < 0 || !s.Media.Key {
		return nil, errNoUpload
	}
	return &SentMedia{
		Type: s.Media.Type, MIME: s.Media.MIME, Name: s.Media.Filename, Size: m.uploads[i].Size, SHA256: m.uploads[i].SHA256,
	}, nil
}

func sameMedia(a, b *SentMedia) bool {
	if a == nil || b == nil {
		return a == b
	}
	return *a == *b
}
