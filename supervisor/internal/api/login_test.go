package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"session-manager/shared/rpc"
	"session-manager/supervisor/internal/login"
	"session-manager/supervisor/internal/session"
	"session-manager/supervisor/internal/worker"
)

func TestPhoneNumbersMustBeInternational(t *testing.T) {
	tests := map[string]string{
		"+54 9 11 5555-1234":             "5491155551234",
		" +34600000000 ":                 "34600000000",
		"+1 (212) 555\u20110199":         "12125550199",
		"+12345678":                      "12345678",
		"+123456789012345":               "123456789012345",
		"+1234567":                       "",
		"+1234567890123456":              "",
		"34600000000":                    "",
		"0034600000000":                  "34600000000",
		"00 34-600/000.000":              "34600000000",
		"\u202a+34 600 000 000\u202c":    "34600000000",
		"+34\u2009600\u00a0000\u200b000": "34600000000",
		"000034600000000":                "",
		"00":                             "",
		"+0034600000000":                 "",
		"++34600000000":                  "",
		"+34 600 000 OOO":                "",
		"+٣٤٦٠٠٠٠٠٠٠٠":                   "",
		"+34.600.000.000":                "34600000000",
		"+":                              "",
		"":                               "",
	}
	for text, want := range tests {
		got, ok := parsePhone(text)
		if string(got) != want || ok != (want != "") {
			t.Errorf("%q: got %q, %v", text, string(got), ok)
		}
	}
}

// post sends a body in JSON.
func post(body string) func(*http.Request) {
	return func(r *http.Request) {
		r.Body = http.NoBody
		if body != "" {
			n, _ := http.NewRequest(http.MethodPost, "/", strings.NewReader(body))
			r.Body, r.ContentLength, r.GetBody = n.Body, n.ContentLength, n.GetBody
			r.Header.Set("Content-Type", "application/json")
		}
	}
}

func TestPairAnswersTheCodeWithItsExpiry(t *testing.T) {
	c := fakeCommands{pair: func(phone rpc.Secret) (rpc.Pairing, error) {
		if string(phone) != "5491155551234" {
			return rpc.Pairing{}, fmt.Errorf("asked for %q", string(phone))
		}
		return rpc.Pairing{Code: "ABCD1234", TTL: time.Hour}, nil
	}}
	s := serve(t, newFakeSession(session.Snapshot{State: session.QRRequired}), c)
	got := ask(t, s, http.MethodPost, "/session/pair", post(`{"phone":"+54 9 11 5555-1234"}`))
	expiry := time.Now().Add(time.Hour).UTC().Format("2006-01-02T")
	if got.status != 200 || !strings.Contains(got.body, `"code": "ABCD1234"`) || !strings.Contains(got.body, `"expires_at": "`+expiry) {
		t.Errorf("got %d %s", got.status, got.body)
	}
}

