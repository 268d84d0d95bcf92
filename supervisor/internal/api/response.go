package api

import (
	"encoding/json"
	"math"
	"net/http"
	"strconv"
	"time"
)

// Media types of answers.
const (
	jsonType = "application/json"
	pngType  = "image/png"
	textType = "text/plain"
	utf8Text = textType + "; charset=utf-8"
)

// problem is an error answer: an RFC 9457 problem document with a stable code
// for programs, and a hint for people.
type problem struct {
	// Type and Title are set when it is written.
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Code   string `json:"code"`
	Detail string `json:"detail"`
	Hint   string `json:"hint,omitempty"`
	// Field is the field of the body that is wrong.
	Field string `json:"field,omitempty"`
	// retryAfter is when another attempt makes sense; zero if that is unknown.
	retryAfter time.Duration
	// askForKey makes browsers ask for the API key where a person follows a link.
	askForKey bool
}

// The ways to present a key. Browsers ask for the password of the latter.
const (
	bearerChallenge = `Bearer realm="session-manager"` //nolint:gosec // a question, no credentials
	basicChallenge  = `Basic realm="session-manager: the API key is the password", charset="UTF-8"`
)

func (p problem) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.Type, p.Title = "about:blank", http.StatusText(p.Status)
	body, _ := json.Marshal(p) // it has a JSON form
	if p.retryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(p.retryAfter.Seconds()))))
	}
	if p.askForKey {
		w.Header().Add("WWW-Authenticate", bearerChallenge)
		// The page asks for the key in a way of its own, and sends this header even without one.
		if _, sent := r.Header[keyHeader]; !sent {
			w.Header().Add("WWW-Authenticate", basicChallenge)
		}
	}
	writeBytes(w, p.Status, "application/problem+json", body)
}

// content is an answer whose bytes are ready.
type content struct {
	contentType string
	body        []byte
}

func (c content) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	writeBytes(w, http.StatusOK, c.contentType, c.body)
}

// tagged is content with an entity tag; a request that names the tag is answered with 304.
type tagged struct {
	tag string
	content
}

func (t tagged) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("ETag", t.tag)
	if knows(r.Header.Get("If-None-Match"), t.tag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	t.content.ServeHTTP(w, r)
}

// object is an answer in JSON.
type object struct {
	status int
	value  any
}

func (o object) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := json.MarshalIndent(o.value, "", "  ")
	if err != nil {
		problem{Status: http.StatusInternalServerError, Code: "internal", Detail: "The answer could not be encoded."}.ServeHTTP(w, r)
		return
	}
	writeBytes(w, o.status, jsonType, append(body, '\n'))
}

// writeBytes ignores a failed write: the client has gone.
func writeBytes(w http.ResponseWriter, status int, contentType string, body []byte) {
	h := w.Header()
	h.Set("Content-Type", contentType)
	// net/http sets it for short answers only, and sends long ones in chunks.
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body)
}
