package api

import (
	"encoding/json"
	"math"
	"net/http"
	"strconv"
	"time"
)

// response writes itself. It is what an answer returns instead of touching the
// ResponseWriter.
type response interface {
	write(w http.ResponseWriter, r *http.Request)
}

// problem is an error answer: an RFC 9457 problem document with a stable code
// for programs, and a hint for people.
type problem struct {
	status int
	code   string
	detail string
	hint   string
	// retryAfter is when another attempt makes sense; zero if that is unknown.
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
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(p.retryAfter.Seconds()))))
	}
	if p.askForKey {
		// Browsers ask for the key, and then send it with every request of the page.
		w.Header().Add("WWW-Authenticate", `Bearer realm="session-manager"`)
		w.Header().Add("WWW-Authenticate", `Basic realm="session-manager: the API key is the password", charset="UTF-8"`)
	}
	writeBytes(w, p.status, "application/problem+json", body)
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
		problem{status: http.StatusInternalServerError, code: "internal", detail: "The answer could not be encoded."}.write(w, r)
		return
	}
	writeBytes(w, o.status, "application/json", append(body, '\n'))
}

// writeBytes ignores a failed write: the client has gone.
func writeBytes(w http.ResponseWriter, status int, contentType string, body []byte) {
	h := w.Header()
	standard(h, contentType)
	// net/http counts short answers only, and sends long ones in chunks.
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

// standard sets the headers of every answer: it is not to be cached, and not for
// other sites.
func standard(h http.Header, contentType string) {
	h.Set("Content-Type", contentType)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
}

// handled is an answer that another handler writes.
type handled struct{ http.Handler }

func (h handled) write(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	h.ServeHTTP(w, r)
}
