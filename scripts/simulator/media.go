package simulator

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
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

// Media is the host that takes files.
type Media struct {
	settings *Settings

	mu      sync.Mutex
	uploads []Upload // guarded by mu
}

// Uploads returns what was uploaded, in order.
func (m *Media) Uploads() []Upload {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.uploads)
}

// take takes a file, unless a switch keeps it from that.
func (m *Media) take(w http.ResponseWriter, r *http.Request) {
	if fault, on := m.settings.fault("upload"); on {
		switch fault.Value {
		case "403":
			http.Error(w, "forbidden", http.StatusForbidden)
			return
		case "slow":
			if !pause(r.Context(), time.Duration(fault.number())*time.Millisecond) {
				return
			}
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
