package api

import (
	"encoding/hex"
	"encoding/json"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"session-manager/shared/logging"
	"session-manager/shared/rpc"
	"session-manager/supervisor/internal/outbox"
)

func TestRecipientsOfMessages(t *testing.T) {
	for text, want := range map[string]string{
		"+5491123456789":                "5491123456789@c.us",
		"+54 9 11 2345-6789":            "5491123456789@c.us",
		"5491123456789@c.us":            "5491123456789@c.us",
		"5491123456789@s.whatsapp.net":  "5491123456789@c.us",
		"123456789012345@lid":           "123456789012345@lid",
		"120363041234567890@g.us":       "120363041234567890@g.us",
		"5491123456789-1500000000@g.us": "5491123456789-1500000000@g.us",

		"":                                  "",
		"5491123456789":                     "",
		"+0491123456789":                    "",
		"+549112345678901234":               "",
		"0491123456789@c.us":                "",
		"+5491123456789@c.us":               "",
		"54 9 11 2345@c.us":                 "",
		"5491123456789:12@s.whatsapp.net":   "",
		"5491123456789@C.US":                "",
		"5491123456789@c.us@g.us":           "",
		"5491123456789@c.us\n":              "",
		"5491123456789@example.com":         "",
		"@c.us":                             "",
		"@":                                 "",
		"status@broadcast":                  "",
		"1234567890@broadcast":              "",
		"120363041234567890@newsletter":     "",
		"0@c.us":                            "",
		"true_5491123456789@c.us_3EB0AAAA":  "",
		"+٥٤٩١١٢٣٤٥٦٧٨٩":                    "",
		strings.Repeat("1", 1<<20) + "@lid": "",
	} {
		got, ok := parseRecipient(text)
		if ok != (want != "") || ok && string(got) != want {
			t.Errorf("%.60q: got %q, %v", text, string(got), ok)
		}
	}
	for _, text := range []string{"status@broadcast", "120363041234567890@newsletter"} {
		if p := invalidRecipient("to", text); !strings.Contains(p.Detail, "channels") {
			t.Errorf("%s: %s", text, p.Detail)
		}
	}
}

// parsed decodes and checks a body as POST /messages does.
func parsed(text string) (outbox.Request, *problem) {
	var b messageBody
	if err := decode([]byte(text), &b); err != nil {
		return outbox.Request{}, &problem{Status: 400, Code: "bad_body", Detail: err.Error()}
	}
	return b.request(false)
}

func TestBodiesOfMessages(t *testing.T) {
	const start = `{"to":"+5491123456789","type":"text","text":{"body":"hi"}`
	got, bad := parsed(start + `,"reply_to":"3A0F","mentions":["+34600000000","1234567@lid"],"expires_in":"90m","reference":"order 1","id":"3EB0ABCDEF0123456789AB"}`)
	if bad != nil {
		t.Fatal(bad)
	}
	m := got.Message
	if m.To != "5491123456789@c.us" || m.Text != "hi" || m.ReplyTo != "3A0F" || got.ExpiresIn != 90*time.Minute ||
		got.Reference != "order 1" || m.ID != "3EB0ABCDEF0123456789AB" || m.Preview ||
		!slices.Equal(m.Mentions, []rpc.Secret{"34600000000@c.us", "1234567@lid"}) {
		t.Errorf("got %#v", got)
	}
}

func TestInvalidFieldsOfMessagesAreNamed(t *testing.T) {
	const start = `{"to":"+5491123456789","type":"text","text":{"body":"hi"}`
	text := func(body string) string { return `{"to":"+5491123456789","type":"text","text":{"body":` + body + `}}` }
	for body, want := range map[string]string{
		`{}`:                                    "invalid_recipient to",
		`{"to":"+5491123456789"}`:               "invalid_field type",
		`{"to":"+5491123456789","type":"text"}`: "invalid_field text.body",
		`{"to":"+5491123456789","type":"sticker","text":{"body":"hi"}}`:              "unsupported_type type",
		`{"to":"+5491123456789","type":"image"}`:                                     "invalid_field type",
		`{"to":"+5491123456789","type":"image","media":{"url":"http://127.0.0.1/"}}`: "unsupported_type media",
		`{"to":"status@broadcast","type":"text","text":{"body":"hi"}}`:               "invalid_recipient to",
		`{"to":["+5491123456789"],"type":"text","text":{"body":"hi"}}`:               "bad_body",
		text(`" \n\t"`):    "invalid_field text.body",
		text(`"a\u0000b"`): "invalid_field text.body",
		text("\"a\xffb\""): "bad_body",
		text(`"` + strings.Repeat("x", rpc.MaxMessageText+1) + `"`):                           "text_too_long text.body",
		start + `,"text":{"body":"b"}}`:                                                       "bad_body",
		start + `,"caption":"x"}`:                                                             "invalid_field caption",
		start + `,"reply_to":"a b"}`:                                                          "invalid_field reply_to",
		start + `,"reply_to":"` + strings.Repeat("A", 65) + `"}`:                              "invalid_field reply_to",
		start + `,"mentions":["120363041234567890@g.us"]}`:                                    "invalid_recipient mentions[0]",
		start + `,"mentions":["+34600000000","x"]}`:                                           "invalid_recipient mentions[1]",
		start + `,"mentions":[` + strings.Repeat(`"+34600000000",`, 100) + `"+34600000000"]}`: "invalid_field mentions",
		start + `,"expires_in":"1"}`:                                                          "invalid_field expires_in",
		start + `,"expires_in":"0s"}`:                                                         "invalid_field expires_in",
		start + `,"expires_in":"1000h"}`:                                                      "invalid_field expires_in",
		start + `,"reference":"` + strings.Repeat("x", 256) + `"}`:                            "invalid_field reference",
		start + `,"id":"3EB0abcdef0123456789ab"}`:                                             "invalid_field id",
	} {
		_, bad := parsed(body)
		if bad == nil || strings.TrimSpace(bad.Code+" "+bad.Field) != want {
			t.Errorf("%.150s: got %+v, want %s", body, bad, want)
		} else if bad.Field != "" && !strings.Contains(bad.Detail, bad.Field) && bad.Code == "invalid_field" {
			t.Errorf("%s does not name its field", bad.Detail)
		} else if logging.Redact(bad.Hint) != bad.Hint {
			t.Errorf("commands can't show the hint %q", bad.Hint)
		}
	}
	if _, bad := parsed(text(`"` + strings.Repeat("x", rpc.MaxMessageText) + `"`)); bad != nil {
		t.Errorf("the longest text: %+v", bad)
	}
	if _, bad := parsed(`{"to":5,"type":"text"}`); bad == nil || !strings.Contains(bad.Detail, "to must not be a number") {
		t.Errorf("got %+v", bad)
	}
}

