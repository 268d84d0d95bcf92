package webhook

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"

	"session-manager/shared/reason"
	"session-manager/shared/rpc"
	"session-manager/supervisor/internal/events"
	"session-manager/supervisor/internal/outbox"
	"session-manager/supervisor/internal/session"
)

// Each request is as the description has it under webhooks.
func TestDeliveriesAreAsDescribed(t *testing.T) {
	hooks := described(t)
	for _, kind := range kinds {
		if hooks[kind] == nil {
			t.Errorf("%s is not described", kind)
		}
	}
	var away atomic.Bool
	away.Store(true)
	r := start(t, func(_ int, w http.ResponseWriter) {
		if away.Load() {
			w.WriteHeader(http.StatusBadGateway)
		}
	}, func(o *Options) { o.Limits.Events = 4 })
	now := session.Moment{Time: time.Now()}
	r.log.Observe(&session.Snapshot{
		State: session.Disconnected, Since: now, Reason: session.NewReason(reason.Reconnecting, "", now.Time),
		Warnings: session.Reasons{session.NewReason(reason.DiskFull, "", now.Time)},
	})
	r.ids(t, 1)
	for i := range 4 {
		m := outbox.Message{
			ID: "3EB0ABCDEF0123456789AB", Status: outbox.Failed, To: "5491123456789@c.us", Account: rpc.AccountAt("1@c.us"), Code: outbox.CodeRefused, WhatsAppCode: 463,
			Attempts: i, Times: map[outbox.Status]time.Time{outbox.Queued: now.Time, outbox.Failed: now.Time}, ExpiresAt: now.Time, Reference: "order 1",
		}
		report, ok := events.ReportOf(m)
		if !ok {
			t.Fatal("it is not reported")
		}
		report.ID = fmt.Sprint(report.ID, i)
		if err := r.sender.Keep(t.Context(), rpc.Account{}, []events.Report{report}); err != nil {
			t.Fatal(err)
		}
	}
	away.Store(false)
	seen := map[string]bool{}
	for !seen[State] || !seen[Warnings] || !seen[Dropped] || !seen[string(events.MessageChanged)] {
		d := r.next(t)
		seen[d.kind] = true
		d.conforms(t, hooks[d.kind].Post)
	}
}

// described returns what the description has under webhooks.
func described(t *testing.T) map[string]*openapi3.PathItem {
	t.Helper()
	content, err := os.ReadFile("../api/openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	description, err := openapi3.NewLoader().LoadFromData(content)
	if err != nil {
		t.Fatal(err)
	}
	return description.Webhooks
}

// conforms checks a request against its description.
func (d delivery) conforms(t *testing.T, operation *openapi3.Operation) {
	t.Helper()
	var body any
	if err := json.Unmarshal(d.body, &body); err != nil {
		t.Fatal(err)
	}
	schema := operation.RequestBody.Value.Content["application/json"].Schema.Value
	if err := schema.VisitJSON(body, openapi3.EnableJSONSchema2020(), openapi3.EnableFormatValidation()); err != nil {
		t.Errorf("%s: %v", d.body, err)
	}
	for _, p := range operation.Parameters {
		if err := p.Value.Schema.Value.VisitJSON(d.header.Get(p.Value.Name), openapi3.EnableJSONSchema2020()); err != nil {
			t.Errorf("%s: %v", p.Value.Name, err)
		}
	}
}
