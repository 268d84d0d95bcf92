package api

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"

	"session-manager/shared/reason"
	"session-manager/shared/rpc"
	"session-manager/supervisor/internal/events"
	"session-manager/supervisor/internal/inbox"
	"session-manager/supervisor/internal/outbox"
	"session-manager/supervisor/internal/session"
)

// described loads the description, once.
var described = sync.OnceValues(func() (*openapi3.T, error) {
	for _, kind := range []string{"image/png", "text/html", "text/event-stream", "application/yaml", "application/zip", "application/openmetrics-text", "application/pdf", "audio/ogg", "image/jpeg"} {
		openapi3filter.RegisterBodyDecoder(kind, openapi3filter.FileBodyDecoder)
	}
	return openapi3.NewLoader().LoadFromData(description)
})

func doc(t *testing.T) *openapi3.T {
	t.Helper()
	d, err := described()
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// conforms checks an answer against the description. A path or method that is not
// described must be a problem.
func conforms(t *testing.T, r *http.Request, status int, header http.Header, body string) {
	t.Helper()
	d := doc(t)
	path := template(r.URL.Path)
	item := d.Paths.Value(path)
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet
		if body != "" {
			t.Errorf("HEAD %s has a body", r.URL.Path)
		}
	}
	if item == nil || item.GetOperation(method) == nil || r.Method == http.MethodHead && status == http.StatusMethodNotAllowed {
		undescribed(t, r, status, body, item != nil)
		return
	}
	operation := item.GetOperation(method)
	if operation.Responses.Status(status) == nil {
		t.Errorf("%s %s answers %d, which is not described", r.Method, r.URL.Path, status)
		return
	}
	err := openapi3filter.ValidateResponse(t.Context(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{
			Request: r,
			Route:   &routers.Route{Spec: d, Path: path, PathItem: item, Method: method, Operation: operation},
		},
		Status: status, Header: header, Body: io.NopCloser(strings.NewReader(body)),
		Options: &openapi3filter.Options{IncludeResponseStatus: true},
	})
	if err != nil {
		t.Errorf("%s %s answers %d, not as described: %v", r.Method, r.URL, status, err)
	}
}

// undescribed checks the answer to what is not described. known: the path is.
func undescribed(t *testing.T, r *http.Request, status int, body string, known bool) {
	t.Helper()
	want := http.StatusNotFound
	if known {
		want = http.StatusMethodNotAllowed
	}
	switch {
	case r.Method == http.MethodOptions && status == http.StatusNoContent && body == "":
		// A preflight of another site is still refused: nothing allows it.
	case status != http.StatusForbidden && status != want:
		t.Errorf("%s %s is not described, but answers %d", r.Method, r.URL.Path, status)
	case r.Method != http.MethodHead:
		valid(t, "Problem", []byte(body))
	}
}

// template returns the described path that matches a request's path.
func template(path string) string {
	rest, ok := strings.CutPrefix(path, "/crashes/")
	switch {
	case strings.HasPrefix(path, "/messages/"):
		_, act, _ := strings.Cut(strings.TrimPrefix(path, "/messages/"), "/")
		return strings.TrimSuffix("/messages/{id}/"+act, "/")
	case strings.HasPrefix(path, "/media/"):
		return "/media/{id}"
	case strings.HasPrefix(path, "/contacts/"):
		return "/contacts/{phone}"
	case !ok:
		return path
	case strings.Contains(rest, "/"):
		return "/crashes/{id}/{file}"
	default:
		return "/crashes/{id}"
	}
}

// valid checks data against a schema of the description.
func valid(t *testing.T, schema string, data []byte) {
	t.Helper()
	var value any
	if err := json.Unmarshal(data, &value); err != nil {
		t.Errorf("%s: %v in %s", schema, err, data)
		return
	}
	s := doc(t).Components.Schemas[schema]
	if s == nil {
		t.Fatalf("there is no schema %s", schema)
	}
	if err := s.Value.VisitJSON(value, openapi3.EnableJSONSchema2020(), openapi3.EnableFormatValidation()); err != nil {
		t.Errorf("%s: %v", schema, err)
	}
}

func TestDescriptionIsValidAndServed(t *testing.T) {
	if err := doc(t).Validate(t.Context()); err != nil {
		t.Fatal(err)
	}
	s := serve(t, newFakeSession(session.Snapshot{}), fakeCommands{})
	got := get(t, s, "/openapi.yaml")
	if got.status != 200 || got.header.Get("Content-Type") != "application/yaml" || got.body != string(description) {
		t.Errorf("got %d %s", got.status, got.header.Get("Content-Type"))
	}
}

