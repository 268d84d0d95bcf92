package api

import (
	"net/http"
	"time"
)

// noRoute is the route of requests that were refused before one was found.
const noRoute = "none"

// measure is a ResponseWriter that remembers what the answer was.
type measure struct {
	http.ResponseWriter
	route  string
	status int
}

// WriteHeader implements http.ResponseWriter.
func (m *measure) WriteHeader(status int) {
	if m.status == 0 {
		m.status = status
	}
	m.ResponseWriter.WriteHeader(status)
}

// Unwrap lets http.ResponseController reach the connection.
func (m *measure) Unwrap() http.ResponseWriter { return m.ResponseWriter }

// measured counts each answer of next.
func (a *api) measured(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m := &measure{ResponseWriter: w, route: noRoute}
		start := time.Now()
		a.Meter.InFlight(1)
		defer func() {
			a.Meter.InFlight(-1)
			if m.status == 0 {
				m.status = http.StatusOK
			}
			a.Meter.Request(m.route, r.Method, m.status, time.Since(start))
		}()
		next.ServeHTTP(m, r)
	})
}

// metrics answers GET /metrics.
func (a *api) metrics(*http.Request) response { return handled{a.Meter.Handler()} }

// handled is an answer that another handler writes.
type handled struct{ http.Handler }

func (h handled) write(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	h.ServeHTTP(w, r)
}
