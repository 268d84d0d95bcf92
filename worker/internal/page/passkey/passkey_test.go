package passkey

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	"session-manager/shared/rpc"
)

const (
	origin    = "https://web.whatsapp.com"
	challenge = "AAECAwQFBgcICQoLDA0ODw"
	options   = `{"challenge":"` + challenge + `","timeout":600000,"rpId":"whatsapp.com","allowCredentials":[],"userVerification":"required","extensions":{"uvm":true}}`
)

func TestRequestIsOneThatABrowserWouldSign(t *testing.T) {
	for name, tc := range map[string]struct {
		old, new string
		valid    bool
	}{
		"as captured":           {valid: true},
		"own host":              {`"whatsapp.com"`, `"web.whatsapp.com"`, true},
		"no relying party":      {`"rpId":"whatsapp.com",`, "", true},
		"another site":          {`"whatsapp.com"`, `"example.com"`, false},
		"a part of a name":      {`"whatsapp.com"`, `"atsapp.com"`, false},
		"a challenge too short": {challenge, "AAEC", false},
		"no base64url":          {challenge, challenge[:20] + "==", false},
		"too long":              {`"uvm":true`, `"x":"` + strings.Repeat("x", rpc.MaxPasskeyOptions) + `"`, false},
		"no object":             {options, `[]`, false},
	} {
		r, err := ReadRequest(strings.Replace(options, tc.old, tc.new, 1), origin)
		if tc.valid != (err == nil) {
			t.Errorf("%s: got %v", name, err)
		}
		if tc.valid && r.Timeout != 10*time.Minute {
			t.Errorf("%s: it lasts %v", name, r.Timeout)
		}
	}
}

// signed is an assertion, and what to change in it.
type signed struct {
	client        map[string]any
	rp            string
	flags         byte
	credential    map[string]any
	response      map[string]any
	authenticator []byte
}

func (s signed) text() rpc.Secret {
	client, _ := json.Marshal(s.client)
	hash := sha256.Sum256([]byte(s.rp))
	data := append(append(hash[:], s.flags), 0, 0, 0, 1)
	if s.authenticator != nil {
		data = s.authenticator
	}
	response := map[string]any{
		"clientDataJSON": base64url.EncodeToString(client), "authenticatorData": base64url.EncodeToString(data),
		"signature": "c2lnbmVk", "userHandle": "dXNlcg",
	}
	c := map[string]any{
		"id": "a2V5", "rawId": "a2V5", "type": "public-key", "authenticatorAttachment": "platform", "clientExtensionResults": map[string]any{"later": 1},
		"response": response, "later": true,
	}
	maps.Copy(response, s.response)
	maps.Copy(c, s.credential)
	text, _ := json.Marshal(c)
	return rpc.Secret(text)
}

func TestCheckFindsWhatDoesNotFit(t *testing.T) {
	type object = map[string]any
	for name, tc := range map[string]struct {
		change  func(*signed)
		options [2]string // what to replace in the options
		want    rpc.PasskeyErrorCode
	}{
		"fits":                     {func(*signed) {}, [2]string{}, ""},
		"no user handle":           {func(s *signed) { s.response = object{"userHandle": nil} }, [2]string{}, ""},
		"created, not got":         {func(s *signed) { s.client["type"] = "webauthn.create" }, [2]string{}, rpc.PasskeyWrongType},
		"a password":               {func(s *signed) { s.credential = object{"type": "password"} }, [2]string{}, rpc.PasskeyWrongType},
		"an old challenge":         {func(s *signed) { s.client["challenge"] = "AAAAAAAAAAAAAAAAAAAAAA" }, [2]string{}, rpc.PasskeyWrongChallenge},
		"no challenge":             {func(s *signed) { delete(s.client, "challenge") }, [2]string{}, rpc.PasskeyWrongChallenge},
		"another site":             {func(s *signed) { s.client["origin"] = "https://whatsapp.com" }, [2]string{}, rpc.PasskeyWrongOrigin},
		"another scheme":           {func(s *signed) { s.client["origin"] = "http://web.whatsapp.com" }, [2]string{}, rpc.PasskeyWrongOrigin},
		"in a frame":               {func(s *signed) { s.client["crossOrigin"] = true }, [2]string{}, rpc.PasskeyWrongOrigin},
		"another party":            {func(s *signed) { s.rp = "web.whatsapp.com" }, [2]string{}, rpc.PasskeyWrongRP},
		"nobody verified":          {func(s *signed) { s.flags = userPresent }, [2]string{}, rpc.PasskeyNotVerified},
		"verified where preferred": {func(s *signed) { s.flags = userPresent }, [2]string{`"required"`, `"preferred"`}, ""},
		"nobody present":           {func(s *signed) { s.flags = 0 }, [2]string{`"required"`, `"preferred"`}, rpc.PasskeyNotVerified},
		"another credential":       {func(*signed) {}, [2]string{`[]`, `[{"type":"public-key","id":"b3RoZXI"}]`}, rpc.PasskeyWrongCredential},
		"one of the credentials":   {func(*signed) {}, [2]string{`[]`, `[{"type":"public-key","id":"a2V5"}]`}, ""},
		"two ids":                  {func(s *signed) { s.credential = object{"rawId": "b3RoZXI"} }, [2]string{}, rpc.PasskeyMalformed},
		"no signature":             {func(s *signed) { s.response = object{"signature": ""} }, [2]string{}, rpc.PasskeyMalformed},
		"no base64url":             {func(s *signed) { s.response = object{"signature": "a+/="} }, [2]string{}, rpc.PasskeyMalformed},
		"a hash and nothing else":  {func(s *signed) { s.authenticator = make([]byte, 32) }, [2]string{}, rpc.PasskeyMalformed},
		"client data without JSON": {func(s *signed) { s.response = object{"clientDataJSON": "AAAA"} }, [2]string{}, rpc.PasskeyMalformed},
		"prf that is not bytes": {func(s *signed) {
			s.credential = object{"clientExtensionResults": object{"prf": object{"results": object{"first": "*"}}}}
		}, [2]string{}, rpc.PasskeyMalformed},
		"too long":                  {func(s *signed) { s.credential = object{"x": strings.Repeat("x", rpc.MaxAssertion)} }, [2]string{}, rpc.PasskeyMalformed},
		"a response that is a list": {func(s *signed) { s.credential = object{"response": []int{1}} }, [2]string{}, rpc.PasskeyMalformed},
	} {
		r, err := ReadRequest(strings.Replace(options, tc.options[0], tc.options[1], 1), origin)
		if err != nil {
			t.Fatal(err)
		}
		s := signed{client: object{"type": "webauthn.get", "challenge": challenge, "origin": origin, "crossOrigin": false}, rp: "whatsapp.com", flags: userPresent | userVerified}
		tc.change(&s)
		_, err = r.Check(s.text())
		var got rpc.PasskeyErrorCode
		if e, ok := errors.AsType[*rpc.PasskeyError](err); ok {
			got = e.Code
		}
		if got != tc.want || (err == nil) != (tc.want == "") {
			t.Errorf("%s: got %v, want %q", name, err, tc.want)
		}
	}
}

func FuzzCheck(f *testing.F) {
	r, err := ReadRequest(options, origin)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(`{"id":"a2V5","rawId":"a2V5","type":"public-key","response":{}}`)
	f.Fuzz(func(t *testing.T, text string) {
		if a, err := r.Check(rpc.Secret(text)); err == nil && a.ID == "" {
			t.Error("accepted without a credential")
		}
	})
}