func TestDescriptionListsRoutesMethodsAndAccess(t *testing.T) {
	names := map[access]string{open: "open", read: "read", command: "command", send: "send", receive: "receive"}
	a := made(t, Options{Session: newFakeSession(session.Snapshot{})})
	known := map[string]bool{}
	for _, rt := range a.routes {
		known[rt.path] = true
		item := doc(t).Paths.Value(rt.path)
		if item == nil {
			t.Errorf("%s is not described", rt.path)
			continue
		}
		var described []string
		for method, operation := range item.Operations() {
			described = append(described, method)
			if got := operation.Extensions["x-access"]; got != names[rt.access.of(method)] {
				t.Errorf("%s: x-access is %v, want %s", rt.path, got, names[rt.access.of(method)])
			}
		}
		var has []string
		for _, method := range rt.methods {
			if method != http.MethodHead {
				has = append(has, method)
			}
		}
		slices.Sort(described)
		slices.Sort(has)
		if !slices.Equal(described, has) {
			t.Errorf("%s: %v are described, but there are %v", rt.path, described, has)
		}
	}
	for path := range doc(t).Paths.Map() {
		if !known[path] {
			t.Errorf("%s is described, but there is no such route", path)
		}
	}
}

func TestDescriptionListsStatesAndProblemCodes(t *testing.T) {
	var states []any
	for _, s := range session.States() {
		states = append(states, string(s))
	}
	if got := doc(t).Components.Schemas["Status"].Value.Enum; !slices.Equal(got, states) {
		t.Errorf("states: got %v", got)
	}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	var source bytes.Buffer
	for _, file := range files {
		if !strings.HasSuffix(file, "_test.go") {
			content, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			source.Write(content)
		}
	}
	enum := doc(t).Components.Schemas["Problem"].Value.Properties["code"].Value.Enum
	for _, m := range regexp.MustCompile(`\bCode: "(\w+)"`).FindAllStringSubmatch(source.String(), -1) {
		if !slices.Contains(enum, any(m[1])) {
			t.Errorf("code %s is not described", m[1])
		}
	}
	for _, code := range enum {
		if name, ok := code.(string); !ok || !strings.Contains(source.String(), `"`+name+`"`) {
			t.Errorf("code %v is described, but nothing answers it", code)
		}
	}
}

// nothing returns a snapshot in which everything optional is missing.
func nothing() session.Snapshot {
	at := moment(time.Now())
	return session.Snapshot{
		State: session.Init, Since: at, Phase: session.Phase{Since: at}, Reason: session.Reason{Since: at},
		Evidence: session.Evidence{Progress: -1},
	}
}

// full returns a snapshot in which nothing is missing.
func full(t *testing.T) session.Snapshot {
	t.Helper()
	now := time.Now()
	s := withQR(t, time.Minute)
	at := moment(now)
	s.Since, s.Phase, s.Reason = at, session.Phase{Name: "page", Since: at}, session.NewReason(reason.ScanQR, "a detail", now)
	s.Evidence = session.Evidence{EvidenceAt: at, Progress: 40, Registered: true, PersistedAt: at}
	s.Page.Version, s.RetryAt, s.Pairing = "2.3000.1", at, &session.Pairing{ExpiresAt: moment(now.Add(time.Minute))}
	s.Warnings = []session.Reason{session.NewReason(reason.DiskFull, "a detail", now)}
	s.Warning = &s.Warnings[0]
	s.Login = session.Login{
		LinkedAt: at, PersistedAt: at, SettledAt: at, LoggedOutAt: at, LostAt: at, BackupAt: at, BackupVerifiedAt: at,
		RestoredAt: at, RestoredFrom: "a", QuarantinedAt: at, Quarantined: "b",
	}
	s.Sending = &session.Sending{Why: "x", NewChats: session.NewChats{
		Restricted: true, RestrictedUntil: at, Capped: true, Used: 3, Quota: 3, CappedUntil: at, Challenge: true,
	}}
	s.Worker = session.Worker{Generation: 3, PID: 11, StartedAt: at, AbnormalExits: 1, ResidentBytes: 1 << 20, HeartbeatAt: at}
	s.Browser = &session.Browser{PID: 12, Engine: "chrome", Product: "Chrome/156", UserAgent: "Mozilla", Sandbox: true}
	s.LastExit = &session.Exit{
		Generation: 2, At: at, Reason: reason.BrowserCrashed, Detail: "x", Class: "transient",
		WorkerExit: "exit 70", ChromeExit: "signal killed", UptimeMS: 3600_000, DelayMS: 1000, Failures: 1,
	}
	return s
}

