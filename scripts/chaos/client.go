package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"session-manager/scripts/command"
)

// client asks /status and /qr again and again, each over a connection of its own,
// as impatient users would.
type client struct {
	pause time.Duration // between an answer and the next request
	stop  context.CancelFunc
	loops sync.WaitGroup

	mu    sync.Mutex
	tally tally // guarded by mu
}

// tally counts the requests of a while.
type tally struct {
	Asked   int           `json:"asked"`
	Failed  int           `json:"failed"`
	Longest time.Duration `json:"longest"`
	// First is what the first failed request said.
	First string `json:"first_failure,omitempty"`
}

func newClient(base string, pause time.Duration) *client {
	ctx, cancel := context.WithCancel(context.Background())
	c := &client{pause: pause, stop: cancel}
	for _, path := range []string{"/status", "/qr"} {
		transport := &http.Transport{}
		c.loops.Go(func() {
			defer transport.CloseIdleConnections()
			c.loop(ctx, &http.Client{Transport: transport, Timeout: time.Minute}, base+path)
		})
	}
	return c
}

func (c *client) loop(ctx context.Context, by *http.Client, url string) {
	for ctx.Err() == nil {
		begun := time.Now()
		err := fetch(ctx, by, url)
		if ctx.Err() != nil {
			return // it was cut off by us
		}
		c.note(time.Since(begun), err)
		if c.pause > 0 {
			_ = command.Pause(ctx, c.pause) // or it is to end
		}
	}
}

func fetch(ctx context.Context, by *http.Client, url string) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return fmt.Errorf("cannot make request: %w", err)
	}
	resp, err := by.Do(r)
	if err != nil {
		return fmt.Errorf("cannot ask: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return fmt.Errorf("cannot read answer: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the answer is %s", resp.Status)
	}
	return nil
}

func (c *client) note(took time.Duration, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tally.Asked++
	c.tally.Longest = max(c.tally.Longest, took)
	if err == nil {
		return
	}
	c.tally.Failed++
	if c.tally.First == "" {
		c.tally.First = err.Error()
	}
}

// take returns what was counted since the last call.
func (c *client) take() tally {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.tally
	c.tally = tally{}
	return t
}

// close ends the asking.
func (c *client) close() {
	c.stop()
	c.loops.Wait()
}
