package selectors

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

func TestTheEmbeddedSelectorsAreValid(t *testing.T) {
	k, err := Read(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range k.Screens {
		if s.About == "" {
			t.Errorf("screen %s does not say what it is", s.Name)
		}
		for _, lang := range []string{"en", "es", "pt", "de", "ar"} {
			if len(s.Texts) > 0 && len(s.Texts[lang]) == 0 {
				t.Errorf("screen %s has no text in %s", s.Name, lang)
			}
		}
	}
	for name, f := range k.Facts {
		if f.About == "" {
			t.Errorf("fact %s does not say what it is", name)
		}
	}
}

func TestParseNamesTheLineAndTheReason(t *testing.T) {
	for _, tc := range []struct {
		name, old, new string
		want           string
	}{
		{"syntax", `"format": 4,`, `"format": 4,,`, "line 2: invalid character ','"},
		{"key twice", `"format": 4,`, `"format": 4, "About": "",`, `line 3: the key "about" is there twice`},
		{"unknown key", `"splash":`, `"splsh":`, `unknown field "splsh"`},
		{"wrong type", `"registered": [`, `"registered": [3, `, "cannot unmarshal number"},
		{"format of another version", `"format": 4,`, `"format": 3,`, "line 2: format: is 3, this worker reads 4"},
		{"name of two refusals", `"IQErrorForbidden"`, `"IQErrorBadRequest"`, "no other refusal has"},
		{"code that never comes", `[452]`, `[4520]`, "unavailable.codes.0: must be from 400 to 599"},
		{"code of two refusals", `[452]`, `[429]`, "unavailable.codes.0"},
		{"missing refusal", `"forbidden": {`, `"not_allowed": {`, `"forbidden" is missing`},
		{"unknown screen", `"name": "conflict"`, `"name": "conflct"`, `"conflct" is not one of`},
		{"missing fact", `"noise_key": {`, `"nose_key": {`, `"noise_key" is missing`},
		{"unknown stream", `"RESUMING": "logged_in"`, `"RESUMING": "yes"`, "socket_streams.RESUMING"},
		{"unknown state", `"OPENING": "opening"`, `"OPENING": "open"`, "socket_states.OPENING"},
		{"path that is code", `"path": "Socket.state"`, `"path": "Socket.logout('x')"`, "is not a name"},
		{"event path with a call", `"path": "Conn", "event"`, `"path": "Conn()", "event"`, "must be names"},
		{"text in upper case", `"service unavailable"`, `"Service unavailable"`, "must be in lower case"},
		{"text that always matches", `"service unavailable"`, `"a"`, "too short"},
		{"empty selector", `"code": "[data-ref]"`, `"code": " "`, "dom.code: must not be empty"},
		{"address of a socket", `"/ws/chat"`, `"web.whatsapp.com/ws/chat"`, "urls.socket.0"},
		{"missing function", `"text_data": {`, `"txt_data": {`, `"text_data" is missing`},
		{"function without a module", `"WAWebWidFactory"`, `""`, "sending.functions.wid.from.0.module: must not be empty"},
		{"function that is code", `"createWid"`, `"createWid()"`, "sending.functions.wid.from.0.path: must be names"},
		{"unknown name", `"key_direction": "selfDir"`, `"key_dir": "selfDir"`, `"key_direction" is missing`},
		{"empty name", `"selfDir"`, `""`, "sending.names.key_direction: must not be empty"},
		{"refusal that never comes", `NewMessages": 475`, `NewMessages": 4750`, "sending.refusals.UserReached"},
		{"prefix with a comma", `linked_devices#"`, `linked_devices#,"`, "qr_payload.prefixes.0"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if !bytes.Contains(embedded, []byte(tc.old)) {
				t.Fatalf("the embedded file has no %s", tc.old)
			}
			broken := bytes.Replace(embedded, []byte(tc.old), []byte(tc.new), 1)
			_, err := Parse(broken)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("got %v, want it to contain %q", err, tc.want)
			}
			if !strings.Contains(err.Error(), "line ") {
				t.Fatalf("%v names no line", err)
			}
		})
	}
}

func TestParsePointsAtTheFlawedLine(t *testing.T) {
	broken := bytes.Replace(embedded, []byte(`"service unavailable"`), []byte(`"Service Unavailable"`), 1)
	want := 1 + bytes.Count(broken[:bytes.Index(broken, []byte(`"Service Unavailable"`))], []byte{'\n'})
	_, err := Parse(broken)
	if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("line %d:", want)) {
		t.Fatalf("got %v, want line %d", err, want)
	}
}

// TestParseNamesTheFormatOfAnOldFile reads a file with a key that no longer exists.
func TestParseNamesTheFormatOfAnOldFile(t *testing.T) {
	old := bytes.Replace(embedded, []byte(`"format": 4`), []byte(`"format": 1, "errors": []`), 1)
	if _, err := Parse(old); err == nil || !strings.Contains(err.Error(), "is 1, this worker reads 4") {
		t.Errorf("got %v", err)
	}
}

func TestParseRefusesTrailingData(t *testing.T) {
	if _, err := Parse(append(bytes.Clone(embedded), '{')); err == nil {
		t.Fatal("a second object was accepted")
	}
}

func FuzzParse(f *testing.F) {
	f.Add(embedded)
	f.Add([]byte(`{"format":1}`))
	f.Add([]byte(`{"screens":[{"name":"x"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		k, err := Parse(data)
		if (k == nil) == (err == nil) {
			t.Fatalf("k %v, err %v", k, err)
		}
	})
}