func TestSessionConformsToItsDescription(t *testing.T) {
	for name, snapshot := range map[string]session.Snapshot{
		"all": full(t), "nothing": nothing(),
	} {
		s := serve(t, newFakeSession(snapshot), fakeCommands{})
		if got := get(t, s, "/session"); got.status != 200 {
			t.Errorf("%s: got %d", name, got.status)
		}
	}
	// The schema's closed objects prove something only if nothing is missing above.
	body, err := json.Marshal(full(t).LastExit)
	if err != nil || bytes.Contains(body, []byte(`""`)) {
		t.Errorf("%s %v", body, err)
	}
}

func TestEventsAreAsDescribed(t *testing.T) {
	schemas := map[events.Type]string{
		events.StateChanged: "StateEvent", events.ProgressChanged: "ProgressEvent",
		events.QRChanged: "QREvent", events.WorkerChanged: "WorkerEvent", events.WarningsChanged: "WarningsEvent",
		events.PasskeyChanged: "PasskeyEvent", events.MessageChanged: "MessageEvent",
	}
	all, none := full(t), nothing()
	for _, s := range []*session.Snapshot{&all, &none} {
		log := events.NewLog("boot", s)
		present := log.Present()
		for _, status := range []outbox.Status{
			outbox.Queued, outbox.Sending, outbox.Unknown, outbox.Sent, outbox.Delivered, outbox.Read, outbox.Played, outbox.Failed, outbox.Cancelled, outbox.Expired,
		} {
			at := time.Now()
			log.Message(outbox.Message{
				ID: someID, Status: status, To: "5491123456789@c.us", Chat: rpc.Chat{LID: "1@lid", Group: "1-2@g.us"}, Code: outbox.CodeRefused,
				Until: at, WhatsAppCode: 463, Attempts: 2, Act: rpc.ActEdit, Target: "3A00", Times: map[outbox.Status]time.Time{status: at}, ExpiresAt: at, Reference: "x",
			})
		}
		changes, _ := log.After(present.Last)
		for _, kind := range inbox.Kinds() {
			e := inbox.Event{Kind: kind, ID: "1", Cursor: "a-1", Lost: &inbox.Lost{Reason: "damaged", Since: time.Now()}}
			if kind != inbox.Gap {
				place := inbox.Place{Phone: "+1", LID: "2@lid", Group: "3@g.us"}
				e.Lost, e.Message = nil, &inbox.Message{
					ID: "3A", Chat: place, From: &inbox.Person{Place: place, Name: "Ada"}, Source: "elsewhere", Type: "text", Text: "x", ReplyTo: "3B",
					Media: &inbox.Media{ID: "m", MIME: "image/png", Size: 1, Name: "x", SHA256: strings.Repeat("0", 64)}, T: time.Now(), Late: true, Status: "read", Erased: true, Emoji: new(""),
				}
			}
			data, _ := json.Marshal(e)
			valid(t, "ReceivedEvent", data)
		}
		if len(changes.Events) != 10 {
			t.Errorf("%d events of messages", len(changes.Events))
		}
		for _, e := range append(present.Events, changes.Events...) {
			valid(t, schemas[e.Type], e.Data)
		}
	}
}

func TestForeignFieldsAreNotAsDescribed(t *testing.T) {
	bad := doc(t).Components.Schemas["Problem"].Value.VisitJSON(
		map[string]any{"type": "about:blank", "title": "x", "status": 400, "code": "bad_wait", "detail": "x", "extra": 1},
		openapi3.EnableJSONSchema2020())
	if bad == nil {
		t.Error("the validator accepts everything")
	}
	body, _ := json.Marshal(events.NewMessage(outbox.Message{ID: someID, Status: outbox.Sent, To: "5491123456789@c.us", ExpiresAt: time.Now()}))
	var message map[string]any
	if err := json.Unmarshal(body, &message); err != nil {
		t.Fatal(err)
	}
	schema := doc(t).Components.Schemas["Message"].Value
	if err := schema.VisitJSON(message, openapi3.EnableJSONSchema2020()); err != nil {
		t.Error(err)
	}
	if message["text"] = "x"; schema.VisitJSON(message, openapi3.EnableJSONSchema2020()) == nil {
		t.Error("a message with a text is as described")
	}
}
