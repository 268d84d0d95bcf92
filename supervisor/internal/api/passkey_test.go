package api

import (
	"archive/zip"
	"bytes"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"session-manager/shared/rpc"
	"session-manager/supervisor/internal/session"
)

// Secrets of a request for a passkey, which no log may have.
const (
	someOptions = `{"challenge":"c2VjcmV0LWNoYWxsZW5nZQ","rpId":"whatsapp.com"}`
	someAnswer  = `{"id":"c2VjcmV0LWNyZWRlbnRpYWw","response":{"signature":"c2VjcmV0LXNpZ25hdHVyZQ"},"later":1}`
	someCode    = "K7QX2M9P"
)

// asked is a service whose page asks for a passkey.
func asked(t *testing.T, log io.Writer, p session.Passkey, answers func(rpc.PasskeyCommand) (rpc.PasskeyCall, error)) *httptest.Server {
	t.Helper()
	a := made(t, Options{
		Session: newFakeSession(session.Snapshot{State: session.Error, Linking: session.Linking{Passkey: p}}),
		Workers: fakeCommands{passkey: answers}, About: About{URL: "https://web.whatsapp.com/"}, Logger: slog.New(slog.NewJSONHandler(log, nil)),
	})
	s := httptest.NewServer(a.router())
	t.Cleanup(s.Close)
	return s
}

func TestPasskeyAnswersByStatus(t *testing.T) {
	var got []rpc.PasskeyCommand
	carry := func(c rpc.PasskeyCommand) (rpc.PasskeyCall, error) {
		got = append(got, c)
		return rpc.PasskeyCall{Options: someOptions, TTL: 10 * time.Minute}, nil
	}
	link := session.Passkey{Status: session.PasskeyNeeded, Purpose: session.ToLink}
	for _, tc := range []struct {
		p         session.Passkey
		want, not string
		calls     int
	}{
		{session.Passkey{}, `"status":"none"`, "options", 0},
		{link, `"options":` + someOptions, `"expires_at":null`, 1},
		{session.Passkey{Status: session.PasskeySent, Purpose: session.ToLink}, "agree", "options", 0},
		{session.Passkey{Status: session.PasskeyConfirm, Purpose: session.ToLink, Code: someCode}, `"code":"` + someCode + `"`, "options", 0},
		{session.Passkey{Status: session.PasskeyFailed, Purpose: session.ToLink, Reason: rpc.PasskeyTimeout}, `"status":"needed"`, "timeout", 1},
		{session.Passkey{Status: session.PasskeyFailed, Purpose: session.ToLink, Reason: session.PasskeyRestarted}, "started over", "options", 0},
	} {
		got = nil
		seen := get(t, asked(t, io.Discard, tc.p, carry), "/session/passkey")
		body := strings.ReplaceAll(strings.ReplaceAll(seen.body, "\n", ""), " ", "")
		if seen.status != http.StatusOK || !strings.Contains(body, strings.ReplaceAll(tc.want, " ", "")) || strings.Contains(body, tc.not) || len(got) != tc.calls {
			t.Errorf("%+v: got %d %s after %d calls", tc.p.Status, seen.status, seen.body, len(got))
		}
	}
}

func TestPasskeyActionsReachTheWorkerUnlogged(t *testing.T) {
	var log bytes.Buffer
	var got []rpc.PasskeyCommand
	s := asked(t, &log, session.Passkey{Status: session.PasskeyConfirm, Purpose: session.ToLink, Code: someCode}, func(c rpc.PasskeyCommand) (rpc.PasskeyCall, error) {
		got = append(got, c)
		return rpc.PasskeyCall{}, nil
	})
	for _, r := range []struct{ method, path, body string }{
		{http.MethodPost, "/session/passkey", someAnswer}, {http.MethodPost, "/session/passkey/confirm", ""}, {http.MethodDelete, "/session/passkey", ""},
	} {
		if a := ask(t, s, r.method, r.path, post(r.body)); a.status != http.StatusAccepted {
			t.Errorf("%s %s: got %d %s", r.method, r.path, a.status, a.body)
		}
	}
	if len(got) != 3 || got[0] != (rpc.PasskeyCommand{Action: rpc.PasskeyAnswer, Assertion: someAnswer}) || got[1].Action != rpc.PasskeyConfirm || got[2].Action != rpc.PasskeyCancel {
		t.Errorf("the worker was asked for %d actions", len(got))
	}
	if a := ask(t, s, http.MethodPost, "/session/passkey", post(`{"x":"`+strings.Repeat("x", rpc.MaxAssertion)+`"}`)); a.status != http.StatusRequestEntityTooLarge {
		t.Errorf("an assertion that is too long: got %d", a.status)
	}
	if strings.Contains(log.String(), "c2VjcmV0") || strings.Contains(log.String(), someCode) || !strings.Contains(log.String(), "passkey_handled") {
		t.Errorf("the log has a secret, or does not have who did what: %s", log.String())
	}
}

func TestPasskeyRefusalsAreClear(t *testing.T) {
	p := session.Passkey{Status: session.PasskeyNeeded, Purpose: session.ToLink}
	for code, want := range map[rpc.PasskeyErrorCode]int{
		rpc.PasskeyNotAsked: 409, rpc.PasskeyNoCall: 409, rpc.PasskeyUnavailable: 502, rpc.PasskeyMalformed: 422, rpc.PasskeyWrongType: 422,
		rpc.PasskeyWrongChallenge: 422, rpc.PasskeyWrongOrigin: 422, rpc.PasskeyWrongRP: 422, rpc.PasskeyWrongCredential: 422,
		rpc.PasskeyNotVerified: 422, rpc.PasskeyReplayed: 422,
	} {
		s := asked(t, io.Discard, p, func(rpc.PasskeyCommand) (rpc.PasskeyCall, error) {
			return rpc.PasskeyCall{}, &rpc.PasskeyError{Code: code}
		})
		if got := ask(t, s, http.MethodPost, "/session/passkey", post(someAnswer)); got.status != want || !strings.Contains(got.body, `"hint"`) {
			t.Errorf("%s: got %d %s", code, got.status, got.body)
		}
	}
	s := asked(t, io.Discard, p, func(rpc.PasskeyCommand) (rpc.PasskeyCall, error) { return rpc.PasskeyCall{Options: "{"}, nil })
	if got := get(t, s, "/session/passkey"); got.status != http.StatusBadGateway {
		t.Errorf("options that are cut off: got %d", got.status)
	}
}

func TestPasskeyExtensionIsForThePageOnly(t *testing.T) {
	got := get(t, asked(t, io.Discard, session.Passkey{}, nil), "/passkey-extension.zip")
	files, err := zip.NewReader(strings.NewReader(got.body), int64(len(got.body)))
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := files.Open("manifest.json")
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(manifest)
	if err != nil || !strings.Contains(string(text), `"https://web.whatsapp.com/*"`) || strings.Contains(string(text), "permissions") {
		t.Errorf("got %v %s", err, text)
	}
	// Any site can open the page with a request: none of its words may be shown there.
	for name, want := range map[string]string{"sign.js": `"sign":"Sign with the passkey"`, "content.js": "sign(options, words)"} {
		file, err := files.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		if text, err := io.ReadAll(file); err != nil || !strings.Contains(string(text), want) || strings.Contains(string(text), "{ options, words }") {
			t.Errorf("%s: %v %s", name, err, text)
		}
	}
}
