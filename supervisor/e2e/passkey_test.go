package e2e

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"session-manager/scripts/simulator"
)

// passkeyOptions returns what is to be signed.
func (s *service) passkeyOptions() string {
	s.t.Helper()
	s.awaitReason("ERROR", "passkey_required")
	var body struct{ Options json.RawMessage }
	got := s.get("/session/passkey")
	if err := json.Unmarshal([]byte(got.Body), &body); err != nil || body.Options == nil {
		s.t.Fatalf("there is nothing to sign: %d %s", got.Code, got.Body)
	}
	return string(body.Options)
}

// TestPasskeyStartsOverAfterAKill kills the supervisor while a person signs.
func TestPasskeyStartsOverAfterAKill(t *testing.T) {
	needBrowser(t)
	t.Parallel()
	p := newPhone(t, simulator.Options{Faults: []string{"passkey=gate"}})
	url := strings.Replace(p.URL, "127.0.0.1", "localhost", 1)
	tokens := shortDir(t)
	s := start(t, url, tokens)
	sign := func(options string) string {
		signed, err := p.Passkey().Sign(options, strings.TrimSuffix(url, "/"))
		if err != nil {
			t.Fatal(err)
		}
		return signed
	}
	s.awaitQR()
	p.scan(t)
	old := sign(s.passkeyOptions())
	s.Kill()

	s = start(t, url, tokens)
	s.awaitQR()
	if got := s.get("/session/passkey"); got.Code != http.StatusOK || !strings.Contains(got.Body, `"none"`) || !strings.Contains(got.Body, "starts over") {
		t.Errorf("after the kill: %d %s", got.Code, got.Body)
	}
	s.wantAnswer("/session/passkey", old, http.StatusConflict, "passkey_not_requested")
	s.wantAnswer("/session/passkey/confirm", "", http.StatusConflict, "passkey_no_code")
	p.scan(t)
	options := s.passkeyOptions()
	s.wantAnswer("/session/passkey", old, http.StatusUnprocessableEntity, "passkey_wrong_challenge")
	s.wantAnswer("/session/passkey", sign(options), http.StatusAccepted, "true")
	if err := p.AwaitPasskey(within(t), 1); err != nil {
		t.Fatal(err)
	}
	if err := p.ApprovePasskey(); err != nil {
		t.Fatal(err)
	}
	s.await("READY")
}
