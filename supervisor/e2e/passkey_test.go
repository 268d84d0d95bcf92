package e2e

import (
	"encoding/json"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"session-manager/scripts/harness"
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
	s := start(t, url, tokens, light...)
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
	s.wantAnswer("/session/passkey/confirm", "", http.StatusConflict, "passkey_no_code")
	s.Kill()

	s = start(t, url, tokens, light...)
	s.awaitQR()
	if got := s.get("/session/passkey"); got.Code != http.StatusOK || !strings.Contains(got.Body, `"none"`) || !strings.Contains(got.Body, "starts over") {
		t.Errorf("after the kill: %d %s", got.Code, got.Body)
	}
	s.wantAnswer("/session/passkey", old, http.StatusConflict, "passkey_not_requested")
	p.scan(t)
	s.passkeyOptions()
	s.wantAnswer("/session/passkey", old, http.StatusUnprocessableEntity, "passkey_wrong_challenge")
	s.linksByPasskey(p, sign)
}

// linksByPasskey ends a request for a passkey, and answers the next one, with the commands of the documents.
func (s *service) linksByPasskey(p *phone, sign func(options string) string) {
	s.t.Helper()
	person := asking{s.t, nil}.shell(strings.TrimPrefix(s.Base, "http://"))
	person.runs(command(s.t, "curl -s -X DELETE localhost:3001/session/passkey"))
	// Of these commands five are taken in a row, and then one every two seconds.
	if err := harness.Pause(s.t.Context(), 4*time.Second); err != nil {
		s.t.Fatal(err)
	}
	p.ClearFaults()
	if err := p.SetFault("passkey=compare"); err != nil {
		s.t.Fatal(err)
	}
	s.awaitQR()
	p.scan(s.t)
	s.awaitReason("ERROR", "passkey_required")
	var body struct{ Options json.RawMessage }
	got := person.runs(command(s.t, "curl -s localhost:3001/session/passkey"))
	if err := json.Unmarshal([]byte(got), &body); err != nil || body.Options == nil {
		s.t.Fatalf("there is nothing to sign: %s", got)
	}
	write(s.t, filepath.Join(person.folder, "signed.json"), sign(string(body.Options)))
	person.runs(command(s.t, "curl -s localhost:3001/session/passkey -H 'Content-Type: application/json' -d @signed.json"))
	if err := p.AwaitPasskey(within(s.t), 1); err != nil {
		s.t.Fatal(err)
	}
	if err := p.ApprovePasskey(); err != nil {
		s.t.Fatal(err)
	}
	s.awaitSession("a code", func(harness.Session) bool { return strings.Contains(s.get("/session/passkey").Body, `"code":`) })
	person.runs(command(s.t, "curl -s -X POST localhost:3001/session/passkey/confirm"))
	s.await("READY")
}
