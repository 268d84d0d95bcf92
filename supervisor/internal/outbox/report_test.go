package outbox

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"session-manager/shared/rpc"
)

// reader takes what is reported once it is ready.
type reader struct {
	mu    sync.Mutex
	ready bool
	got   []string
	news  chan struct{}
}

func (r *reader) report(_ context.Context, account rpc.Account, all []Message) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.ready {
		return errors.New("not ready")
	}
	for _, m := range all {
		r.got = append(r.got, string(m.ID)+" "+string(m.Status))
	}
	if account != (rpc.Account{}) {
		r.got = append(r.got, "linked "+account.Address())
	}
	select {
	case r.news <- struct{}{}:
	default:
	}
	return nil
}

// await waits until this was reported, in order.
func (r *reader) await(t *testing.T, want ...string) {
	t.Helper()
	for deadline := time.After(time.Minute); ; {
		r.mu.Lock()
		got := slices.Clone(r.got)
		r.mu.Unlock()
		if slices.Equal(got, want) {
			return
		}
		select {
		case <-r.news:
		case <-deadline:
			t.Fatalf("got %q, want %q", got, want)
		}
	}
}

func TestChangesAreReportedOnceTheyAreTaken(t *testing.T) {
	path := filepath.Join(t.TempDir(), "admin.outbox")
	r := &reader{news: make(chan struct{}, 1)}
	b, stop := start(t, Options{Path: path, Report: r.report})
	var want []string
	for range 3 {
		m := accept(t, b, request("", "a"))
		if _, err := b.Cancel(t.Context(), m.ID); err != nil {
			t.Fatal(err)
		}
		want = append(want, string(m.ID)+" cancelled")
	}
	stop() // nobody was ready

	r.ready = true
	b, stop = start(t, Options{Path: path, Report: r.report})
	r.await(t, want...)
	b.post(func(l *loop) { l.account(by("1@c.us"), time.Now()) })
	want = append(want, "linked 1@c.us")
	r.await(t, want...)
	stop()

	b, stop = start(t, Options{Path: path}) // nobody is to be told
	m := accept(t, b, request("", "b"))
	if _, err := b.Cancel(t.Context(), m.ID); err != nil {
		t.Fatal(err)
	}
	stop()
	start(t, Options{Path: path, Report: r.report})
	r.await(t, append(want, "linked 1@c.us")...)
}