// TestHashOfAMessageIsOfItsMeaning has a hash that must never change: keys that were stored
// by an earlier version are compared with it.
func TestHashOfAMessageIsOfItsMeaning(t *testing.T) {
	hash := func(text string) string {
		r, bad := parsed(text)
		if bad != nil {
			t.Fatalf("%s: %+v", text, bad)
		}
		return hex.EncodeToString(r.Hash[:])
	}
	const plain = `{"to":"+5491123456789","type":"text","text":{"body":"hi"}}`
	if got := hash(plain); got != "d5655d7b2dab695d8b91f52aa1b5e29801c09499f216a123cf5652acd861f4fe" {
		t.Errorf("the hash is %s", got)
	}
	for _, same := range []string{
		` {"type" : "text", "text":{"preview":false,"body":"\u0068i"}, "to":"5491123456789@s.whatsapp.net","mentions":[],"reply_to":""}`,
		`{"to":"+54 9 11 2345-6789","type":"text","text":{"body":"hi"},"expires_in":"","reference":null}`,
	} {
		if hash(same) != hash(plain) {
			t.Errorf("%s is another message", same)
		}
	}
	seen := map[string]string{}
	for _, other := range []string{
		plain, strings.Replace(plain, "hi", "ho", 1), strings.Replace(plain, "789", "788", 1),
		strings.Replace(plain, `"hi"`, `"hi","preview":true`, 1),
		plain[:len(plain)-1] + `,"reference":"a"}`, plain[:len(plain)-1] + `,"reply_to":"a"}`, plain[:len(plain)-1] + `,"expires_in":"1h"}`,
		plain[:len(plain)-1] + `,"mentions":["+34600000000"]}`, plain[:len(plain)-1] + `,"mentions":["+34600000001"]}`,
		plain[:len(plain)-1] + `,"id":"3EB0ABCDEF0123456789AB"}`,
	} {
		if before := seen[hash(other)]; before != "" {
			t.Errorf("%s and %s are the same", before, other)
		}
		seen[hash(other)] = other
	}
	if hash(plain[:len(plain)-1]+`,"expires_in":"60m"}`) != hash(plain[:len(plain)-1]+`,"expires_in":"1h0m"}`) {
		t.Error("the same time is another message")
	}
}

func TestIdempotencyKeys(t *testing.T) {
	for _, tt := range []struct {
		values []string
		ok     bool
	}{
		{nil, true}, {[]string{"a"}, true}, {[]string{`"8e03978e-40d5-43dd-bc93-6894a57f9324"`}, true}, {[]string{strings.Repeat("~", 255)}, true},
		{[]string{""}, false}, {[]string{"a b"}, false}, {[]string{"é"}, false}, {[]string{strings.Repeat("~", 256)}, false},
		{[]string{"a", "a"}, false}, {[]string{"a\x7f"}, false}, {[]string{"a\tb"}, false},
	} {
		r := httptest.NewRequestWithContext(t.Context(), "POST", "/messages", nil)
		r.Header["Idempotency-Key"] = tt.values
		key, bad := idempotencyKey(r)
		if (bad == nil) != tt.ok || tt.ok && len(tt.values) > 0 && key != tt.values[0] {
			t.Errorf("%.40q: got %q, %+v", tt.values, key, bad)
		}
	}
}

func FuzzBodiesOfMessages(f *testing.F) {
	f.Add(`{"to":"+5491123456789","type":"text","text":{"body":"hi"},"mentions":["+34600000000"]}`)
	f.Fuzz(func(t *testing.T, text string) {
		r, bad := parsed(text)
		if bad != nil {
			if _, err := json.Marshal(bad); err != nil || bad.Detail == "" || bad.Status/100 != 4 {
				t.Errorf("%+v", bad)
			}
			return
		}
		if m := r.Message; !rpc.ValidAddress(m.To) || m.Text == "" || len(m.Text) > rpc.MaxMessageText {
			t.Errorf("accepted %#v", r)
		}
	})
}
