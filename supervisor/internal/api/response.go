package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// problem is an error answer: an RFC 9457 problem document with a stable code
// for programs, and a hint for people.
type problem struct {
	status int
	code   string
	detail string
	hint   string
	// retryAfter, where it isn't zero, says when another try makes sense.
	retryAfter time.Duration
	// askForKey makes browsers ask for the API key.
	askForKey bool
}

type problemBody struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Code   string `json:"code"`
	Detail string `json:"detail"`
	Hint   string `json:"hint,omitempty"`
}

func (p problem) write(w http.ResponseWriter, _ *http.Request) {
	body, err := json.Marshal(problemBody{
		Type: "about:blank", Title: http.StatusText(p.status), Status: p.status,
		Code: p.code, Detail: p.detail, Hint: p.hint,
	})
	if err != nil {
		http.Error(w, p.code, p.status)
		return
	}
	if p.retryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(seconds(p.retryAfter)))
	}
	if p.askForKey {
		challenge(w.Header())
	}
	writeBytes(w, p.status, "application/problem+json", body)
}

func notFound(r *http.Request) problem {
	return problem{
		status: http.StatusNotFound, code: "not_found",
		detail: fmt.Sprintf("There is nothing at %.100q.", r.URL.Path), hint: "GET /status, /qr and /session are good starts.",
	}
}

// raw is an answer whose bytes are ready.
type raw struct {
	status      int
	contentType string
	body        []byte
}

func (b raw) write(w http.ResponseWriter, _ *http.Request) {
	writeBytes(w, b.status, b.contentType, b.body)
}

// object is an answer in JSON.
type object struct {
	status int
	value  any
}

func (o object) write(w http.ResponseWriter, r *http.Request) {
	body, err := json.MarshalIndent(o.value, "", "  ")
	if err != nil {
		problem{status: http.StatusInternalServerError, code: "internal", detail: "The answer could not be written."}.write(w, r)
		return
	}
	writeBytes(w, o.status, "application/json", append(body, '\n'))
}

// A failed write means that the client has gone; nobody is left to tell.
func writeBytes(w http.ResponseWriter, status int, contentType string, body []byte) {
	h := w.Header()
	standard(h, contentType)
	// net/http counts short answers only, and sends long ones in chunks.
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

// standard sets the headers of every answer: it is of this moment and of no use
// to other sites.
func standard(h http.Header, contentType string) {
	h.Set("Content-Type", contentType)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
}
