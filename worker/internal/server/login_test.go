package server

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
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

// acceptingPage takes any selectors file.
type acceptingPage struct{ *fakePage }

func (acceptingPage) SetSelectors(context.Context, []byte) error { return nil }