func TestFailedCommandsExplainWhy(t *testing.T) {
	const number = `{"phone":"+5491155551234"}`
	tests := []struct {
		path, body string
		err        error
		status     int
		code       string
	}{
		{"/session/pair", "", nil, 422, "phone_invalid"},
		{"/session/pair", `{"phone":"123"}`, nil, 422, "phone_invalid"},
		{"/session/pair", `{"phone":5}`, nil, 400, "bad_body"},
		{"/session/pair", `{"fone":"1"}`, nil, 400, "bad_body"},
		{"/session/pair", number, rpc.ErrPhoneRefused, 422, "phone_refused"},
		{"/session/pair", number, rpc.ErrNotUnlinked, 409, "not_unlinked"},
		{"/session/pair", number, rpc.ErrTooManyAttempts, 429, "too_many_attempts"},
		{"/session/pair", number, rpc.ErrPairingForbidden, 403, "pairing_forbidden"},
		{"/session/pair", number, rpc.ErrPairingFailed, 502, "pairing_failed"},
		{"/session/pair", number, rpc.ErrPairingTimeout, 504, "pairing_timeout"},
		{"/session/pair", number, rpc.ErrPairingUnavailable, 501, "pairing_unavailable"},
		{"/session/pair", number, worker.ErrNoWorker, 503, "no_page"},
		{"/session/pair", number, rpc.ErrNoPage, 503, "no_page"},
		{"/session/pair", number, rpc.ErrWorkerGone, 503, "no_page"},
		{"/session/pair", number, context.DeadlineExceeded, 504, "command_timeout"},
		{"/session/pair", number, errors.New("odd"), 503, "command_failed"},
		{"/session/logout", "", rpc.ErrNotLinked, 409, "not_linked"},
		{"/session/logout?purge=true", "", login.ErrNotErased, 500, "not_erased"},
		{"/session/logout?purge=maybe", "", nil, 400, "bad_parameter"},
		{"/session/logout", `{"purge":true}`, nil, 400, "bad_body"},
		{"/session/logout", "", worker.ErrNoWorker, 503, "no_page"},
		{"/session/restart?now=perhaps", "", nil, 400, "bad_parameter"},
	}
	for _, tt := range tests {
		t.Run(tt.path+" "+tt.code, func(t *testing.T) {
			c := fakeCommands{
				pair:   func(rpc.Secret) (rpc.Pairing, error) { return rpc.Pairing{}, fmt.Errorf("cannot: %w", tt.err) },
				logOut: func(bool) (login.LoggedOut, error) { return login.LoggedOut{}, tt.err },
			}
			s := serve(t, newFakeSession(session.Snapshot{}), c)
			got := ask(t, s, http.MethodPost, tt.path, post(tt.body))
			if got.status != tt.status || !strings.Contains(got.body, `"code":"`+tt.code+`"`) {
				t.Errorf("got %d %s", got.status, got.body)
			}
			if (got.header.Get("Retry-After") != "") != (tt.status == 429) {
				t.Errorf("Retry-After: %q", got.header.Get("Retry-After"))
			}
		})
	}
}

func TestLogOutAnswersWhatBecameOfTheLogin(t *testing.T) {
	for name, tt := range map[string]struct {
		done   login.LoggedOut
		status int
		body   string
	}{
		"moved":     {login.LoggedOut{Quarantined: "20261124T030000Z-logged_out"}, 200, `{"logged_out":true,"quarantined":"20261124T030000Z-logged_out"}`},
		"purged":    {login.LoggedOut{}, 200, `{"logged_out":true}`},
		"not moved": {login.LoggedOut{Detail: "no room"}, 200, `{"logged_out":true,"detail":"no room"}`},
		"not yet":   {login.LoggedOut{Pending: true, Detail: "being moved"}, 202, `{"logged_out":true,"detail":"being moved"}`},
	} {
		t.Run(name, func(t *testing.T) {
			c := fakeCommands{logOut: func(bool) (login.LoggedOut, error) { return tt.done, nil }}
			got := ask(t, serve(t, newFakeSession(session.Snapshot{}), c), http.MethodPost, "/session/logout", nil)
			var body bytes.Buffer
			if err := json.Compact(&body, []byte(got.body)); err != nil {
				t.Fatal(err)
			}
			if got.status != tt.status || body.String() != tt.body {
				t.Errorf("got %d %s", got.status, got.body)
			}
		})
	}
}

func TestDeferredRestartAnswersItsTime(t *testing.T) {
	until := time.Date(2026, 11, 24, 3, 1, 0, 0, time.UTC)
	s := serve(t, newFakeSession(session.Snapshot{}), fakeCommands{until: until})
	if got := ask(t, s, http.MethodPost, "/session/restart", nil); got.status != 202 || !strings.Contains(got.body, `"deferred_until": "2026-11-24T03:01:00Z"`) {
		t.Errorf("got %d %s", got.status, got.body)
	}
	if got := ask(t, s, http.MethodPost, "/session/restart?now=true", nil); got.status != 202 || strings.Contains(got.body, "deferred") {
		t.Errorf("now: got %d %s", got.status, got.body)
	}
}
