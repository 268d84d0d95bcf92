package server

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-rod/rod/lib/proto"

	"session-manager/shared/rpc"
	"session-manager/shared/selectors"
	"session-manager/worker/internal/page"
	"session-manager/worker/internal/persist"
)

// The login is proven by what the selectors in force call its keys, and by nothing
// else, however long that takes.
func TestLoginIsProvenByTheKeysInForce(t *testing.T) {
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = w.Write([]byte(`<!doctype html><script>localStorage.setItem("renamed", "v")</script>`))
	}))
	t.Cleanup(site.Close)
	r := newRig(t, nil)
	r.timings.ProbeDeadline = time.Minute
	r.req.URL = site.URL
	r.openPage = func(ctx context.Context, o page.Options) (Page, error) {
		_, err := proto.TargetCreateTarget{URL: o.URL}.Call(o.Browser.Context(ctx))
		o.Emit(rpc.PageObserved{Condition: rpc.PageReady, Registered: true})
		return acceptingPage{&fakePage{}}, err
	}
	r.start(t.Context())
	if await[rpc.PageObserved](r).Persisted {
		t.Error("proven before anything is on disk")
	}
	for stored := false; !stored; {
		await[rpc.Heartbeat](r)
		stored, _ = persist.Stored(r.req.ProfileDir, r.req.ScratchDir, site.URL, []string{"renamed"}) // it may be torn
	}
	for range 50 { // looks at the disk are four times a second
		await[rpc.Heartbeat](r)
	}
	known, err := selectors.Read(nil)
	if err != nil {
		t.Fatal(err)
	}
	known.Storage.Registered = []string{"renamed"}
	file, err := json.Marshal(known)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.SetSelectors(t.Context(), file); err != nil {
		t.Fatal(err)
	}
	if !await[rpc.PageObserved](r).Persisted {
		t.Error("repeated without the proof")
	}
}

// A newer Chrome, which keeps localStorage in a form that can't be read, does not make a
// login useless.
func TestLoginInAnUnknownFormCountsAsWritten(t *testing.T) {
	profile := t.TempDir()
	for _, name := range []string{"Default", "Default/LocalStorage"} {
		if err := os.Mkdir(filepath.Join(profile, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	events := newQueue()
	defer context.AfterFunc(ctx, events.close)()
	req := rpc.RunRequest{ProfileDir: profile, ScratchDir: t.TempDir(), URL: "https://web.whatsapp.com"}
	w := newLoginWatch(req, events, slog.New(slog.DiscardHandler), func() []byte { return nil }, 300*time.Millisecond)
	go func() { _ = w.run(ctx) }()
	w.put(rpc.PageObserved{Condition: rpc.PageReady, Registered: true})
	for {
		it, ok := events.next()
		if !ok {
			t.Fatal("never counted as written")
		}
		if it.body.(rpc.PageObserved).Persisted {
			return
		}
	}
}

// acceptingPage takes any selectors file.
type acceptingPage struct{ *fakePage }

func (acceptingPage) SetSelectors(context.Context, []byte) error { return nil }
