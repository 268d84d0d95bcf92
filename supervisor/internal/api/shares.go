package api

import (
	"fmt"
	"net/http"
	"sync"
	"time"

	"session-manager/supervisor/internal/listen"
)

// The requests that last are fewer than the connections, in all and for each address, so
// that some are left for those that don't.
const (
	mostListeners, mostListenersEach = 1000, 500
	mostWaits, mostWaitsEach         = 800, 400
)

// fullRetry is how long a caller should wait when there are too many of a kind.
const fullRetry = 10 * time.Second

// shares bounds how many requests of one kind are open at once.
type shares struct {
	// what they are called, and the code of the problem.
	what, code string
	// total is the bound of all of them, each that of one address (listen.Peer).
	total, each int

	mu   sync.Mutex
	all  int            // guarded by mu
	held map[string]int // guarded by mu; by address
}

func newShares(what, code string, total, each int) *shares {
	return &shares{what: what, code: code, total: total, each: each, held: map[string]int{}}
}

// take returns how to give back a place for r, or why r gets no place.
func (s *shares) take(r *http.Request) (release func(), bad *problem) {
	peer := listen.Peer(r.RemoteAddr)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.held[peer] >= s.each:
		return nil, &problem{
			Status: http.StatusTooManyRequests, Code: s.code, retryAfter: fullRetry,
			Detail: fmt.Sprintf("Your address has %d %s, which is the maximum for one.", s.each, s.what),
		}
	case s.all >= s.total:
		return nil, &problem{
			Status: http.StatusServiceUnavailable, Code: s.code, retryAfter: fullRetry,
			Detail: fmt.Sprintf("There are %d %s, which is the maximum.", s.total, s.what),
		}
	}
	s.all++
	s.held[peer]++
	return func() { s.release(peer) }, nil
}

func (s *shares) release(peer string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all--
	if s.held[peer]--; s.held[peer] == 0 {
		delete(s.held, peer)
	}
}
