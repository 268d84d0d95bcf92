package harness

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

// Prober asks /status and /qr again and again, each over a connection of its own, as
// impatient users would.
type Prober struct {
	stop  context.CancelFunc
	loops sync.WaitGroup

	mu    sync.Mutex
	tally Tally // guarded by mu
}

// Tally counts the requests of a while.
type Tally struct {
	Asked   int           `json:"asked"`
	Failed  int           `json:"failed"`
	Longest time.Duration `json:"longest"`
	// First is the error of the first failed request.
	First string `json:"first_failure,omitempty"`
}

// Probe begins to ask the service at base, with a pause between an answer and the
// next request, until Close is called.
func Probe(base string, pause time.Duration) *Prober {
	ctx, cancel := context.WithCancel(context.Background())
	p := &Prober{stop: cancel}
	for _, path := range []string{"/status", "/qr"} {
		p.loops.Go(func() {
			client := &http.Client{Transport: &http.Transport{}, Timeout: time.Minute}
			defer client.CloseIdleConnections()
			for ctx.Err() == nil {
				asked := time.Now()
				err := Fetch(ctx, client, base+path)
				if ctx.Err() != nil {
					return // it was cut off by us
				}
				p.record(time.Since(asked), err)
				_ = Pause(ctx, pause) // its error ends the loop
			}
		})
	}
	return p
}

// Fetch reads and drops a good answer.
func Fetch(ctx context.Context, client *http.Client, url string) error {
	code, err := exchange(ctx, client, http.MethodGet, url, "", io.Discard)
	if err == nil && code != http.StatusOK {
		err = fmt.Errorf("the answer is %d", code)
	}
	return err
}

func (p *Prober) record(took time.Duration, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tally.Asked++
	p.tally.Longest = max(p.tally.Longest, took)
	if err == nil {
		return
	}
	p.tally.Failed++
	if p.tally.First == "" {
		p.tally.First = err.Error()
	}
}

// Tally returns what was counted so far.
func (p *Prober) Tally() Tally {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.tally
}

// Close ends the asking.
func (p *Prober) Close() {
	p.stop()
	p.loops.Wait()
}
